"""The writer of one stream: a batch is on the disk when `commit` returns, or it raises; knows not what a record says.

A file whose sync failed is never synced again, because the system may have dropped the pages that it could not write:
it is left as it is, and a new segment begins, whose header says which records of the old one count. When the disk is
full, a file that was held in reserve is given back, so that requests which are being answered can still be recorded;
meanwhile `ready` is false, and `recover` takes the space back when there is some.

Zeros are written ahead of the records, and records over them: a sync of a file that does not grow leaves the file
system's journal alone, and takes half the time or less.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from typing import TYPE_CHECKING, NamedTuple

import structlog

from twinscore.audit.disk import Disk, hold, write_all
from twinscore.audit.head import Head, signed
from twinscore.audit.places import LOCK, RESERVE, file_name, stream_name
from twinscore.audit.reserve import Reserve
from twinscore.audit.resume import resume_stream
from twinscore.audit.segment import Header, frame_batch, pack_header, seal_frame
from twinscore.clock import SystemClock
from twinscore.errors import AuditUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from twinscore.clock import Clock

__all__ = ["Piece", "SegmentWriter"]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_MIB = 1 << 20
_log = structlog.get_logger("twinscore.audit")


class Piece(NamedTuple):
    """Frames of a batch that somebody else writes to the open segment, and syncs."""

    handle: int
    data: bytes
    offset: int
    chain: bytes
    """Value behind its last record."""
    records: int
    begun_s: float
    """By the monotonic clock."""


class SegmentWriter:
    """Appends batches of records to the segments of a stream; may be called from several threads.

    Args:
        folder: of all streams of a model; the stream's own folder is made in it.
        stream: name of this writer; no other process may hold it.
        key: signs the heads of sealed segments.
        segment_bytes: a segment is sealed when it has as many.
        segment_age_s: or when it is this old, so that compaction comes to see it.
        reserve_bytes: space that is held for the last answers on a full disk.
        ahead_bytes: zeros that are written behind the records when they come to the end of the file.
        lock_wait_s: how long to wait for the stream, which compaction holds while it seals what a killed writer left.
        clock: tells when a segment was begun.
        disk: the calls of the operating system.

    Raises:
        AuditUnavailable: another process holds the stream, or its folder cannot be made. A full disk does not raise
            here: the writer is then not `ready`, and `recover` tries again.
    """

    def __init__(
        self,
        folder: Path,
        *,
        stream: str,
        key: bytes,
        segment_bytes: int = 64 * _MIB,
        segment_age_s: float = 600.0,
        reserve_bytes: int = 64 * _MIB,
        ahead_bytes: int = _MIB,
        lock_wait_s: float = 5.0,
        clock: Clock | None = None,
        disk: Disk | None = None,
    ) -> None:
        self.stream = stream_name(stream)
        self.folder = folder / stream
        self._key = key
        self._segment_bytes = segment_bytes
        self._segment_age_s = segment_age_s
        self._ahead = bytes(ahead_bytes)
        self._clock: Clock = clock or SystemClock()
        self._disk = disk or Disk()
        self._reserve = Reserve(self._disk, self.folder / RESERVE, reserve_bytes)
        self._mutex = threading.RLock()
        self._handle: int | None = None
        self._header = Header(stream, 0, 1, b"", 0)
        self._chain = b""
        self._size = self._room = 0
        self._begun_s = 0.0
        self._closed = self._resumed = self._ready = False
        self._reason = ""
        self._number = self._sequence = 1
        self._unwanted: Path | None = None
        self.records = 0
        """How many are on the disk since this writer began."""
        try:
            self._disk.prepare(self.folder)
            self._lock = hold(self._disk, self.folder / LOCK, lock_wait_s)
        except BlockingIOError as error:
            message = f"The audit stream {self.folder} is held by another process; a writer needs one of its own."
            raise AuditUnavailable(message, stream=stream) from error
        except OSError as error:
            message = f"The audit stream {self.folder} cannot be opened: {error.strerror or error}."
            raise AuditUnavailable(message, stream=stream) from error
        self.recover()

    @property
    def ready(self) -> bool:
        """Whether new requests may be taken."""
        return self._ready

    @property
    def reason(self) -> str:
        """Why it is not ready; empty when it is."""
        return self._reason

    @property
    def sequence(self) -> int:
        """Number of the next record."""
        return self._sequence

    def commit(self, payloads: Sequence[bytes]) -> None:
        """Put a batch on the disk, in order: all of it when this returns.

        Raises:
            AuditUnavailable: it could not be put there; nobody may be told that it was. Some of its records may be
                found later all the same.
        """
        if not payloads:
            return
        with self._mutex:
            if self._closed:
                message = f"The audit stream {self.folder} is closed."
                raise AuditUnavailable(message, stream=self.stream)
            if self._due():
                self._seal()
            try:
                self._commit(payloads)
            except OSError as error:
                if error.errno not in _FULL or not self._reserve.release():
                    raise self._unavailable(error) from error
                try:
                    self._commit(payloads)
                except OSError as again:
                    raise self._unavailable(again) from again

    def begin(self, payloads: Sequence[bytes]) -> Piece | None:
        """Return what to write where, when that is all there is to do; None when it needs `commit`.

        After a piece nobody else can write until the same thread has told `end` what became of it.
        """
        if not self._disk.native or not self._mutex.acquire(blocking=False):
            return None
        piece: Piece | None = None
        try:
            if self._handle is not None and not self._closed and not self._due():
                data, chain = frame_batch(payloads, self._sequence, self._chain)
                if self._size + len(data) <= self._room:
                    piece = Piece(self._handle, data, self._size, chain, len(payloads), self._clock.monotonic_s())
            return piece
        finally:
            if piece is None:
                self._mutex.release()

    def end(self, piece: Piece, error: OSError | None) -> bool:
        """Take a piece for on the disk; False when the disk was full and `commit` should be tried.

        Raises:
            AuditUnavailable: it could not be put there; see `commit`.
        """
        try:
            if error is None:
                self._count(piece.data, piece.chain, piece.records)
                return True
            self._not_ready(error)
            self._leave()
            if error.errno not in _FULL:
                raise self._unavailable(error)
            return False
        finally:
            self._mutex.release()

    def recover(self) -> bool:
        """Do what is due and cheap, once a second or so: seal what is old, and become ready again. Return `ready`."""
        with self._mutex:
            if self._closed:
                return False
            try:
                if self._ready and self._due():
                    self._seal()
                if not self._ready:
                    self._begin()
                    self._reserve.take()
                    if self._reason:
                        _log.info("audit_ready_again", stream=self.stream)
                    self._ready, self._reason = True, ""
            except OSError as error:
                self._not_ready(error)
            return self._ready

    def close(self) -> None:
        """Seal the segment, give the reserve back and let others have the stream."""
        with self._mutex:
            if self._closed:
                return
            self._seal()
            self._closed, self._ready, self._reason = True, False, "closed"
            self._reserve.release()
            self._disk.close(self._lock)

    def _commit(self, payloads: Sequence[bytes]) -> None:
        """Write and sync one batch; on an error nothing is written to this file any more."""
        self._begin()
        assert self._handle is not None
        data, chain = frame_batch(payloads, self._sequence, self._chain)
        try:
            write_all(self._disk, self._handle, data, self._size)
            if self._size + len(data) > self._room:
                self._make_room(self._size + len(data))
            self._disk.fdatasync(self._handle)
        except OSError as error:
            self._not_ready(error)
            self._leave()
            raise
        self._count(data, chain, len(payloads))

    def _count(self, data: bytes, chain: bytes, n_records: int) -> None:
        """Take records for on the disk."""
        self._chain = chain
        self._size += len(data)
        self._sequence += n_records
        self.records += n_records

    def _make_room(self, end: int) -> None:
        """Write zeros behind the records, to be synced with them; a disk without space for them has less ahead."""
        assert self._handle is not None
        self._room = end
        if end + len(self._ahead) > self._segment_bytes:
            return
        try:
            write_all(self._disk, self._handle, self._ahead, end)
            self._room = end + len(self._ahead)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._disk.truncate(self._handle, end)

    def _begin(self) -> None:
        """Have a segment open whose header is on the disk."""
        if self._handle is not None:
            return
        if not self._resumed:
            self._number, self._sequence, self._chain = resume_stream(
                self._disk, self.folder, self.stream, self._key, self._now_us()
            )
            self._resumed = True
        if self._unwanted is not None:
            self._disk.unlink(self._unwanted)
            self._unwanted = None
        path = self.folder / file_name(self._number, "segment")
        self._header = Header(self.stream, self._number, self._sequence, self._chain, self._now_us())
        data = pack_header(self._header)
        handle = self._disk.create(path)
        try:
            write_all(self._disk, handle, data)
            self._disk.fdatasync(handle)
            self._disk.sync_folder(self.folder)
        except OSError:
            self._disk.close(handle)
            self._discard(path)
            raise
        self._handle, self._begun_s = handle, self._clock.monotonic_s()
        self._size = self._room = len(data)

    def _due(self) -> bool:
        """Tell whether the open segment is large or old enough; one without records never is."""
        if self._handle is None or self._sequence == self._header.first_sequence:
            return False
        return self._size >= self._segment_bytes or self._clock.monotonic_s() - self._begun_s >= self._segment_age_s

    def _seal(self) -> None:
        """End the open segment. Without its seal it is as good: the next header says where it ends."""
        if self._handle is None:
            return
        header = self._header
        if self._sequence > header.first_sequence:
            head = Head(
                self.stream,
                header.number,
                header.first_sequence,
                self._sequence - header.first_sequence,
                header.previous_chain.hex(),
                self._chain.hex(),
                header.created_us,
                self._now_us(),
            )
            try:
                seal = seal_frame(signed(head, self._key), self._chain)
                write_all(self._disk, self._handle, seal, self._size)
                self._disk.truncate(self._handle, self._size + len(seal))
                self._disk.fdatasync(self._handle)
            except OSError as error:
                self._not_ready(error)
        self._leave()

    def _leave(self) -> None:
        """Let go of the open segment; one without records is of no use, and its number is free."""
        assert self._handle is not None
        with contextlib.suppress(OSError):
            self._disk.close(self._handle)
        self._handle = None
        if self._sequence == self._header.first_sequence:
            self._discard(self.folder / file_name(self._number, "segment"))
        else:
            self._number += 1

    def _discard(self, path: Path) -> None:
        try:
            self._disk.unlink(path)
        except OSError:
            self._unwanted = path

    def _not_ready(self, error: OSError) -> None:
        reason = str(error.strerror or error)
        if reason != self._reason:
            _log.error("audit_not_ready", stream=self.stream, reason=reason)
        self._ready, self._reason = False, reason

    def _unavailable(self, error: OSError) -> AuditUnavailable:
        self._not_ready(error)
        message = f"The audit log cannot be written: {self._reason}. Nothing was answered; try again later."
        return AuditUnavailable(message, stream=self.stream)

    def _now_us(self) -> int:
        return int(self._clock.now().timestamp() * 1_000_000)
