"""The peers: what each needs, how it is started, asked and ended; not a measurement by itself.

Every peer gets an environment of its own, made once under the place that is given, with the versions pinned here.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from online_load import Refused, answers
from online_model import flat, matrix, split, tensors, wrapped

from twinscore.stack.environment import SERVE_PORTS, head_environment
from twinscore.stack.ports import free_ports
from twinscore.stack.processes import MARK, Process, end, find, members

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from online_model import Reference

PEERS = Path(__file__).with_name("online_peers")
XGBOOST = "xgboost==3.2.0"
START_S = 120.0
INSTALL_S = 1_800
_SHOWN = 1_500


@dataclass(frozen=True)
class Peer:
    """One way to serve the reference model."""

    script: str
    needs: tuple[str, ...] = ()
    """Packages of its own environment; none means the environment of this process."""
    workers: int = 1
    path: str = "/predict"
    form: Callable[[dict[str, Any], list[str]], Any] = flat
    read: Callable[[Any], float] = lambda answer: float(answer["score"])
    family: str = ""
    """Peers of one family share an environment; the best of them speaks for it."""
    environment: Callable[[Path], dict[str, str]] = lambda folder: {}
    bundle: bool = False
    """Whether it is given the bundle instead of the booster."""


def haproxy_ingress(folder: Path) -> dict[str, str]:
    """Return what makes Ray Serve listen through HAProxy, with ports and sockets of its own."""
    from twinscore.settings import load_settings

    settings = load_settings(home=folder)
    whole = head_environment(settings, temp_dir=folder, token_path=folder / "token", ports=free_ports(SERVE_PORTS))
    (folder / "h").mkdir(exist_ok=True)
    return {**plain_ingress(folder), **{name: value for name, value in whole.items() if name.startswith("RAY_SERVE_")}}


def plain_ingress(folder: Path) -> dict[str, str]:
    """Return what keeps a private Ray on the loopback address and quiet."""
    return {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_ENABLE_HA_PROXY": "0"}


def _fastapi(workers: int) -> Peer:
    needs = ("fastapi==0.165.0", "uvicorn[standard]==0.54.0")
    return Peer("with_fastapi", needs, workers, family="fastapi")


def _granian(workers: int) -> Peer:
    return Peer("with_granian", ("granian[uvloop]==2.8.7", "msgspec==0.22.0"), workers, family="granian")


def _kserve(workers: int) -> Peer:
    return Peer(
        "with_kserve", ("kserve==0.21.0",), workers, "/v1/models/bench:predict", matrix,
        lambda answer: float(answer["predictions"][0]), "kserve",
    )  # fmt: skip


def _mlserver(workers: int) -> Peer:
    # Its worker processes ask for an event loop in a way that newer uvloops refuse.
    return Peer(
        "with_mlserver", ("mlserver==1.7.1", "uvloop==0.21.0"), workers, "/v2/models/bench/infer", tensors,
        lambda answer: float(answer["outputs"][0]["data"][0]), "mlserver",
    )  # fmt: skip


def _bentoml(workers: int) -> Peer:
    return Peer("with_bentoml", ("bentoml==1.4.40",), workers, form=wrapped, family="bentoml")


def _litserve(workers: int) -> Peer:
    return Peer("with_litserve", ("litserve==0.2.19", "pyzmq==27.3.0"), workers, family="litserve")


def _mlflow(workers: int) -> Peer:
    return Peer(
        "with_mlflow", (), workers, "/invocations", split, lambda answer: float(answer["predictions"][0]),
        "mlflow",
    )  # fmt: skip


def _ray(environment: Callable[[Path], dict[str, str]]) -> Peer:
    return Peer("with_ray_serve", path="/bench", family="ray_serve", environment=environment)


WAYS = {
    "ceiling": Peer("bare", bundle=True, family="ceiling"),
    "fastapi": _fastapi(1),
    "fastapi_2": _fastapi(2),
    "granian": _granian(1),
    "granian_2": _granian(2),
    "kserve": _kserve(1),
    "kserve_2": _kserve(2),
    "mlserver": _mlserver(1),
    "mlserver_2": _mlserver(2),
    "bentoml": _bentoml(1),
    "bentoml_2": _bentoml(2),
    "litserve": _litserve(1),
    "litserve_2": _litserve(2),
    "mlflow": _mlflow(1),
    "mlflow_2": _mlflow(2),
    "ray_serve": _ray(plain_ingress),
    "ray_serve_haproxy": _ray(haproxy_ingress),
}
"""Every peer by its name; `_2` has two workers."""
SERVERS = ("kserve", "mlserver", "bentoml", "litserve")
"""The families that are model servers, as opposed to web frameworks."""


def python_of(peer: Peer, place: Path) -> Path:
    """Return the Python of a peer's environment; makes the environment when it is not there.

    Raises:
        Refused: it cannot be installed here; the message has the end of what pip said.
    """
    if not peer.needs:
        return Path(sys.executable)
    folder = place / "environments" / peer.family
    python = folder / "bin" / "python"
    wanted = "\n".join([*peer.needs, XGBOOST])
    done = folder / "installed"
    if done.exists() and done.read_text() == wanted:
        return python
    print(f"installing {', '.join(peer.needs)}", file=sys.stderr, flush=True)
    log = place / f"install-{peer.family}.log"
    with log.open("w") as out:
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.needs, XGBOOST],
        ):
            code = subprocess.run(command, stdout=out, stderr=out, check=False, timeout=INSTALL_S).returncode
            if code:
                message = f"cannot be installed here: {tail(log)}"
                raise Refused(message)
    done.write_text(wanted)
    return python


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    url: str
    start_s: float
    mark: str
    leader: Process

    def processes(self) -> list[Process]:
        """Return every process of the server."""
        return members(self.mark, [self.leader])


@contextmanager
def served(peer: Peer, reference: Reference, place: Path) -> Iterator[Running]:
    """Start a peer on a free port, in a session of its own, and end all of it afterwards.

    Raises:
        Refused: it cannot be installed, or does not become ready; the message has the end of its log.
    """
    python = python_of(peer, place)
    mark = secrets.token_hex(8)
    log = place / f"{peer.script}.log"
    # Ray and HAProxy put sockets into it, whose paths must be short.
    with tempfile.TemporaryDirectory(prefix="tsb-", ignore_cleanup_errors=True) as scratch:
        [port] = free_ports(1)
        model = reference.bundle.folder if peer.bundle else reference.booster_file
        command = [
            str(python), str(PEERS / f"{peer.script}.py"), str(model), str(port), str(peer.workers), scratch,
        ]  # fmt: skip
        began = time.perf_counter()
        with log.open("wb") as out:
            popen = subprocess.Popen(
                command, env=_environment(peer, Path(scratch), mark), cwd=scratch, stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, start_new_session=True,
            )  # fmt: skip
        leader = find(popen.pid) or Process(popen.pid, 0)
        try:
            url = f"http://127.0.0.1:{port}{peer.path}"
            _await_answer(url, json.dumps(peer.form(reference.rows[0], reference.names)).encode(), popen, log)
            yield Running(url, time.perf_counter() - began, mark, leader)
        finally:
            left = end(mark, [leader])
            popen.wait(10)
            if left:
                print(f"{peer.script}: processes {[one.pid for one in left]} survived", file=sys.stderr)


def _environment(peer: Peer, folder: Path, mark: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "TWINSCORE_"))}
    if peer.needs:
        kept.pop("PYTHONPATH", None)
    quiet = {"BENTOML_HOME": str(folder), "BENTOML_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1", "PYTHONWARNINGS": "ignore"}
    return {**kept, **quiet, **peer.environment(folder), MARK: mark}


def _await_answer(url: str, body: bytes, popen: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if popen.poll() is not None:
            message = f"ended with exit code {popen.returncode} while starting: {tail(log)}"
            raise Refused(message)
        if answers(url, body):
            return
        time.sleep(0.1)
    message = f"did not answer within {START_S:.0f} s: {tail(log)}"
    raise Refused(message)


def cpu_s(processes: list[Process]) -> float:
    """Return the processor time that some processes have used so far; those that are gone count nothing."""
    ticks = 0
    for process in processes:
        try:
            text = Path(f"/proc/{process.pid}/stat").read_text()
        except OSError:
            continue
        # The name in parentheses may itself hold spaces and parentheses.
        ticks += sum(int(one) for one in text[text.rindex(")") + 2 :].split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(processes: list[Process]) -> dict[str, float]:
    """Return the memory of some processes together, in MB: resident, and with shared pages split among their users."""
    total = {"rss": 0, "pss": 0}
    for pid in {process.pid for process in processes}:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        for line in text.splitlines():
            name = line.partition(":")[0].lower()
            if name in total:
                total[name] += int(line.split()[1])
    return {name: round(value / 1024, 1) for name, value in total.items()}


def tail(log: Path) -> str:
    """Return the end of what a process wrote."""
    return log.read_text(errors="replace")[-_SHOWN:].strip()
