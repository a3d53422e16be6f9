"""Holds answers back until their audit records are durable; knows an audit writer by one method, and an event loop.

Group commit without a timer: while one batch is being synced, the records of further requests gather, and become the
next batch. Where many wait, a thread writes and syncs, so that the loop reads and scores meanwhile. Where few do, the
loop does it by itself: handing over and back costs more than a quick disk, and nobody else is kept waiting. A disk that
is not quick is left to the thread, so that it never holds up what needs no record.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

__all__ = ["Commit", "ReplyGate"]

Done = Callable[[Exception | None], None]
Batch = list[tuple[Sequence[bytes], Callable[[Exception | None], None]]]

_FEW = 16
"""Answers that the loop may commit by itself."""
_QUICK_S = 0.001
"""A commit that takes no longer on average may be made on the loop."""
_WEIGHT = 0.125
"""Of the last commit in that average."""


class Commit(Protocol):
    """Makes records durable, all of them or an exception."""

    def __call__(self, payloads: Sequence[bytes], /) -> None:
        """Return once every record is on disk."""
        ...


class ReplyGate:
    """The wait between a score and its answer; belongs to one event loop.

    Args:
        commit: writes and syncs a batch of records; called in a thread of its own, one call at a time.
        loop: where `hold` is called and `done` runs.
        quick_s: commits are made on the loop while they take no longer; 0 leaves them all to the thread.
    """

    def __init__(self, commit: Commit, loop: asyncio.AbstractEventLoop, *, quick_s: float = _QUICK_S) -> None:
        self._commit = commit
        self._loop = loop
        self._quick_s = quick_s
        self._took_s = 2 * _QUICK_S  # until the thread has seen some that were quick
        self._waiting: Batch = []
        self._busy = False
        self._batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="audit-commit", daemon=True)
        self._thread.start()

    def hold(self, records: Sequence[bytes], done: Done) -> None:
        """Call `done(None)` on the loop once all are durable, or `done(error)` when they could not be made so."""
        self._waiting.append((records, done))
        if not self._busy:
            self._busy = True
            # After the callbacks of this turn, so that whatever arrived together is one batch.
            self._loop.call_soon(self._next)

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

    def close(self, timeout_s: float = 5.0) -> None:
        """End the thread once everything handed over is committed."""
        self._batches.put(None)
        self._thread.join(timeout_s)

    def _next(self) -> None:
        if self._many():
            self._hand_over()
            return
        batch, self._waiting = self._waiting, []
        self._finish(batch, self._write(batch))

    def _many(self) -> bool:
        return len(self._waiting) > _FEW or self._took_s > self._quick_s

    def _hand_over(self) -> None:
        batch, self._waiting = self._waiting, []
        self._batches.put(batch)

    def _finish(self, batch: Batch, error: Exception | None) -> None:
        ahead = bool(self._waiting) and self._many()
        if ahead:  # the thread works while the loop answers
            self._hand_over()
        for _, done in batch:
            done(error)
        if ahead:
            return
        if self._waiting:
            self._loop.call_soon(self._next)
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
            self._commit([record for records, _ in batch for record in records])
        except Exception as failure:  # noqa: BLE001 - every waiting request must be told
            error = failure
        self._took_s += _WEIGHT * (time.monotonic() - began_s - self._took_s)
        return error
