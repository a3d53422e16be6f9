"""Sealed segments become Parquet, one typed row per scored row; a segment goes only when its rows are there for good.

    1. read the segment and hold it against its chain; a damaged one is set aside and stays
    2. write its rows, by day and contract: temporary, sync, rename
    3. write its head, signed, with the digests of those files
    4. remove the segment

Whoever is killed at any point leaves a log that the next compaction finishes: files without a head are written again
with the same rows, a segment with a head is only removed. Readers of segments pass over those with a head.

It runs in one process, under a lock of the model's log: which row of a repeated request is kept must be decided once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from twinscore.audit.contracts import contract_for
from twinscore.audit.disk import Disk, write_file
from twinscore.audit.earlier import EarlierRows
from twinscore.audit.head import Head, Part, encode_head, signed
from twinscore.audit.places import LOCK, RESERVE, STREAMS, file_name, numbers, part_name, streams
from twinscore.audit.reader import entries_of, read_segment
from twinscore.audit.repeats import settle_repeats
from twinscore.audit.resume import seal_copy
from twinscore.audit.rows import table_of
from twinscore.clock import SystemClock
from twinscore.errors import AuditDamaged, StoreConflict, StoreUnavailable, TwinscoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from twinscore.audit.reader import Entry
    from twinscore.audit.segment import Segment
    from twinscore.clock import Clock
    from twinscore.contract.model import Contract

__all__ = ["Compacted", "compact_model"]

_GROUP_ROWS = 65_536
_log = structlog.get_logger("twinscore.audit")


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did."""

    segments: int = 0
    rows: int = 0
    """Written."""
    collapsed: int = 0
    """Left out, because the same row was there."""
    conflicts: tuple[str, ...] = ()
    """Ids of requests that have two different answers; look at each."""
    damaged: tuple[str, ...] = ()
    """Segments that were set aside now."""
    waiting: tuple[str, ...] = ()
    """Why a segment could not be compacted yet; it stays."""

    def plus(self, other: Compacted) -> Compacted:
        """Return both together."""
        return Compacted(
            self.segments + other.segments,
            self.rows + other.rows,
            self.collapsed + other.collapsed,
            self.conflicts + other.conflicts,
            self.damaged + other.damaged,
            self.waiting + other.waiting,
        )


def compact_model(
    folder: Path,
    key: bytes,
    contract_of: Callable[[str], Contract],
    *,
    repeats_within_s: float = 3600.0,
    clock: Clock | None = None,
    disk: Disk | None = None,
) -> Compacted:
    """Compact every sealed segment of a model's audit log; calling it again goes on where it stopped.

    Args:
        folder: of the model's audit log.
        key: signs the heads.
        contract_of: the contract of a bundle, by the bundle's digest, or one by its own.
        repeats_within_s: how far apart a request and its repeat are looked for.

    Raises:
        StoreConflict: another compaction of this log is running.
        StoreUnavailable: the disk fails or is full; nothing is lost.
    """
    disk = disk or Disk()
    work = _Work(folder, key, contract_of, repeats_within_s, clock or SystemClock(), disk)
    if not streams(folder):
        return Compacted()
    try:
        lock = disk.lock(folder / STREAMS / LOCK)
    except BlockingIOError as error:
        message = f"Another compaction of {folder} is running; wait for it."
        raise StoreConflict(message, folder=str(folder)) from error
    done = Compacted()
    try:
        for stream in streams(folder):
            done = done.plus(work.stream(stream))
    except OSError as error:
        message = f"The audit log {folder} cannot be compacted: {error.strerror or error}. Nothing was lost."
        raise StoreUnavailable(message, folder=str(folder)) from error
    finally:
        disk.close(lock)
    return done


@dataclass(frozen=True, slots=True)
class _Work:
    folder: Path
    key: bytes
    contract_of: Callable[[str], Contract]
    repeats_within_s: float
    clock: Clock
    disk: Disk

    def stream(self, stream: Path) -> Compacted:
        """Compact what is sealed of one stream."""
        self._seal_abandoned(stream)
        names = self.disk.names(stream)
        heads, aside = set(numbers(names, "head")), set(numbers(names, "damaged"))
        segments = numbers(names, "segment")
        done = Compacted()
        for number in segments:
            path = stream / file_name(number, "segment")
            if number in heads:
                self.disk.unlink(path)  # the last compaction was killed before it came to this
            elif number not in aside:
                done = done.plus(self._segment(stream, number, last=number == segments[-1]))
        return done

    def _segment(self, stream: Path, number: int, *, last: bool) -> Compacted:
        path = stream / file_name(number, "segment")
        try:
            segment = read_segment(stream, number, disk=self.disk)
            if last and segment.head is None:
                return Compacted()  # its writer is at work
            entries = entries_of(segment, stream)
        except AuditDamaged as damaged:
            facts = {"message": damaged.message, **damaged.fields}
            write_file(self.disk, stream / file_name(number, "damaged"), json.dumps(facts, default=str).encode())
            _log.error("audit_damaged", **facts)
            return Compacted(damaged=(damaged.message,))
        try:
            parts, done = self._write(stream, number, self._tables(entries))
        except OSError:
            raise  # of the disk, so of every segment
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one segment, the others are compacted
            reason = error.message if isinstance(error, TwinscoreError) else f"{type(error).__name__}: {error}"
            self._remove_parts(stream, number, ())
            _log.error("audit_waiting", path=str(path), reason=reason)
            return Compacted(waiting=(f"{path}: {reason}",))
        head = _compacted_head(segment, parts, done, self._now_us())
        write_file(self.disk, stream / file_name(number, "head"), encode_head(signed(head, self.key)))
        self.disk.unlink(path)
        for request_id in done.conflicts:
            _log.error("audit_conflict", request_id=request_id, stream=stream.name, segment=number)
        return done

    def _tables(self, entries: list[Entry]) -> dict[tuple[str, str], pa.Table]:
        """Return the rows by day and contract digest."""
        groups: dict[tuple[str, str], list[Entry]] = {}
        for entry in entries:
            day = datetime.fromtimestamp(entry.record.received_us / 1e6, UTC).date().isoformat()
            groups.setdefault((day, entry.record.contract_digest), []).append(entry)
        return {
            group: table_of(members, contract_for(group[1], members, self.contract_of))
            for group, members in groups.items()
        }

    def _write(
        self, stream: Path, number: int, tables: dict[tuple[str, str], pa.Table]
    ) -> tuple[list[Part], Compacted]:
        """Write the Parquet files of a segment; those of an attempt that was killed are replaced or removed."""
        parts: list[Part] = []
        done = Compacted(segments=1)
        earlier = EarlierRows(self.folder, self.disk, self.repeats_within_s)
        for (day, digest), table in sorted(tables.items(), key=lambda item: item[0]):
            settled = settle_repeats(table, earlier.of(table, digest))
            done = done.plus(Compacted(0, settled.table.num_rows, settled.collapsed, settled.conflicts))
            if not settled.table.num_rows:
                continue
            path = self.folder / f"date={day}" / part_name(stream.name, number, digest)
            data = _parquet(settled.table)
            self.disk.prepare(path.parent)
            write_file(self.disk, path, data)
            self.disk.sync_folder(self.folder)
            name = path.relative_to(self.folder).as_posix()
            parts.append(Part(name, settled.table.num_rows, hashlib.sha256(data).hexdigest()))
        self._remove_parts(stream, number, parts)
        return parts, done

    def _remove_parts(self, stream: Path, number: int, kept: Sequence[Part]) -> None:
        """Remove what an attempt that came to no end has written of a segment."""
        listed = {part.name for part in kept}
        for path in self.folder.glob(f"date=*/{part_name(stream.name, number, '*')}"):
            if path.relative_to(self.folder).as_posix() not in listed:
                self.disk.unlink(path)

    def _seal_abandoned(self, stream: Path) -> None:
        """Seal what a killed writer left, and give its reserve back; a writer that is at work is left alone."""
        try:
            lock = self.disk.lock(stream / LOCK)
        except BlockingIOError:
            return
        try:
            names = self.disk.names(stream)
            segments, heads = numbers(names, "segment"), numbers(names, "head")
            if segments and segments[-1] > max(heads, default=0):
                with contextlib.suppress(AuditDamaged):  # said when it is read
                    seal_copy(self.disk, stream / file_name(segments[-1], "segment"), self.key, self._now_us())
            self.disk.unlink(stream / RESERVE)
        finally:
            self.disk.close(lock)

    def _now_us(self) -> int:
        return int(self.clock.now().timestamp() * 1_000_000)


def _compacted_head(segment: Segment, parts: list[Part], done: Compacted, now_us: int) -> Head:
    """Return what stays of a segment: its place in the chain, and where its rows are."""
    header = segment.header
    head = segment.head or Head(
        header.stream,
        header.number,
        header.first_sequence,
        segment.records,
        header.previous_chain.hex(),
        segment.chain.hex(),
        header.created_us,
        now_us,
        cut_bytes=segment.torn_bytes,
    )
    return msgspec.structs.replace(
        head, parts=tuple(parts), collapsed=done.collapsed, conflicts=len(done.conflicts), signature=""
    )


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=_GROUP_ROWS, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data
