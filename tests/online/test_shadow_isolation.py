"""Shadows of a served model that hang, stop, burn and leak; on a real Ray Serve."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from twinscore.audit.places import model_folder
from twinscore.audit.reader import read_model
from twinscore.audit.record import AuditRecord
from twinscore.online.caller import Scored
from twinscore.online.challenger import ChallengerOptions, ChallengerReplica, Deployed, deploy_challenger
from twinscore.online.deploy import serve_model, stop_model
from twinscore.online.routes import apply_routing, current_routing, replica_states
from twinscore.online.spec import ServeSpec
from twinscore.rollout.routing import Shadow
from twinscore.settings import Settings

from .shadowing import until


@pytest.fixture(scope="module")
def served(members: Any, serve_settings: Settings) -> Iterator[tuple[Settings, str]]:
    """Version 1 of `members` on one replica."""
    del members
    yield serve_settings, serve_model(serve_settings, "members/1", spec=ServeSpec(model="members"))
    stop_model("members")


def shadowed(settings: Settings, app: Deployed | None) -> None:
    current = current_routing("members")
    assert current is not None
    shadows = () if app is None else (Shadow(app=app.app, version=app.version, digest=app.digest),)
    apply_routing(settings, "members", replace(current, epoch=current.epoch + 1, shadows=shadows))


def load(url: str, rows: list[dict[str, Any]], n_requests: int) -> tuple[list[float], set[int]]:
    """Return the seconds of each request, sorted, and the statuses."""
    took, statuses = [], set()
    with httpx.Client(trust_env=False, timeout=30) as client:
        for position in range(n_requests):
            started = time.perf_counter()
            statuses.add(client.post(f"{url}/predict", json=rows[position % len(rows)]).status_code)
            took.append(time.perf_counter() - started)
    return sorted(took), statuses


@pytest.mark.cluster
def test_shadows_that_misbehave_change_nothing_live(served: tuple[Settings, str], binary: Any, tmp_path: Path) -> None:
    """Well, asleep, stopped, leaking, burning: every live answer is a 200; rows are compared, failed or dropped.

    Latency is measured in turns with the shadow off and on, and printed as a ratio.
    """
    settings, url = served
    word = tmp_path / "word"

    class Told(ChallengerReplica):
        """Does what the file says; a process for each would take its time to start."""

        def score(self, payload: Any) -> Scored:
            while word.read_text() == "asleep":
                time.sleep(0.05)
            if word.read_text() == "leaking":
                kept = self.__dict__.setdefault("kept", [])
                kept.append(bytearray(os.urandom(1024) * 1024 * 256))
            until = time.monotonic() + 1.5
            while word.read_text() == "burning" and time.monotonic() < until:
                pass
            return super().score(payload)

    word.write_text("well")
    app = deploy_challenger(settings, "members", "2", "shadow", replica=Told, options=ChallengerOptions(memory_mb=512))
    for name in ("well", "stopped", "asleep", "burning", "leaking"):
        word.write_text(name)
        stopped = _pid_of(app.app) if name == "stopped" else None
        if stopped is not None:
            os.kill(stopped, signal.SIGSTOP)
        try:
            off, on, statuses = [], [], set()
            for _ in range(2):
                shadowed(settings, None)
                took, seen = load(url, binary.rows, 60)
                off += took
                shadowed(settings, app)
                took, seen_on = load(url, binary.rows, 60)
                on += took
                statuses |= seen | seen_on
            until(lambda: counts_of(app.app)["state"] != "starting")
            if name == "well":
                until(lambda: counts_of(app.app)["compared"] == 60, 60)
            counts = counts_of(app.app)
        finally:
            if stopped is not None:
                os.kill(stopped, signal.SIGCONT)
            word.write_text("well")
            shadowed(settings, None)
        middle = sorted(on)[len(on) // 2] / sorted(off)[len(off) // 2]
        late = sorted(on)[int(len(on) * 0.95)] / sorted(off)[int(len(off) * 0.95)]
        print(f"{name}: median on/off {middle:.2f}, p95 on/off {late:.2f}, {counts}")

        assert {200} == statuses
        assert counts["offered"] == 60
        assert counts["waiting"] <= 60
        if name == "well":
            assert 0 == counts["failed"]
            until(lambda: in_the_log() + left_out() >= 60)
            assert in_the_log() == sum(1 for record in audited(settings) if record.role == "shadow")


def counts_of(app: str) -> dict[str, Any]:
    """Return what the one replica says of a shadow's rows."""
    found: dict[str, Any] = next(iter(replica_states("members").values()))["shadows"][app]
    return found


def shadow_log() -> dict[str, Any]:
    """Return what the one replica says of its records of shadows."""
    found: dict[str, Any] = next(iter(replica_states("members").values()))["shadow_log"]
    return found


def in_the_log() -> int:
    count: int = shadow_log()["recorded"]
    return count


def left_out() -> int:
    return sum(shadow_log()["left_out"].values())


def audited(settings: Settings) -> list[AuditRecord]:
    return [entry.record for entry in read_model(model_folder(settings.lake, "members"))]


def _pid_of(app: str) -> int:
    """Return the process of an application's one replica."""
    from ray import serve

    client: Any = serve.context._get_global_client()
    details = client.get_serve_details()
    (deployment,) = details["applications"][app]["deployments"].values()
    pid: int = deployment["replicas"][0]["pid"]
    return pid
