"""Side tables: columns that are joined to the rows by one key, held in memory once per process.

A lookup costs O(log n) per row: the table's keys are hashed and sorted once, and every hit is compared with the true
key. A row whose key is missing, or not in the table, gets nulls.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.batch.pages import read_pages
from twinscore.batch.recipe import Recipe, Side
from twinscore.contract.cells import Cells
from twinscore.contract.hashing import hash_rows
from twinscore.contract.model import type_of
from twinscore.errors import SchemaMismatch, SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["SideTable", "join", "load_side", "side_table"]

_ROWS = 262_144
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class SideTable:
    """A side table in memory, and the way from a key to its row."""

    key: pa.Array
    columns: pa.Table
    """(n_rows, joined columns), called as in the rows."""
    hashes: NDArray[np.uint64]
    """Of the keys, in ascending order: (n_rows,)."""
    order: NDArray[np.int64]
    """Row of each of them."""

    def taken(self, keys: pa.ChunkedArray) -> pa.Table:
        """Return the row of each key, in the order of `keys`; nulls where there is none: (n_keys, joined columns)."""
        if not len(self.hashes):
            return self.columns.take(pa.nulls(len(keys), pa.int64()))
        wanted = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
        at = np.searchsorted(self.hashes, hash_rows([Cells(wanted)])) % len(self.hashes)
        rows = self.order[at]
        same = pc.fill_null(pc.equal(self.key.take(pa.array(rows)), wanted), False)
        return self.columns.take(pa.array(rows, mask=~same.to_numpy(zero_copy_only=False)))


def join(table: pa.Table, sides: Sequence[Side], wanted: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    """Return the columns of a table and those wanted ones that side tables add to it, by name."""
    columns = dict(zip(table.column_names, table.columns, strict=True))
    for side in sides:
        names = [name for name in side.names if name in wanted]
        if names:
            # The table holds the key: what the joins need is read along with what is wanted.
            found = side_table(side).taken(table.column(side.on))
            columns.update({name: found.column(name) for name in names})
    return columns


def side_table(side: Side) -> SideTable:
    """Return a side table, read when this process asks for the first time."""
    with _LOCK:
        return _kept(side)


@lru_cache(maxsize=8)
def _kept(side: Side) -> SideTable:
    return load_side(side)


def load_side(side: Side) -> SideTable:
    """Read a side table into memory.

    Raises:
        SettingsInvalid: it is larger than the spec allows.
        SchemaMismatch: a key is there twice; it is named.
        FileUnreadable, StoreConflict, StoreUnavailable: a file cannot be read, or changed since the snapshot.
    """
    schema = pa.schema(
        [pa.field(side.on, type_of(side.key_type)), *(pa.field(name, type_of(kind)) for name, _, kind in side.columns)]
    )
    recipe = Recipe(place=side.place, columns={name: source for name, source, _ in side.columns})
    tables: list[pa.Table] = []
    size = 0
    for piece in side.pieces:
        for table in read_pages(piece, schema, recipe, rows=_ROWS):
            present = table.filter(table.column(side.on).is_valid())
            size += present.nbytes
            if size > side.max_bytes:
                message = (
                    f"The side table {side.shown} needs more than {side.max_bytes:,} bytes in memory, in every worker. "
                    "Take fewer columns of it, join it beforehand, or raise max_bytes of the join."
                )
                raise SettingsInvalid(message, path=side.shown, max_bytes=side.max_bytes)
            tables.append(present)
    whole = pa.concat_tables(tables) if tables else schema.empty_table()
    whole = whole.combine_chunks()
    key = whole.column(side.on).combine_chunks() if len(whole) else pa.array([], schema.field(side.on).type)
    hashes = hash_rows([Cells(key)]) if len(key) else np.zeros(0, np.uint64)
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    twice = np.flatnonzero(hashes[1:] == hashes[:-1])
    if len(twice):
        rows = np.unique(np.concatenate([order[twice], order[twice + 1]]))
        counts = pc.value_counts(key.take(pa.array(rows)))
        example = counts.filter(pc.greater(counts.field("counts"), 1)).to_pylist()
        if example:
            message = (
                f"The side table {side.shown} has {side.on} = {example[0]['values']!r} {example[0]['counts']} times: "
                "which row is meant cannot be told. Keep one row per key."
            )
            raise SchemaMismatch(message, path=side.shown, column=side.on, value=str(example[0]["values"]))
        message = (
            f"Two keys of the side table {side.shown} share a 64-bit hash: {key.take(pa.array(rows[:2])).to_pylist()}. "
            "Take one of the rows out."
        )
        raise SchemaMismatch(message, path=side.shown, column=side.on)
    return SideTable(key, whole.drop_columns([side.on]), hashes, order)
