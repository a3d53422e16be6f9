"""Holds answers back until their audit records are durable; knows a log by three methods, and an event loop.

Group commit without a timer: a batch is what came until a turn of the loop brought nothing more, and while it is being
synced, the records of further requests gather and become the next one. Where few wait and the disk is quick, the loop
writes and syncs by itself: to hand over and to be woken costs more, and nobody else is kept waiting. Where many do, a
thread that needs no lock of Python's appends, so that the loop reads and scores meanwhile. What is more than
appending, such as a new segment, is left to a third.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from twinscore.audit.appender import MOST_BYTES, Appender
from twinscore.audit.segment import FRAME_BYTES
from twinscore.audit.writer import Piece

__all__ = ["Commit", "Log", "ReplyGate"]

Done = Callable[[Exception | None], None]
Batch = list[tuple[Sequence[bytes], Callable[[Exception | None], None]]]

_FEW = 16
"""Answers that the loop may commit by itself; with more, it looks whether the batch before is done at each of them."""
_QUICK_S = 0.001
"""A commit that takes no longer on average may be made on the loop."""
_WEIGHT = 0.125
"""Of the last commit in that average."""
_PATIENCE_S = 5.0


class Commit(Protocol):
    """Makes records durable, all of them or an exception."""

    def __call__(self, payloads: Sequence[bytes], /) -> None:
        """Return once every record is on disk."""
        ...


class Log(Protocol):
    """A log to which a batch can be appended in two steps, by one thread, when nothing else is to be done."""

    def begin(self, payloads: Sequence[bytes]) -> Piece | None:
        """Return what is to be written where, or None when the records have to be committed."""
        ...

    def end(self, piece: Piece, error: OSError | None) -> bool:
        """Take a piece for durable, or raise; False when its records should be committed after all."""
        ...


class ReplyGate:
    """The wait between a score and its answer; belongs to one event loop.

    Args:
        commit: writes and syncs a batch of records; called in a thread of its own, one call at a time.
        loop: where `hold` is called and `done` runs.
        log: takes what is only to be appended, on the loop; None leaves all of it to `commit`.
        quick_s: commits of few answers are made on the loop while they take no longer; 0 for never.
    """

    def __init__(
        self, commit: Commit, loop: asyncio.AbstractEventLoop, log: Log | None = None, *, quick_s: float = _QUICK_S
    ) -> None:
        self._commit = commit
        self._loop = loop
        self._log = log
        self._quick_s = quick_s
        self._took_s = 2 * _QUICK_S  # until a thread has seen some that were quick
        self._waiting: Batch = []
        self._looked = 0
        """How many waited when it was last looked."""
        self._busy = False
        self._under_way: tuple[Batch, Piece] | None = None
        if self._log is not None:
            self._appender = Appender()
            loop.add_reader(self._appender.done, self._appended)
        self._batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="audit-commit", daemon=True)
        self._thread.start()

    def hold(self, records: Sequence[bytes], done: Done) -> None:
        """Call `done(None)` on the loop once all are durable, or `done(error)` when they could not be made so."""
        self._waiting.append((records, done))
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._look)
        elif len(self._waiting) >= _FEW and self._under_way is not None and self._appender.over():
            self._appended()

    async def durable(self, records: Sequence[bytes]) -> None:
        """Return once the records are durable; raises what the commit raised."""
        future: asyncio.Future[None] = self._loop.create_future()

        def done(error: Exception | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self.hold(records, done)
        await future

    def close(self) -> None:
        """End the threads once everything handed over is on the disk; on the loop's own thread."""
        if self._log is not None:
            if self._under_way is not None:
                with contextlib.suppress(Exception):
                    self._log.end(self._under_way[1], self._appender.finish(_PATIENCE_S))
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.remove_reader(self._appender.done)
            self._appender.close(_PATIENCE_S)
        self._batches.put(None)
        self._thread.join(_PATIENCE_S)

    def _look(self) -> None:
        """Begin with what waits once a turn of the loop has brought nothing more, or when there is plenty.

        While answers to those before are on their way, further requests come in within a turn or two; without a look at
        them each sync would be for half as many.
        """
        if self._looked < len(self._waiting) < _FEW:
            self._looked = len(self._waiting)
            self._loop.call_soon(self._look)
        else:
            self._next()

    def _next(self) -> None:
        """Begin with what waits; the loop may be let go on before it is done."""
        batch, self._waiting = self._waiting, []
        self._looked = 0
        if len(batch) <= _FEW and self._took_s <= self._quick_s:
            self._finish(batch, self._write(batch))
            return
        piece = None if self._log is None else self._piece(self._log, batch)
        if piece is None:
            self._batches.put(batch)
            return
        self._under_way = batch, piece
        self._appender.start(piece.handle, piece.data, piece.offset)

    def _piece(self, log: Log, batch: Batch) -> Piece | None:
        payloads = _payloads(batch)
        n_bytes = sum([len(payload) for payload in payloads]) + len(payloads) * FRAME_BYTES
        return log.begin(payloads) if n_bytes <= MOST_BYTES else None

    def _appended(self) -> None:
        """Go on after a piece; called when it is over, and once more for the loop's own notice of that."""
        if self._under_way is None or self._log is None or not self._appender.over():
            return
        failed = self._appender.finish(_PATIENCE_S)
        (batch, piece), self._under_way = self._under_way, None
        self._took(time.monotonic() - piece.begun_s)
        error: Exception | None = None
        try:
            if not self._log.end(piece, failed):
                self._batches.put(batch)
                return
        except Exception as failure:  # noqa: BLE001 - every waiting request must be told
            error = failure
        self._finish(batch, error)

    def _finish(self, batch: Batch, error: Exception | None) -> None:
        ahead = len(self._waiting) > _FEW or (bool(self._waiting) and self._took_s > self._quick_s)
        if ahead:  # the disk works while the loop answers
            self._next()
        for _, done in batch:
            done(error)
        if ahead:
            return
        if self._waiting:
            self._loop.call_soon(self._look)
        else:
            self._busy = False

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            error = self._write(batch)
            try:
                self._loop.call_soon_threadsafe(self._finish, batch, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    def _write(self, batch: Batch) -> Exception | None:
        """Commit a batch, on the loop or in the thread, never in both at once; return what went wrong."""
        began_s = time.monotonic()
        error: Exception | None = None
        try:
            self._commit(_payloads(batch))
        except Exception as failure:  # noqa: BLE001 - every waiting request must be told
            error = failure
        self._took(time.monotonic() - began_s)
        return error

    def _took(self, seconds: float) -> None:
        self._took_s += _WEIGHT * (seconds - self._took_s)


def _payloads(batch: Batch) -> list[bytes]:
    return [record for records, _ in batch for record in records]
