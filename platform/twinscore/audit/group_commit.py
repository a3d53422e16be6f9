"""Many waiting answers, one sync: a thread that commits all that waits as one batch; knows not what a record says.

There is no timer: a batch begins when the one before it is on the disk, with whatever came meanwhile. So a lone
request waits for one sync, and a crowd shares them.
"""

from __future__ import annotations

import threading
import time
import traceback
from typing import TYPE_CHECKING

import structlog

from twinscore.errors import AuditUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from twinscore.audit.writer import SegmentWriter

__all__ = ["GroupCommit"]

_MIB = 1 << 20
_TEND_S = 1.0
_log = structlog.get_logger("twinscore.audit")


class GroupCommit:
    """Appends from any thread, commits in its own; ends with `close`.

    Args:
        writer: the stream; this object tends it, so nobody else needs to call its `recover`.
        most_bytes: of payloads that may wait; more are declined at once.
    """

    def __init__(self, writer: SegmentWriter, *, most_bytes: int = 64 * _MIB) -> None:
        self.writer = writer
        self.appended = 0
        """Records taken."""
        self.durable = 0
        """Records put on the disk."""
        self.failed = 0
        """Records that could not be put there; their callers were told."""
        self.batches = 0
        """Syncs tried."""
        self.lag_s = 0.0
        """Seconds from the first append of the last batch until it was on the disk."""
        self._most_bytes = most_bytes
        self._waiting: list[tuple[bytes, Callable[[AuditUnavailable | None], None]]] = []
        self._waiting_bytes = 0
        self._first_s = 0.0
        self._closing = False
        self._changed = threading.Condition(threading.Lock())
        self._thread = threading.Thread(target=self._run, name=f"audit-{writer.stream}", daemon=True)
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of payloads that no batch has taken yet."""
        return self._waiting_bytes

    def append(self, payload: bytes, done: Callable[[AuditUnavailable | None], None]) -> None:
        """Take a record into the next batch; `done(None)` is called in the committing thread when it is on the disk.

        `done` gets the error when it is not. It must be quick, as all of the next batch waits for it.

        Raises:
            AuditUnavailable: too much waits already, or this is closed; `done` is not called.
        """
        with self._changed:
            if self._closing:
                message = "The audit log is closed; this process is about to end."
                raise AuditUnavailable(message, stream=self.writer.stream)
            if self._waiting and self._waiting_bytes + len(payload) > self._most_bytes:
                message = f"The audit log is behind by {self._waiting_bytes:,} bytes; try again later."
                raise AuditUnavailable(message, stream=self.writer.stream, waiting_bytes=self._waiting_bytes)
            if not self._waiting:
                self._first_s = time.monotonic()
                self._changed.notify()
            self._waiting.append((payload, done))
            self._waiting_bytes += len(payload)
            self.appended += 1

    def close(self) -> None:
        """Commit what waits, end the thread and close the writer."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self.writer.close()

    def _run(self) -> None:
        tended_s = time.monotonic()
        while True:
            with self._changed:
                if not self._waiting and not self._closing:
                    self._changed.wait(_TEND_S)
                batch, self._waiting, self._waiting_bytes = self._waiting, [], 0
                first_s, closing = self._first_s, self._closing
            if batch:
                self._commit(batch, first_s)
            elif closing:
                return
            if time.monotonic() - tended_s >= _TEND_S:
                self.writer.recover()
                tended_s = time.monotonic()

    def _commit(self, batch: list[tuple[bytes, Callable[[AuditUnavailable | None], None]]], first_s: float) -> None:
        failure: AuditUnavailable | None = None
        try:
            self.writer.commit([payload for payload, _ in batch])
        except AuditUnavailable as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - a caller that is never told would wait for ever
            _log.error("audit_commit_failed", stream=self.writer.stream, trace=traceback.format_exc())
            failure = AuditUnavailable(f"The audit log failed: {error!r}.", stream=self.writer.stream)
        self.batches += 1
        self.lag_s = time.monotonic() - first_s
        if failure is None:
            self.durable += len(batch)
        else:
            self.failed += len(batch)
        for _, done in batch:
            try:
                done(failure)
            except Exception:  # noqa: BLE001 - one caller's mistake must not take the others' answers
                _log.error("audit_done_failed", stream=self.writer.stream, trace=traceback.format_exc())
