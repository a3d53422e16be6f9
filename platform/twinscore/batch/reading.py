"""Read pieces as rows ready to be checked: conformed, filtered and joined; knows nothing of Ray or models."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from twinscore.batch.pages import read_pages
from twinscore.batch.recipe import Recipe
from twinscore.batch.sides import join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from twinscore.batch.plan import Piece

__all__ = ["BATCH_ROWS", "Rows", "read_piece"]

BATCH_ROWS = 65_536
"""Rows in memory at a time, per thread that reads."""


class Rows(NamedTuple):
    """Some rows of a piece."""

    table: pa.Table
    """(n_rows, wanted columns)."""
    numbers: NDArray[np.int64] | None
    """Row of the file, from 0, of each row: (n_rows,); None when no row of the piece is left out."""
    read: int
    """Rows read for it; those that the filter left out are the difference to n_rows."""


def read_piece(
    piece: Piece,
    wanted: pa.Schema,
    *,
    recipe: Recipe | None = None,
    rows: int = BATCH_ROWS,
    seen_columns: Callable[[tuple[str, ...]], None] | None = None,
) -> Iterator[Rows]:
    """Yield the wanted columns of a piece, cast without loss: tables of at most `rows` rows, in order.

    Args:
        recipe: where columns come from and which rows stay; None reads the file's columns and all rows.
        seen_columns: called once with the names of all columns of the piece.

    Raises:
        FileUnreadable: a page is corrupt; file and row groups are named.
        StoreConflict: the file is not the one that the snapshot saw.
        SchemaMismatch: a value does not survive the cast to the wanted type.
        StoreUnavailable: the store does not answer.
    """
    recipe = recipe or Recipe()
    row = piece.first_row
    schema = recipe.read_schema(wanted)
    for table in read_pages(piece, schema, recipe, rows=rows, seen_columns=seen_columns):
        read = table.num_rows
        numbers = None
        if recipe.filter is not None:
            mask = recipe.filter.mask(table)
            numbers = row + np.flatnonzero(mask.to_numpy())
            table = table.filter(mask)  # noqa: PLW2901 - the rows that stay take its place
        if schema.names != wanted.names:
            columns = join(table, recipe.sides, wanted.names)
            table = pa.table([columns[name] for name in wanted.names], schema=wanted)  # noqa: PLW2901
        yield Rows(table, numbers, read)
        row += read
