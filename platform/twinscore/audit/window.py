"""The rows of a window of time, compacted or not, in pieces that can be read apart; changes nothing.

A piece is one segment of one stream, whatever became of it: its records when it is there, the Parquet files that its
head names when compaction took it, even while the window is being read. So no row is lost and none is read twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinscore.audit.contracts import contract_for
from twinscore.audit.disk import Disk
from twinscore.audit.head import decode_head
from twinscore.audit.places import STREAMS, file_name, numbers, streams
from twinscore.audit.reader import entries_of, read_segment
from twinscore.audit.rows import table_of
from twinscore.audit.tombstone import is_removed
from twinscore.errors import AuditDamaged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from twinscore.audit.reader import Entry
    from twinscore.contract.model import Contract

__all__ = ["Piece", "Window", "pieces_of", "read_piece"]

_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class Piece(NamedTuple):
    """One segment of one stream."""

    stream: str
    segment: int


class Window(NamedTuple):
    """From an instant on, up to another; open where None."""

    since: datetime | None = None
    until: datetime | None = None

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """First instant inside, and first one after."""
        return self.since or _FIRST, self.until or _LAST

    def later(self, seconds: float) -> Window:
        """Return the window that ends so much later."""
        return self if self.until is None else Window(self.since, self.until + timedelta(seconds=seconds))


def pieces_of(folder: Path, *, disk: Disk | None = None) -> list[Piece]:
    """Return every piece of a model's audit log, stream by stream."""
    disk = disk or Disk()
    found: list[Piece] = []
    for stream in streams(folder):
        names = disk.names(stream)
        known = sorted({*numbers(names, "segment"), *numbers(names, "head")})
        found += [Piece(stream.name, number) for number in known]
    return found


def read_piece(
    folder: Path,
    piece: Piece,
    contract_of: Callable[[str], Contract],
    *,
    window: Window,
    roles: Sequence[str],
    on_damage: Callable[[AuditDamaged], None] | None = None,
    disk: Disk | None = None,
) -> list[pa.Table]:
    """Return the rows of a piece that a version was asked for, a table for each contract: (n_rows, log_schema).

    Rows that were removed on purpose are left out.

    Args:
        folder: of the model's audit log.
        contract_of: the contract of a bundle, by the bundle's digest, or one by its own.
        window: of `received_at`.
        roles: whose rows.
        on_damage: is told of a segment that cannot be read; None raises.

    Raises:
        BundleInvalid: no bundle at hand has the contract of some of the records.
    """
    disk = disk or Disk()
    stream = folder / STREAMS / piece.stream
    head = stream / file_name(piece.segment, "head")
    for _ in range(2):  # the second time when compaction took it meanwhile
        if head.exists():
            return _compacted(folder, head, window, roles, disk)
        try:
            entries = entries_of(read_segment(stream, piece.segment, disk=disk), stream)
        except FileNotFoundError:
            continue
        except AuditDamaged as damaged:
            if on_damage is None:
                raise
            on_damage(damaged)
            return []
        return _uncompacted(entries, contract_of, window, roles)
    return []


def _compacted(folder: Path, head: Path, window: Window, roles: Sequence[str], disk: Disk) -> list[pa.Table]:
    first, end = window.bounds
    found: list[pa.Table] = []
    for part in decode_head(disk.read(head), str(head)).parts or ():
        day = datetime.fromisoformat(f"{part.name.partition('/')[0].removeprefix('date=')}T00:00:00+00:00")
        if day + timedelta(days=1) <= first or day >= end:
            continue
        try:
            table = pq.ParquetFile(folder / part.name).read()
        except FileNotFoundError:
            if is_removed(folder, part.name, disk=disk):
                continue
            raise
        kept = table.filter(
            (pc.field("received_at") >= first) & (pc.field("received_at") < end)
            & pc.field("role").isin(list(roles)) & (pc.field("contract_digest") != "") & pc.field("row").is_valid()
        )  # fmt: skip
        if kept.num_rows:
            found.append(kept)
    return found


def _uncompacted(
    entries: Sequence[Entry], contract_of: Callable[[str], Contract], window: Window, roles: Sequence[str]
) -> list[pa.Table]:
    first, end = (int(instant.timestamp() * 1e6) for instant in window.bounds)
    by_contract: dict[str, list[Entry]] = {}
    for entry in entries:
        record = entry.record
        if record.role in roles and record.contract_digest and first <= record.received_us < end:
            by_contract.setdefault(record.contract_digest, []).append(entry)
    tables = [table_of(members, contract_for(digest, members, contract_of)) for digest, members in by_contract.items()]
    return [table.filter(pc.field("row").is_valid()) for table in tables]
