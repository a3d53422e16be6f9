"""twinscore under load: a whole stack in a home of its own, served as users serve; not a measurement by itself.

Addresses are found as a user would find them: the edge is what `twinscore serve` names, the listeners are announced in
`<home>/run/listeners/<model>/`, Serve's own ingress is in `<home>/run/stack.json`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import yaml
from online_load import Refused, answers
from online_model import MODEL
from online_ways import memory_mb

from twinscore.settings import Settings, load_settings
from twinscore.stack.ports import free_ports
from twinscore.stack.processes import Process, members
from twinscore.stack.state import read_state, stack_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinscore.bundle.files import Bundle

COMMAND_S = 300.0
_PATIENCE_S = 0.25
"""Of one question while nobody may be there."""
_ALONE: dict[str, Any] = {"routing": {}}
"""Nobody beside the live version. Who is beside it stays where no routing is given, a shadow of the way before, too."""
VARIANTS: dict[str, dict[str, Any]] = {
    "twinscore": _ALONE,
    "twinscore_2": _ALONE | {"replicas": 2},
    "twinscore_no_audit": _ALONE | {"audit": {"enabled": False}},
    "twinscore_shadow": {"routing": {"shadows": [{"version": "2", "sampling": "100%"}]}},
}
"""Deployment options of each way; one that this version does not know is reported as such."""


class Versions(Protocol):
    """Two versions of the model: the champion at first, and another one."""

    bundle: Bundle
    next_bundle: Bundle


@dataclass(frozen=True)
class Stack:
    """A stack that is up, with two versions of the reference model: 1 is the champion, 2 has one tree more."""

    settings: Settings
    environment: dict[str, str]

    def serve(self, options: dict[str, Any], *, follow: bool = False) -> str:
        """Serve the champion with some deployment options, and return the address of the edge.

        With `follow` the control starts with it, and moves of the alias are acted on.

        Raises:
            Refused: the options are unknown, or the endpoint did not become ready.
        """
        spec = self.settings.home / "deployment.yaml"
        spec.write_text(yaml.safe_dump({"model": f"{MODEL}@champion", **options}))
        self.run("serve", *([] if follow else ["--no-follow"]), "--spec", str(spec))
        return f"http://127.0.0.1:{self.settings.serve_port}/{MODEL}/predict"

    def run(self, *words: str) -> str:
        """Run a command of twinscore in this home, and return what it printed.

        Raises:
            Refused: it failed.
        """
        code = "from twinscore.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *words], env=self.environment, cwd=self.settings.home, capture_output=True,
            text=True, check=False, timeout=COMMAND_S,
        )  # fmt: skip
        if done.returncode:
            message = f"twinscore {words[0]}: {(done.stderr or done.stdout)[-1000:].strip()}"
            raise Refused(message)
        return done.stdout

    def beside(self) -> tuple[str | None, str | None]:
        """Return the addresses of a replica's own listener and of Serve's own ingress."""
        return self.direct(), self.backup()

    def direct(self) -> str | None:
        """Return the address of one replica's own listener, when there is one."""
        folder = self.settings.home / "run" / "listeners" / MODEL
        for file in sorted(folder.glob("*.json"), key=lambda one: one.stat().st_mtime, reverse=True):
            with suppress(OSError, ValueError, KeyError):
                told = json.loads(file.read_text())
                if told["state"] == "ready":
                    return f"http://{told['host']}:{told['port']}/{MODEL}/predict"
        return None

    def backup(self) -> str | None:
        """Return the address of Serve's own ingress."""
        told = json.loads((self.settings.home / "run" / "stack.json").read_text())
        return f"http://{told['serve']['ingress']}/{MODEL}/predict"

    def replicas(self) -> list[Process]:
        """Return the processes of the replicas; Ray names them so."""
        return [one for one in self.processes() if f"ServeReplica:{MODEL}" in _title(one)]

    def _leaders(self) -> tuple[Process, ...]:
        state = read_state(self.settings)
        return state.leaders if state is not None else ()

    def processes(self) -> list[Process]:
        """Return every process of the stack."""
        return members(stack_id(self.settings.home), self._leaders())

    def memory_mb(self) -> dict[str, dict[str, float]]:
        """Return the memory of one replica and of the whole stack."""
        return {"replica": memory_mb(self.replicas()[:1]), "stack": memory_mb(self.processes())}

    def restart(self, url: str, body: bytes) -> dict[str, float]:
        """Kill the replicas and return the seconds until the address answers again.

        `start_to_ready_s` counts from when Serve, which has noticed by then, starts the new one. Who asks waits a
        moment only and asks anew: a request that came before is held, and its own patience would be measured.
        """
        old = [process.pid for process in self.replicas()]
        began_s = time.time()
        for pid in old:
            os.kill(pid, 9)
        while answers(url, body, timeout_s=_PATIENCE_S) and time.time() - began_s < 5:
            time.sleep(0.01)
        while not answers(url, body, timeout_s=_PATIENCE_S):
            if time.time() - began_s > 120:
                message = "the endpoint did not come back within 120 s of a kill of its replica"
                raise Refused(message)
            time.sleep(0.02)
        ready_s = time.time()
        started_s = [at for pid, at in self._replica_starts() if pid not in old]
        found = {"kill_to_ready_s": round(ready_s - began_s, 2)}
        if started_s:
            found["start_to_ready_s"] = round(ready_s - min(started_s), 2)
        return found

    def _replica_starts(self) -> list[tuple[int, float]]:
        """Return the process of each replica, and when Serve began to start it, by Serve's own REST interface."""
        state = read_state(self.settings)
        if state is None:
            return []
        token = Path(state.ray.token_path).read_text().strip()
        told = httpx.get(
            f"{state.ray.dashboard}/api/serve/applications/", headers={"Authorization": f"Bearer {token}"}, timeout=10
        ).json()
        replicas = told["applications"][MODEL]["deployments"].values()
        return [(one["pid"], one["start_time_s"]) for deployment in replicas for one in deployment["replicas"]]


@contextmanager
def stack(reference: Versions, *, connections: int = 256, **more: Path | str | float) -> Iterator[Stack]:
    """Start a stack on free ports in a temporary home, register the model, and take everything away afterwards.

    Args:
        reference: the model's two versions.
        connections: that the edge takes from one address. All load comes from one here, and 64 would be its bound.
        more: settings by their names.
    """
    with tempfile.TemporaryDirectory(prefix="tsb-", ignore_cleanup_errors=True) as scratch:
        home = Path(scratch) / "home"
        home.mkdir()
        names = ("serve_port", "mlflow_port", "dashboard_port", "ray_port")
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
        told = {"TWINSCORE_HOME": str(home), **{f"TWINSCORE_{name.upper()}": str(one) for name, one in ports.items()}}
        told["TWINSCORE_EDGE_CONNECTIONS_PER_ADDRESS"] = str(connections)
        told |= {f"TWINSCORE_{name.upper()}": str(one) for name, one in more.items()}
        for name in [name for name in kept if name.startswith("TWINSCORE_")]:
            del kept[name]
        made = Stack(load_settings(home=home, **ports, **more), {**kept, **told, "COLUMNS": "200", "NO_COLOR": "1"})
        made.run("up")
        try:
            _register(made.settings, reference)
            yield made
        finally:
            made.run("down")


def _register(settings: Settings, reference: Versions) -> None:
    from twinscore.adapters.mlflow_models import BUNDLE_TAG
    from twinscore.wiring import model_store

    store = model_store(settings)
    versions = [
        store.register(MODEL, bundle.folder, metrics={}, params={}, tags={BUNDLE_TAG: bundle.digest})
        for bundle in (reference.bundle, reference.next_bundle)
    ]
    store.set_alias(MODEL, "champion", versions[0].version)


def _title(process: Process) -> str:
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
