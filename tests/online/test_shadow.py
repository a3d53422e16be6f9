"""Shadows: bounded and counted whatever they do, and nothing live changes; on threads, then on a real Ray Serve."""

from __future__ import annotations

import os
import signal
import threading
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
from twinscore.online.answer import Prediction
from twinscore.online.asked import Asked
from twinscore.online.caller import Scored
from twinscore.online.challenger import ChallengerOptions, ChallengerReplica, Deployed, deploy_challenger
from twinscore.online.deploy import serve_model, stop_model
from twinscore.online.endpoint import Endpoint
from twinscore.online.routes import apply_routing, current_routing, replica_states
from twinscore.online.shadow import Compared, MirrorLimits, ShadowMirror
from twinscore.online.spec import ServeSpec
from twinscore.rollout.assign import entity_id, sampled
from twinscore.rollout.routing import Routing, Shadow, Target
from twinscore.settings import Settings

QUICK = MirrorLimits(max_rows=50, max_bytes=10_000, gather_s=0.001, timeout_s=0.2, rest_s=0.01)


class InProcess:
    """Answers with an endpoint of this process, as a challenger's replica would; may be held up."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.open = threading.Event()
        self.open.set()

    def __call__(self, rows: Any) -> InProcess:
        """Take the rows."""
        self.rows = rows
        return self

    def __await__(self) -> Any:
        raise NotImplementedError

    def result(self, *, timeout_s: float | None = None) -> Scored:
        """Score, unless held up."""
        if not self.open.wait(timeout_s):
            raise TimeoutError
        asked = Asked(self.rows, at="/rows", partial=True)
        return Scored(self.endpoint.bundle.digest, self.endpoint.predictions(self.endpoint.score(asked)))

    def cancel(self) -> None:
        """Nothing to give up."""


def mirror_of(ask: InProcess, binary: Any, sampling: int = 10_000, **more: Any) -> tuple[ShadowMirror, Routing]:
    shadow = Shadow(app="members.shadow.2", version="2", digest=ask.endpoint.bundle.digest, sampling=sampling)
    live = Target(version="1", digest=binary.bundle.digest)
    routing = Routing(model="members", live=live, shadows=(shadow,))
    return ShadowMirror(shadow, routing, ask, limits=QUICK, **more), routing


def offer(mirror: ShadowMirror, binary: Any, row: Any, n_bytes: int = 100) -> Prediction:
    asked = Asked(binary.endpoint.decode([row])[0])
    outcome = binary.endpoint.score(asked)
    mirror.offer(binary.endpoint, asked, outcome, "r", n_bytes)
    found: Prediction = outcome.predictions[0]
    return found


def wait(condition: Any, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def test_a_shadow_is_compared_row_by_row(binary: Any, second: Endpoint) -> None:
    """Every mirrored row is compared; differing decisions and the largest difference are those of the two versions."""
    got: list[Compared] = []
    mirror, _ = mirror_of(InProcess(second), binary, on_compared=got.extend)
    try:
        live = []
        for row in binary.rows[:40]:
            live.append(offer(mirror, binary, row))
            time.sleep(0.001)
        wait(lambda: mirror.counts()["compared"] == 40)
    finally:
        mirror.close()
    other = [second.predictions(second.score(Asked(second.decode([row])[0])))[0] for row in binary.rows[:40]]
    counts = mirror.counts()

    assert sum(one.decision != two.decision for one, two in zip(live, other, strict=True)) == counts["decisions_differ"]
    assert (
        max(abs((one.score or 0) - (two.score or 0)) for one, two in zip(live, other, strict=True))
        == (counts["max_score_diff"])
    )
    assert [(one.key, two.score) for one, two in zip(live, other, strict=True)] == [
        (pair.live.key, pair.shadow.score) for pair in got
    ]


def test_only_the_sample_is_mirrored(binary: Any, second: Endpoint) -> None:
    """Half-sampled: the entities of the sample, and no others."""
    mirror, routing = mirror_of(InProcess(second), binary, sampling=5_000)
    rows = binary.rows[:40]
    try:
        for row in rows:
            offer(mirror, binary, row)
            time.sleep(0.001)
        wait(lambda: mirror.counts()["compared"] + mirror.counts()["skipped"] == 40)
    finally:
        mirror.close()
    wanted = sum(sampled(entity_id([row["row_id"]]), routing.salt, "members.shadow.2", 5_000) for row in rows)

    assert wanted == mirror.counts()["compared"]


def test_a_shadow_that_hangs_fills_a_bounded_queue(binary: Any, second: Endpoint) -> None:
    """Rows and bytes that wait stay within their bounds, the rest is dropped and counted; it recovers by itself."""
    ask = InProcess(second)
    ask.open.clear()
    mirror, _ = mirror_of(ask, binary)
    try:
        for row in binary.rows[:300]:
            offer(mirror, binary, row, n_bytes=150)
        held = mirror.counts()
        wait(lambda: mirror.counts()["failed"] > 0)
        ask.open.set()
        wait(lambda: mirror.counts()["compared"] > 0)
        counts = mirror.counts()
    finally:
        mirror.close()

    assert held["waiting"] <= QUICK.max_rows
    assert held["waiting_bytes"] <= QUICK.max_bytes
    assert held["dropped"] > 0
    assert 300 == counts["offered"]
    assert 300 == counts["dropped"] + counts["waiting"] + counts["mirrored"]


def test_a_log_that_fails_does_not_end_the_comparison(binary: Any, second: Endpoint) -> None:
    """What the callback raises is logged; the counters go on."""

    def broken(batch: Any) -> None:
        raise OSError(len(batch))

    mirror, _ = mirror_of(InProcess(second), binary, on_compared=broken)
    try:
        for row in binary.rows[:5]:
            offer(mirror, binary, row)
        wait(lambda: mirror.counts()["compared"] == 5)
    finally:
        mirror.close()


def test_the_price_of_an_offer(binary: Any, second: Endpoint) -> None:
    """Printed: what a request pays for being mirrored, to a shadow that hangs and to one that answers."""
    ask = InProcess(second)
    mirror, _ = mirror_of(ask, binary)
    asked = Asked(binary.endpoint.decode([binary.rows[0]])[0])
    outcome = binary.endpoint.score(asked)
    try:
        started = time.perf_counter()
        for _ in range(20_000):
            mirror.offer(binary.endpoint, asked, outcome, "r", 100)
        each_us = (time.perf_counter() - started) / 20_000 * 1e6
    finally:
        mirror.close()
    print(f"one offer: {each_us:.2f} microseconds")

    assert 20_000 == mirror.counts()["offered"]


# On a real Ray Serve.


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
            time.sleep(0.3)
            counts = next(iter(replica_states("members").values()))["shadows"][app.app]
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
        assert counts["waiting"] <= MirrorLimits().max_rows
        if name == "well":
            assert counts["compared"] > 0
            assert 0 == counts["failed"]
            compared = counts["compared"]
            wait(lambda compared=compared: compared <= in_the_log() + left_out())
            assert in_the_log() == sum(1 for record in audited(settings) if record.role == "shadow")


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
