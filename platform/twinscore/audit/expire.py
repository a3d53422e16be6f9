"""Removes whole days of compacted rows that are older than they have to be kept, and leaves a signed tombstone.

    1. look at each old day: is every file of it named by the signed head of its segment, and unchanged
    2. write the day's tombstone: temporary, sync, rename
    3. remove its files, then its folder

Whoever is killed at any point leaves a log that can be proved, and that the next call finishes. Segments, and heads of
segments, stay: the chain is held against them. A day of which a reason says that it is needed stays whole.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import structlog

from twinscore.audit.disk import Disk, write_file
from twinscore.audit.head import Head, decode_head, signed, signed_by
from twinscore.audit.places import LOCK, REMOVED, STREAMS, day_folder, days, file_name, parse_part
from twinscore.audit.tombstone import RemovedPart, Tombstone, encode_tombstone, read_tombstones, tombstone_path
from twinscore.audit.window import Piece
from twinscore.clock import SystemClock
from twinscore.errors import AuditDamaged, StoreConflict, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from twinscore.clock import Clock

__all__ = ["Expired", "OldDay", "Reason", "expire_model"]

_log = structlog.get_logger("twinscore.audit")


class Reason(NamedTuple):
    """Why days may not be removed, the first and the last of them included; open where None."""

    first: date | None
    last: date | None
    why: str


@dataclass(frozen=True, slots=True)
class OldDay:
    """A day that is older than it has to be kept."""

    day: str
    files: int
    rows: int
    size_bytes: int
    kept: tuple[str, ...]
    """Why it stays; empty when it is removed."""


@dataclass(frozen=True, slots=True)
class Expired:
    """What a removal did, or would do."""

    before: str
    """Days before this one are old."""
    days: tuple[OldDay, ...]

    @property
    def removed(self) -> tuple[OldDay, ...]:
        """The days that nothing kept."""
        return tuple([day for day in self.days if not day.kept])


def expire_model(
    folder: Path,
    key: bytes,
    *,
    keep: timedelta,
    by: str,
    why: str,
    reasons: Sequence[Reason] = (),
    unread: Collection[Piece] = (),
    dry_run: bool = False,
    clock: Clock | None = None,
    disk: Disk | None = None,
) -> Expired:
    """Remove the days of a model's audit log that ended longer ago than `keep`; calling it again finishes.

    Args:
        folder: of the model's audit log.
        key: signs tombstones, and signed the heads.
        keep: counted from the end of a day, in UTC.
        by, why: what the tombstones say.
        reasons: days that are needed.
        unread: pieces of the log that somebody has yet to read.
        dry_run: only say what would be done.

    Raises:
        StoreConflict: the log is being compacted.
        StoreUnavailable: the disk fails or is full; what is removed has its tombstone.
        AuditDamaged: a tombstone of before cannot be read.
    """
    disk = disk or Disk()
    now = (clock or SystemClock()).now().astimezone(UTC)
    before = (now - keep).date()
    work = _Work(folder, key, disk, tuple(reasons), frozenset(unread))
    old = [day for day in days(folder) if day < before]
    if not old:
        return Expired(before.isoformat(), ())
    try:
        lock = disk.lock(folder / STREAMS / LOCK)
    except BlockingIOError as error:
        message = f"The audit log {folder} is being compacted, or days of it removed; wait for it."
        raise StoreConflict(message, folder=str(folder)) from error
    done: list[OldDay] = []
    try:
        for day in old:
            found, parts = work.look(day)
            done.append(found)
            if not found.kept and not dry_run:
                work.remove(day, parts, Tombstone(day.isoformat(), int(now.timestamp() * 1e6), by, why, ()))
                _log.info("audit_removed", day=found.day, rows=found.rows, files=found.files, by=by, why=why)
    except OSError as error:
        message = f"Days of the audit log {folder} cannot be removed: {error.strerror or error}. Try again."
        raise StoreUnavailable(message, folder=str(folder)) from error
    finally:
        disk.close(lock)
    return Expired(before.isoformat(), tuple(done))


@dataclass(frozen=True, slots=True)
class _Work:
    folder: Path
    key: bytes
    disk: Disk
    reasons: tuple[Reason, ...]
    unread: frozenset[Piece]

    def look(self, day: date) -> tuple[OldDay, list[RemovedPart]]:
        """Return what there is of a day, and its files when it may go."""
        place = self.folder / day_folder(day)
        kept = [one.why for one in self.reasons
                if (one.first is None or one.first <= day) and (one.last is None or day <= one.last)]  # fmt: skip
        parts: list[RemovedPart] = []
        size = 0
        for name in self.disk.names(place):
            if name.startswith("."):
                continue  # what a killed compaction was writing; the next one removes it
            size += (place / name).stat().st_size
            try:
                part = self._part(f"{place.name}/{name}")
            except AuditDamaged as damaged:
                kept.append(damaged.message)
                continue
            parts.append(part)
            if Piece(part.stream, part.segment) in self.unread:
                kept.append(f"the monitor has not read segment {part.segment} of stream {part.stream} yet")
        rows = sum([part.rows for part in parts])
        return OldDay(day.isoformat(), len(parts), rows, size, tuple(dict.fromkeys(kept))), parts

    def remove(self, day: date, parts: Sequence[RemovedPart], tombstone: Tombstone) -> None:
        """Write the tombstone of what has none yet, then remove the files, then the folder."""
        stones = read_tombstones(self.folder, disk=self.disk)
        known = {part for stone in stones.values() if signed_by(stone, self.key) for part in stone.parts}
        fresh = tuple([part for part in parts if part not in known])
        if fresh:
            self.disk.prepare(self.folder / REMOVED)
            path = tombstone_path(self.folder, day.isoformat(), disk=self.disk)
            whole = Tombstone(tombstone.day, tombstone.removed_us, tombstone.by, tombstone.why, fresh)
            write_file(self.disk, path, encode_tombstone(signed(whole, self.key)))
            self.disk.sync_folder(self.folder)
        place = self.folder / day_folder(day)
        for part in parts:
            self.disk.unlink(self.folder / part.name)
        self.disk.sync_folder(place)
        self.disk.remove_folder(place)

    def _part(self, name: str) -> RemovedPart:
        """Return a file as its segment's head names it.

        Raises:
            AuditDamaged: no signed head names it, or it is another file than compaction wrote.
        """
        path = self.folder / name
        parsed = parse_part(path.name)
        if parsed is None:
            message = f"{path} is no file of compaction; look what it is."
            raise AuditDamaged(message, path=str(path))
        head = self._head(self.folder / STREAMS / parsed.stream / file_name(parsed.segment, "head"))
        listed = None if head is None else next((part for part in head.parts or () if part.name == name), None)
        if listed is None:
            message = f"{path} is not compacted to its end; compact the log."
            raise AuditDamaged(message, path=str(path))
        data = self.disk.read(path)
        if hashlib.sha256(data).hexdigest() != listed.sha256:
            message = f"{path} is not the file that compaction wrote; verify the log."
            raise AuditDamaged(message, path=str(path))
        first, last = _span(path)
        return RemovedPart(name, parsed.stream, parsed.segment, listed.rows, listed.sha256, first, last)

    def _head(self, path: Path) -> Head | None:
        try:
            head = decode_head(self.disk.read(path), str(path))
        except FileNotFoundError:
            return None
        if not signed_by(head, self.key):
            message = f"{path} was not signed with this key; verify the log."
            raise AuditDamaged(message, path=str(path))
        return head


def _span(path: Path) -> tuple[int, int]:
    """Return when the first and the last row of a file were received, in microseconds since 1970."""
    with pq.ParquetFile(path) as file:
        span = pc.min_max(file.read(columns=["received_at"]).column("received_at").cast(pa.int64()))
    return span["min"].as_py(), span["max"].as_py()
