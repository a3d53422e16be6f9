"""Holds answers back until their audit records are durable; knows an audit writer by one method, and an event loop.

Group commit without a timer: while one batch is being synced, the records of further requests gather, and become the
next batch. One thread writes and syncs, so that the loop reads and scores meanwhile; it is woken once per batch and
wakes the loop once per batch, because each hand-over costs more than the record.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

__all__ = ["Commit", "ReplyGate"]

Done = Callable[[Exception | None], None]


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
    """

    def __init__(self, commit: Commit, loop: asyncio.AbstractEventLoop) -> None:
        self._commit = commit
        self._loop = loop
        self._waiting: list[tuple[Sequence[bytes], Done]] = []
        self._busy = False
        self._batches: queue.SimpleQueue[list[tuple[Sequence[bytes], Done]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="audit-commit", daemon=True)
        self._thread.start()

    def hold(self, records: Sequence[bytes], done: Done) -> None:
        """Call `done(None)` on the loop once all are durable, or `done(error)` when they could not be made so."""
        self._waiting.append((records, done))
        if not self._busy:
            self._busy = True
            # After the callbacks of this turn, so that whatever arrived together is one batch.
            self._loop.call_soon(self._hand_over)

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

    def _hand_over(self) -> None:
        batch, self._waiting = self._waiting, []
        self._batches.put(batch)

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            error: Exception | None = None
            try:
                self._commit([record for records, _ in batch for record in records])
            except Exception as failure:  # noqa: BLE001 - every waiting request must be told
                error = failure
            try:
                self._loop.call_soon_threadsafe(self._finish, batch, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    def _finish(self, batch: list[tuple[Sequence[bytes], Done]], error: Exception | None) -> None:
        if self._waiting:
            self._hand_over()
        else:
            self._busy = False
        for _, done in batch:
            done(error)
