"""Every row and refusal of a piece of the log, a batch at a time and only the columns asked for; changes nothing.

A piece is looked at again when its state is another: while its writer is at work, and when compaction left rows out
that were there already. What it is read as, records or Parquet, says nothing new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinscore.audit.checks import checks_between
from twinscore.audit.contracts import contract_for
from twinscore.audit.disk import Disk
from twinscore.audit.head import decode_head
from twinscore.audit.places import STREAMS, file_name
from twinscore.audit.reader import entries_of, read_segment
from twinscore.audit.rows import table_of
from twinscore.audit.tombstone import is_removed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from twinscore.audit.reader import Entry
    from twinscore.audit.window import Piece
    from twinscore.contract.model import Contract

__all__ = ["PieceState", "is_whole", "piece_state", "read_watched"]

ColumnsOf = Callable[[Sequence[str], Sequence[str]], list[str]]
_BATCH_ROWS = 65_536
_FEW = ["role", "version", "bundle_digest", "contract_digest", "code", "source", "decision"]
"""Columns of few values: they are read as codes, which is several times as fast."""


class PieceState(NamedTuple):
    """What tells one content of a piece from another, without reading its rows."""

    token: str
    """Another whenever the piece may have other rows."""
    chain: str
    """Chain value of its last record; empty while nobody read it."""

    def same_as(self, counted: PieceState) -> bool:
        """Return whether rows that were counted before are those of now."""
        return self.token == counted.token or (bool(self.chain) and self.token == f"head {counted.chain} 0")


def piece_state(folder: Path, piece: Piece) -> PieceState | None:
    """Return the state of a piece of the log in `folder`, or None when it is gone.

    Raises:
        AuditDamaged: what compaction left of it is no head.
    """
    stream = folder / STREAMS / piece.stream
    for _ in range(2):  # the second time when compaction took it meanwhile
        head = stream / file_name(piece.segment, "head")
        if head.exists():
            found = decode_head(head.read_bytes(), str(head))
            return PieceState(f"head {found.chain} {found.collapsed}", found.chain)
        try:
            facts = (stream / file_name(piece.segment, "segment")).stat()
        except FileNotFoundError:
            continue
        return PieceState(f"segment {facts.st_size} {facts.st_mtime_ns}", "")
    return None


def is_whole(folder: Path, piece: Piece) -> bool:
    """Tell whether nothing of a piece of the log in `folder` was removed on purpose.

    Raises:
        AuditDamaged: what compaction left of it is no head.
    """
    head = folder / STREAMS / piece.stream / file_name(piece.segment, "head")
    try:
        parts = decode_head(head.read_bytes(), str(head)).parts or ()
    except FileNotFoundError:
        return True  # not compacted
    missing = [part.name for part in parts if not (folder / part.name).exists()]
    return not any(is_removed(folder, name) for name in missing)


def read_watched(
    folder: Path,
    piece: Piece,
    contract_of: Callable[[str], Contract],
    columns: ColumnsOf,
    *,
    disk: Disk | None = None,
) -> tuple[str, Iterator[pa.Table]]:
    """Return the chain value of a piece's last record, and its rows: tables of one contract each.

    The rows of one record stand together, and a request that was refused before its rows were read has one, whose `row`
    is null.

    Args:
        folder: of the model's audit log.
        contract_of: the contract of a bundle, by the bundle's digest, or one by its own.
        columns: picks from the columns that there are, told which bundles answered some of the rows. The request's id
            comes in any case where rows may be the platform's own checks, see `audit.checks`.

    Raises:
        AuditDamaged: the piece is damaged.
        BundleInvalid: no bundle at hand has the contract of some of its records.
        FileNotFoundError: it is gone.
    """
    disk = disk or Disk()
    stream = folder / STREAMS / piece.stream
    head = stream / file_name(piece.segment, "head")
    if not head.exists():
        try:
            segment = read_segment(stream, piece.segment, disk=disk)
        except FileNotFoundError:
            if not head.exists():
                raise
        else:
            return segment.chain.hex(), _records(entries_of(segment, stream), contract_of, columns)
    found = decode_head(disk.read(head), str(head))
    return found.chain, _parts([folder / part.name for part in found.parts or ()], columns)


def _parts(paths: Sequence[Path], columns: ColumnsOf) -> Iterator[pa.Table]:
    for path in paths:
        with pq.ParquetFile(path, read_dictionary=_FEW) as file:
            digests = pc.unique(file.read(columns=["bundle_digest"])["bundle_digest"]).to_pylist()
            names = columns(file.schema_arrow.names, digests)
            if "request_id" not in names and _may_hold_checks(file.metadata):
                names = [*names, "request_id"]
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=names):
                yield pa.Table.from_batches([batch]).select(names)


def _may_hold_checks(metadata: pq.FileMetaData) -> bool:
    """Tell from the footer alone, because ids are a large part of a file, and checks a rare one."""
    place = metadata.schema.names.index("request_id")
    for number in range(metadata.num_row_groups):
        known = metadata.row_group(number).column(place).statistics
        if known is None or not known.has_min_max or checks_between(known.min, known.max):
            return True
    return False


def _records(
    entries: Sequence[Entry], contract_of: Callable[[str], Contract], columns: ColumnsOf
) -> Iterator[pa.Table]:
    by_contract: dict[str, list[Entry]] = {}
    for entry in entries:
        by_contract.setdefault(entry.record.contract_digest, []).append(entry)
    for digest, members in by_contract.items():
        table = table_of(members, contract_for(digest, members, contract_of))
        digests = list(dict.fromkeys([entry.record.bundle_digest for entry in members]))
        yield table.select(list(dict.fromkeys([*columns(table.column_names, digests), "request_id"])))
