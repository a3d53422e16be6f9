"""Shadows: bounded and counted whatever they do, and nothing live changes; on threads, then on a real Ray Serve."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from twinscore.audit.disk import Disk
from twinscore.audit.places import model_folder
from twinscore.audit.reader import read_model
from twinscore.audit.record import AuditRecord
from twinscore.contract.rows import RowDecoder
from twinscore.online.answer import Prediction
from twinscore.online.arms import Arms
from twinscore.online.asked import Asked
from twinscore.online.call import Call
from twinscore.online.caller import Scored
from twinscore.online.challenger import ChallengerOptions, ChallengerReplica, Deployed, deploy_challenger
from twinscore.online.deploy import serve_model, stop_model
from twinscore.online.endpoint import Endpoint
from twinscore.online.mirrored import decode_mirrored, encode_mirrored
from twinscore.online.routes import apply_routing, current_routing, replica_states
from twinscore.online.shadow import MirrorLimits
from twinscore.online.shadow_feed import ShadowFeed
from twinscore.online.shadow_log import ShadowLogLimits
from twinscore.online.spec import AuditPolicy, ServeSpec
from twinscore.rollout.assign import entity_id, sampled
from twinscore.rollout.routing import Routing, Shadow, Target
from twinscore.settings import Settings

from .shadowing import in_threads, stored, told, until

QUICK = MirrorLimits(gather_s=0.001, timeout_s=0.2, rest_s=0.01)
MAX_BYTES = 16_000


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


@contextmanager
def mirrored(ask: Any, binary: Any, sampling: int = 10_000, **more: Any) -> Iterator[tuple[Arms, ShadowFeed]]:
    """A live version with a shadow beside it whose process is threads of this one."""
    shadow = Shadow(app="members.shadow.2", version="2", digest=ask.endpoint.bundle.digest, sampling=sampling)
    live = Target(version="1", digest=binary.bundle.digest)
    routing = Routing(model="members", live=live, shadows=(shadow,))
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        stored(settings, binary.bundle, ask.endpoint.bundle)
        start = in_threads(settings, ask, limits=QUICK, **more)
        feed = ShadowFeed(shadow, start(routing, shadow), max_bytes=MAX_BYTES)
        try:
            yield Arms(routing, binary.endpoint, {}, [feed]), feed
        finally:
            feed.close()


def offer(arms: Arms, rows: list[Any]) -> list[Prediction]:
    """Answer a request with the live version, and let the shadow see it."""
    asked = Asked(arms.endpoint.decode(rows)[0])
    outcome = arms.endpoint.score(asked)
    arms.mirror(asked, outcome, Call("POST", "/predict", {}, b"", "r"))
    return arms.endpoint.predictions(outcome)


@pytest.mark.parametrize("size", [1, 5, 40])
def test_a_shadow_is_compared_row_by_row(binary: Any, second: Endpoint, size: int) -> None:
    """Of requests of one row, few and many: differing decisions and the largest difference are the two versions'."""
    live = []
    with mirrored(InProcess(second), binary) as (arms, feed):
        for start in range(0, 40, size):
            live += offer(arms, binary.rows[start : start + size])
        counts = told(feed, rows=40)
    other = [second.predictions(second.score(Asked(second.decode([row])[0])))[0] for row in binary.rows[:40]]
    pairs = list(zip(live, other, strict=True))

    assert (40, 40, 40, 0, 0) == tuple(
        counts[name] for name in ("offered", "mirrored", "compared", "waiting", "dropped")
    )
    assert sum(one.decision != two.decision for one, two in pairs) == counts["decisions_differ"]
    assert max(abs((one.score or 0) - (two.score or 0)) for one, two in pairs) == counts["max_score_diff"]


@pytest.mark.parametrize("size", [5, 40])
def test_rows_that_were_refused_are_not_mirrored(binary: Any, second: Endpoint, size: int) -> None:
    """In a partial answer the good rows are mirrored, with their places in the request."""
    rows = [{**row, "age": -5} if number % 3 == 0 else row for number, row in enumerate(binary.rows[:size])]
    asked = Asked(binary.endpoint.decode(rows)[0], at="/instances", partial=True)
    outcome = binary.endpoint.score(asked)
    message, n_rows = encode_mirrored(binary.endpoint, asked, outcome, "r")
    found = decode_mirrored(message, lambda digest: RowDecoder(binary.bundle.contract))
    expected = binary.endpoint.predictions(outcome)
    good = [number for number in range(size) if number % 3]

    assert ("r", binary.endpoint.version, binary.bundle.digest, len(good)) == (*found[:3], n_rows)
    assert good == [one.row for one in found.rows]
    assert [(expected[at].score, expected[at].decision) for at in good] == [
        (one.score, one.decision) for one in found.rows
    ]
    assert [dict(asked.rows[at]) for at in good] == [one.cells for one in found.rows]


def test_only_the_sample_is_mirrored(binary: Any, second: Endpoint) -> None:
    """Half-sampled: the entities of the sample, and no others."""
    rows = binary.rows[:40]
    with mirrored(InProcess(second), binary, sampling=5_000) as (arms, feed):
        for row in rows:
            offer(arms, [row])
        counts = told(feed, rows=40)
        salt = arms.routing.salt
    wanted = sum(sampled(entity_id([row["row_id"]]), salt, "members.shadow.2", 5_000) for row in rows)

    assert (wanted, 40 - wanted) == (counts["compared"], counts["skipped"])


def test_a_shadow_that_hangs_fills_a_bounded_queue(binary: Any, second: Endpoint) -> None:
    """Bytes that wait stay within their bound, the rest is dropped and counted; it recovers by itself."""
    ask = InProcess(second)
    ask.open.clear()
    with mirrored(ask, binary) as (arms, feed):
        for row in binary.rows[:300]:
            offer(arms, [row])
        held = feed.counts()
        until(lambda: feed.counts()["failed"] > 0)
        ask.open.set()
        until(lambda: feed.counts()["compared"] > 0)
        until(lambda: feed.counts()["waiting"] == 0)
        counts = told(feed, rows=300)

    assert 0 < held["waiting_bytes"] <= MAX_BYTES
    assert held["dropped"] > 0
    assert (300, 300) == (counts["offered"], counts["dropped"] + counts["mirrored"])
    assert counts["mirrored"] == counts["compared"] + counts["failed"]


def test_what_a_shadow_cannot_be_told_does_not_fail_the_answer(binary: Any, second: Endpoint) -> None:
    """A row that no message can be made of is dropped and counted; the shadow sees the next."""
    with mirrored(InProcess(second), binary) as (arms, feed):
        asked = Asked(binary.endpoint.decode([binary.rows[0]])[0])
        outcome = binary.endpoint.score(asked)
        asked.rows = [{**asked.rows[0], "age": object()}]
        arms.mirror(asked, outcome, Call("POST", "/predict", {}, b"", "r"))
        offer(arms, [binary.rows[1]])
        counts = told(feed, rows=2)

    assert (2, 1, 1) == tuple(counts[name] for name in ("offered", "dropped", "compared"))


def test_a_log_that_fails_does_not_end_the_comparison(binary: Any, second: Endpoint) -> None:
    """What cannot be recorded is counted; the comparison goes on."""

    class Broken(Disk):
        def free(self, folder: Path) -> int:
            raise OSError(folder)

    with mirrored(
        InProcess(second), binary, policy=AuditPolicy(), disk=Broken(), log_limits=ShadowLogLimits(gather_s=0.001)
    ) as (arms, feed):
        for row in binary.rows[:5]:
            offer(arms, [row])
        until(lambda: (feed.log_counts() or {}).get("left_out", {}).get("failed") == 5)
        counts = told(feed, rows=5)

    assert 5 == counts["compared"]


def test_the_price_of_being_mirrored(binary: Any, second: Endpoint) -> None:
    """Printed: what a request pays, whether the shadow answers or not; rows that do not fit are counted."""
    ask = InProcess(second)
    ask.open.clear()
    asked = Asked(binary.endpoint.decode([binary.rows[0]])[0])
    outcome = binary.endpoint.score(asked)
    call = Call("POST", "/predict", {}, b"", "r")
    with mirrored(ask, binary) as (arms, feed):
        started = time.perf_counter()
        for _ in range(20_000):
            arms.mirror(asked, outcome, call)
        each_us = (time.perf_counter() - started) / 20_000 * 1e6
        held = feed.counts()
        ask.open.set()
        until(lambda: feed.counts()["waiting"] == 0)
        counts = told(feed, rows=20_000)
    print(f"one request: {each_us:.2f} microseconds")

    assert 20_000 == held["offered"] == counts["dropped"] + counts["mirrored"]


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
