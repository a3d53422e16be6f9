"""Read row groups as conformed tables of bounded size; knows Parquet, nothing of Ray or models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from twinscore.batch.snapshot import read_footer
from twinscore.contract.conform import conform
from twinscore.contract.model import Column, Contract
from twinscore.errors import FileUnreadable, StoreConflict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twinscore.batch.plan import Piece

__all__ = ["BATCH_ROWS", "read_piece"]

BATCH_ROWS = 65_536
"""Rows in memory at a time, per thread that reads."""


def read_piece(
    piece: Piece,
    wanted: pa.Schema,
    *,
    rows: int = BATCH_ROWS,
    seen_columns: Callable[[tuple[str, ...]], None] | None = None,
) -> Iterator[pa.Table]:
    """Yield the wanted columns of a piece, cast without loss: tables of at most `rows` rows, in order.

    `seen_columns` is called once with the names of all columns in the file.

    Raises:
        FileUnreadable: a page is corrupt; file and row groups are named.
        StoreConflict: the file is not the one that the snapshot saw.
        SchemaMismatch: a value does not survive the cast to the wanted type.
    """
    path = Path(piece.path)
    size, digest, metadata = read_footer(path)
    if (size, digest) != (piece.size, piece.footer):
        message = (
            f"The file {piece.path} changed while the run was reading it. "
            "Run again when nobody writes to the input any more."
        )
        raise StoreConflict(message, path=piece.path)
    if seen_columns is not None:
        seen_columns(tuple(metadata.schema.to_arrow_schema().names))
    contract = Contract("input", 1, tuple(Column(field.name, field.type) for field in wanted), (), ())
    groups = list(range(piece.first_group, piece.end_group))
    seen = 0
    try:
        with pq.ParquetFile(path, metadata=metadata, page_checksum_verification=True) as file:
            for batch in file.iter_batches(rows, row_groups=groups, columns=wanted.names):
                yield conform(pa.Table.from_batches([batch]), contract, source=f"The file {piece.path}")
                seen += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        problem = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        message = (
            f"The file {piece.path} is corrupt in row groups {piece.first_group} to {piece.end_group - 1}, "
            f"after row {piece.first_row + seen}: {problem}. Nothing became visible."
        )
        raise FileUnreadable(message, path=piece.path, first_group=piece.first_group) from error
    if seen != piece.rows:
        message = f"The file {piece.path} has {seen} rows where its footer says {piece.rows}."
        raise FileUnreadable(message, path=piece.path, rows=seen)
