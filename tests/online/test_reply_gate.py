"""Answers wait until their records are durable, whichever way these take to the disk."""

from __future__ import annotations

import asyncio
import errno
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import uvloop

from twinscore.audit.places import numbers
from twinscore.audit.reader import read_segment
from twinscore.audit.writer import Piece, SegmentWriter
from twinscore.errors import AuditUnavailable
from twinscore.online.reply_gate import ReplyGate

KEY = b"k" * 32
Way = tuple[bool, float]
WAYS: dict[str, Way] = {
    "on the loop, and appended where many wait": (True, 60.0),
    "appended": (True, 0.0),
    "committed by a thread": (False, 0.0),
}


class Watched:
    """A writer that counts what came to it, and fails as told."""

    def __init__(self, writer: SegmentWriter, fail: Callable[[], OSError | None] = lambda: None) -> None:
        self.writer = writer
        self.fail = fail
        self.committed = self.appended = 0

    def commit(self, payloads: Sequence[bytes]) -> None:
        """Commit, and count the records."""
        self.writer.commit(payloads)
        self.committed += len(payloads)

    def begin(self, payloads: Sequence[bytes]) -> Piece | None:
        """Begin a piece."""
        return self.writer.begin(payloads)

    def end(self, piece: Piece, error: OSError | None) -> bool:
        """End a piece, as if the disk had failed where that is wanted."""
        done = self.writer.end(piece, error or self.fail())
        self.appended += piece.records if done else 0
        return done


def in_the_log(folder: Path) -> list[bytes]:
    """Return every record of a stream, in order; raises where one was changed or lost."""
    names = [path.name for path in folder.iterdir()]
    return [payload for number in numbers(names, "segment") for _, payload in read_segment(folder, number).payloads()]


async def hold_all(gate: ReplyGate, payloads: Sequence[bytes], *, at_a_time: int) -> list[BaseException | None]:
    """Hold a reply for each record, so many at a time, and return what each was told."""
    told: list[BaseException | None] = []
    for start in range(0, len(payloads), at_a_time):
        part = payloads[start : start + at_a_time]
        told += await asyncio.gather(*[gate.durable([one]) for one in part], return_exceptions=True)
    return told


def run(log: Watched, way: Way, payloads: Sequence[bytes], at_a_time: int) -> list[BaseException | None]:
    """Hold replies on a loop as the listener's."""

    async def main() -> list[BaseException | None]:
        gate = ReplyGate(log.commit, asyncio.get_running_loop(), log if way[0] else None, quick_s=way[1])
        try:
            return await asyncio.wait_for(hold_all(gate, payloads, at_a_time=at_a_time), 60)
        finally:
            gate.close()

    return uvloop.run(main())


@pytest.mark.parametrize("at_a_time", [1, 8, 64])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_every_record_is_in_the_log_once_and_in_order(tmp_path: Path, way: Way, at_a_time: int) -> None:
    """Over several segments, with records of a few bytes and of more than one piece can take."""
    rng = random.Random(at_a_time)
    payloads = [rng.randbytes(rng.choice([10, 300, 1_200])) for _ in range(400)]
    payloads[rng.randrange(400)] = rng.randbytes(300_000)
    writer = SegmentWriter(tmp_path, stream="s", key=KEY, segment_bytes=150_000, ahead_bytes=60_000)
    log = Watched(writer)

    told = run(log, way, payloads, at_a_time)
    writer.close()

    assert told == [None] * len(payloads)
    assert in_the_log(tmp_path / "s") == payloads
    assert log.committed + log.appended == len(payloads)
    assert bool(log.appended) == (way[0] and (way[1] == 0 or at_a_time > 16))


@pytest.mark.parametrize(("turns", "batches"), [(1, 1), (10, 1), (40, 3)])
def test_what_comes_turn_after_turn_is_one_batch_until_there_is_plenty(turns: int, batches: int) -> None:
    """A sync for each turn would be for half as many; and nobody waits for a turn that brings nothing."""
    committed: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        gate = ReplyGate(lambda payloads: committed.append(len(payloads)), loop, quick_s=60.0)
        told: asyncio.Queue[Exception | None] = asyncio.Queue()

        def come(left: int) -> None:
            gate.hold([b"one"], told.put_nowait)
            if left > 1:
                loop.call_soon(come, left - 1)

        try:
            loop.call_soon(come, turns)
            assert [await asyncio.wait_for(told.get(), 10) for _ in range(turns)] == [None] * turns
        finally:
            gate.close()

    uvloop.run(main())

    assert sum(committed) == turns
    assert len(committed) == batches, committed


def test_a_disk_that_is_full_midway_is_tried_with_what_is_held_in_reserve(tmp_path: Path) -> None:
    """The answer is given, and its record is there."""
    writer = SegmentWriter(tmp_path, stream="s", key=KEY, reserve_bytes=4096)
    full = iter([OSError(errno.ENOSPC, "full")])
    log = Watched(writer, lambda: next(full, None))

    told = run(log, WAYS["appended"], [b"%d" % number for number in range(50)], 5)
    writer.close()

    assert told == [None] * 50
    assert in_the_log(tmp_path / "s") == [b"%d" % number for number in range(50)]


def test_a_sync_that_fails_refuses_its_batch_and_no_other(tmp_path: Path) -> None:
    """The file is left as it is, and the next batch goes into another."""
    writer = SegmentWriter(tmp_path, stream="s", key=KEY)
    broken = iter([None, None, OSError(errno.EIO, "broken")])
    log = Watched(writer, lambda: next(broken, None))

    told = run(log, WAYS["appended"], [b"%d" % number for number in range(50)], 5)
    writer.close()

    refused = [number for number, error in enumerate(told) if error is not None]
    assert len(refused) == 5
    assert all(isinstance(told[number], AuditUnavailable) for number in refused)
    left = in_the_log(tmp_path / "s")
    assert left == [b"%d" % number for number in range(50) if number not in refused]


def test_a_stream_that_somebody_else_writes_to_is_waited_for_in_a_thread(tmp_path: Path) -> None:
    """The loop goes on meanwhile."""
    writer = SegmentWriter(tmp_path, stream="s", key=KEY)
    log = Watched(writer)
    held, release = threading.Event(), threading.Event()

    def hold_the_stream() -> None:
        with writer._mutex:
            held.set()
            release.wait(20)

    holding = threading.Thread(target=hold_the_stream)
    holding.start()
    held.wait(20)

    async def main() -> int:
        gate = ReplyGate(log.commit, asyncio.get_running_loop(), log, quick_s=0.0)
        waiting = asyncio.ensure_future(gate.durable([b"record"]))
        turns = 0
        while turns < 100:
            await asyncio.sleep(0)
            turns += 1
        assert not waiting.done()
        release.set()
        await asyncio.wait_for(waiting, 20)
        gate.close()
        return turns

    assert uvloop.run(main()) == 100
    holding.join()
    writer.close()
    assert log.committed == 1
