"""Rows that share a key: found by a first pass over the key columns, 64-bit hashes first, true values last; no Ray.

Every occurrence of a repeated key is a duplicate, and a key with a missing part is none, as Great Expectations'
`expect_column_values_to_be_unique` has it. Memory: 16 bytes per row, plus the true keys of the suspects.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.batch.reading import read_piece
from twinscore.contract.cells import Cells
from twinscore.contract.hashing import hash_rows
from twinscore.contract.model import Expectation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from twinscore.batch.plan import Shard
    from twinscore.batch.recipe import Recipe

__all__ = ["duplicate_rows", "key_rule"]


def key_rule(key: Sequence[str]) -> str:
    """Return the id of the rule that a repeated key breaks.

    >>> key_rule(["loan_id"])
    'expect_column_values_to_be_unique(loan_id)'
    """
    if len(key) == 1:
        return Expectation("expect_column_values_to_be_unique", {"column": key[0]}).id
    return Expectation("expect_compound_columns_to_be_unique", {"column_list": list(key)}).id


def duplicate_rows(
    shards: Sequence[Shard],
    key: pa.Schema,
    *,
    threads: int,
    recipe: Recipe | None = None,
    done: Callable[[int], None] | None = None,
) -> dict[int, NDArray[np.int64]]:
    """Return the positions within their shard of rows that share their key with another row, by shard number.

    Args:
        shards: the whole input.
        key: the key columns, in the types that they are compared in.
        threads: shards that are read at the same time.
        recipe: where columns come from and which rows stay; positions count the rows that stay.
        done: called with the number of rows of each shard that was read.
    """

    def hashed(shard: Shard) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        parts = [_hashes(table) for table in _key_tables(shard, key, recipe)]
        if done is not None:
            done(shard.rows)
        return np.concatenate([hashes for hashes, _ in parts]), np.concatenate([whole for _, whole in parts])

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(hashed, shards))
    ordered = np.sort(np.concatenate([hashes[whole] for hashes, whole in found]))
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    if not len(repeated):
        return {}
    suspects = {
        shard.number: np.flatnonzero(whole & np.isin(hashes, repeated))
        for shard, (hashes, whole) in zip(shards, found, strict=True)
    }
    del found
    return _confirmed(shards, key, recipe, {number: rows for number, rows in suspects.items() if len(rows)})


def _hashes(table: pa.Table) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return a hash per row over all columns, and which rows have no missing part: (n_rows,) each."""
    cells = [Cells(column.combine_chunks()) for column in table.columns]
    whole = np.ones(table.num_rows, bool)
    for cell in cells:
        if cell.missing is not None:
            whole &= ~cell.missing
    return hash_rows(cells), whole


def _confirmed(
    shards: Sequence[Shard], key: pa.Schema, recipe: Recipe | None, suspects: Mapping[int, NDArray[np.int64]]
) -> dict[int, NDArray[np.int64]]:
    """Compare the true keys of the suspects: two keys may share a hash."""
    tables = []
    for shard in shards:
        if shard.number in suspects:
            whole = pa.concat_tables(_key_tables(shard, key, recipe))
            tables.append(whole.take(pa.array(suspects[shard.number])))
    code = np.zeros(sum(table.num_rows for table in tables), np.int64)
    for column in pa.concat_tables(tables).combine_chunks().columns:
        # Adding zero makes -0.0 and 0.0 the one value that they are.
        array = pc.add(column, 0.0) if pa.types.is_floating(column.type) else column
        own = array.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        _, code = np.unique(code * (own.max() + 1) + own, return_inverse=True)
    twice = np.bincount(code)[code] > 1
    edges = np.cumsum([len(rows) for rows in suspects.values()])[:-1]
    kept = {number: rows[mask] for (number, rows), mask in zip(suspects.items(), np.split(twice, edges), strict=True)}
    return {number: rows for number, rows in kept.items() if len(rows)}


def _key_tables(shard: Shard, key: pa.Schema, recipe: Recipe | None) -> list[pa.Table]:
    return [rows.table for piece in shard.pieces for rows in read_piece(piece, key, recipe=recipe)]
