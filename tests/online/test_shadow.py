"""Shadows: bounded and counted whatever they do; on threads of the test."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from twinscore.audit.disk import Disk
from twinscore.contract.rows import RowDecoder
from twinscore.online.answer import Prediction
from twinscore.online.arms import Arms
from twinscore.online.asked import Asked
from twinscore.online.call import Call
from twinscore.online.caller import Scored
from twinscore.online.endpoint import Endpoint
from twinscore.online.mirrored import decode_mirrored, encode_mirrored
from twinscore.online.shadow import MirrorLimits
from twinscore.online.shadow_feed import ShadowFeed
from twinscore.online.shadow_log import ShadowLogLimits
from twinscore.online.spec import AuditPolicy
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
        start = in_threads(settings, ask, **{"limits": QUICK, **more})
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


def test_the_first_request_is_asked_by_itself(binary: Any, second: Endpoint) -> None:
    """So that how long a request takes is known however many come; all others that have gathered are one call."""
    calls: list[int] = []

    class Counted(InProcess):
        def __call__(self, rows: Any) -> InProcess:
            calls.append(len(rows))
            return super().__call__(rows)

    ask = Counted(second)
    ask.open.clear()
    with mirrored(ask, binary, limits=MirrorLimits(timeout_s=20.0)) as (arms, feed):
        offer(arms, binary.rows[:1])
        until(lambda: calls)
        for at in range(1, 40):
            offer(arms, binary.rows[at : at + 1])
        ask.open.set()
        told(feed, rows=40)

    assert calls == [1, 39]


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
