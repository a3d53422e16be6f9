"""What a listener counts of itself, and what it does when more comes than it can answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.listener import ListenerLimits
from twinscore.online.load import Load, LoadState, Turn, bucket_of, bucket_top_us, room_for, state_of
from twinscore.online.spec import AuditPolicy
from twinscore.settings import Settings
from twinscore.wiring import listener_roster

from .conftest import Trained
from .test_front import post

SECOND = 1_000_000_000


@given(st.integers(0, 10**9))
def test_a_time_lies_below_the_top_of_its_bucket(took_us: int) -> None:
    """By at most a quarter; the bucket below ends at it or before."""
    bucket = bucket_of(took_us)

    assert took_us < bucket_top_us(bucket) <= max(1.25 * took_us + 1, took_us + 1)
    assert bucket == 0 or bucket_top_us(bucket - 1) <= took_us


def test_longer_times_have_higher_buckets() -> None:
    """None is skipped, and the tops rise."""
    buckets = [bucket_of(took) for took in range(5000)]

    assert sorted(buckets) == buckets
    assert set(range(max(buckets) + 1)) == set(buckets)


def test_the_state_is_of_the_last_seconds() -> None:
    """Rate, time inside, percentile and busy share; what is older than the window is forgotten."""
    load = Load(window_s=2)
    empty = load.state()
    load.tick(0, 0)
    for second in range(1, 4):
        for _ in range(98):
            load.answered(1_000_000)
        load.answered(200_000_000)
        load.answered(202_000_000)
        load.handled_ns += SECOND // 4
        load.shed += 10 if second == 1 else 0
        load.tick(second * SECOND, second * SECOND // 8)
    state = load.state()

    assert LoadState(0, 0, 0, 0, 0) == empty
    assert (pytest.approx(0.5), 100, 0.25, 0) == (state.ongoing, state.answered_s, state.busy, state.shed_s)
    assert 200 < state.p99_ms < 250


def test_listeners_of_one_process_add_up() -> None:
    """Their requests, their time inside and their work; the percentile is that of all requests together."""
    quick, slow, silent = Load(), Load(), Load()
    for load, requests, took_ns, cpu_ns in ((quick, 990, 1_000_000, SECOND // 2), (slow, 10, 400_000_000, SECOND // 4)):
        load.tick(0, 0)
        for _ in range(requests):
            load.answered(took_ns)
        load.tick(2 * SECOND, 2 * cpu_ns)
    state = state_of([quick, slow, silent])

    assert quick.state() == state_of([quick, silent])
    assert (pytest.approx((0.99 + 4.0) / 2), 500) == (state.ongoing, state.answered_s)
    assert (0.75, quick.state().busy) == (state.busy, 0.5)
    assert quick.state().p99_ms == state.p99_ms < 2
    slow.answered(400_000_000)
    slow.tick(3 * SECOND, 2 * SECOND)
    assert 400 < state_of([quick, slow]).p99_ms < 500


def test_a_thread_without_a_core_is_busy() -> None:
    """So is one that parses: the larger of two shares counts."""
    load = Load()
    load.tick(0, 0)
    load.tick(SECOND, SECOND * 3 // 4)

    assert 0.75 == load.state().busy


@given(st.integers(50, 100_000), st.integers(1_000, SECOND), st.integers(0, SECOND), st.integers(1, 500))
def test_the_room_fills_the_loop_twice(answered: int, each_ns: int, commit_ns: int, now: int) -> None:
    """What the loop can answer while one request is on its way and synced, twice, and at most a quarter more."""
    twice = 2 * (1 + (commit_ns + 2_000_000) / each_ns)

    assert max(4, twice) <= room_for(answered, answered * each_ns, commit_ns, now) <= max(4, 1.25 * (twice + 1) + 1)


@given(st.integers(0, 49), st.integers(0, SECOND), st.integers(1, 500))
def test_few_answers_say_nothing_of_the_room(answered: int, busy_ns: int, now: int) -> None:
    """It stays as it is, whatever they took."""
    assert now == room_for(answered, busy_ns, 0, now)


def test_the_room_takes_the_shortest_commit_and_slow_answers_shrink_it() -> None:
    """A commit that waited for the interpreter says nothing of the disk; a slow disk makes room for more."""
    quick, slow, heavy = Load(), Load(), Load()
    for load, each_ns, commits in ((quick, 100_000, (300_000, 9_000_000)), (slow, 100_000, (9_000_000,)),
                                   (heavy, 2_000_000, (300_000,))):  # fmt: skip
        load.tick(0, 0)
        for _ in range(400):
            load.answered(1_000_000)
            load.handled_ns += each_ns
        for took_ns in commits:
            load.committed(took_ns)
        load.tick(SECOND, 0)

    assert heavy.room(64) < quick.room(64) < slow.room(64)


def test_only_a_second_long_round_refuses() -> None:
    """One may be a pause of the machine; the first request of a round is never late, and a short round ends it."""
    seen: list[tuple[bool, bool]] = []

    def one_round(pause_s: float) -> None:
        first = turn.too_late(time.monotonic_ns())
        time.sleep(pause_s)
        seen.append((first, turn.too_late(time.monotonic_ns())))

    loop = asyncio.new_event_loop()
    turn = Turn(loop, 0.2)
    for pause_s in (0.25, 0.25, 0.0, 0.25):
        loop.call_soon(one_round, pause_s)
        loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()

    assert [(False, False), (False, True), (False, False), (False, False)] == seen


def test_what_is_too_much_is_refused_at_once(binary: Trained, tmp_path: Path) -> None:
    """Six seconds with 400 requests open where 64 may wait: each gets its answer, and refusals say when to come again.

    Afterwards everything is answered again, and memory has not grown with what was refused.
    """
    limits = ListenerLimits(max_waiting=64, max_wait_s=0.02)
    settings = Settings(home=tmp_path)
    front = Front(
        Gateway("members", binary.endpoint), settings, listener_roster(settings), replica="r1",
        audit=AuditPolicy(reserve_mb=1), limits=limits,
    )  # fmt: skip
    try:
        body = json.dumps(binary.rows[0]).encode()
        asyncio.run(_flood(front.listener.port, body, 1.0))
        before = _rss_mb()
        found = asyncio.run(_flood(front.listener.port, body, 5.0))
        grown = _rss_mb() - before
        shed = front.listener.load.shed
        calm = [post(front, binary.rows[0]).status_code for _ in range(50)]
    finally:
        front.close()

    assert {200, 503} == set(found)
    assert shed >= found[503]
    assert found[200] >= 200
    assert [200] * 50 == calm
    assert grown < 100


async def _flood(port: int, body: bytes, lasts_s: float, connections: int = 400) -> Counter[int]:
    """Ask on many connections, on each as soon as the last answer is there; return how often each status came."""
    head = b"POST /members/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    request = head % len(body) + body
    found: Counter[int] = Counter()
    until = time.monotonic() + lasts_s

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < until:
            writer.write(request)
            said = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(said.split(b"content-length: ")[1].split(b"\r\n")[0]))
            status = int(said[9:12])
            assert (b"retry-after: 1" in said) == (status == 503)
            found[status] += 1
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*[ask() for _ in range(connections)])
    return found


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20
