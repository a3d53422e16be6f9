"""Rows that share a key: each shard leaves the sorted hashes of its keys, the true values decide last; knows no Ray.

Every occurrence of a repeated key is a duplicate, and a key with a missing part is none, as Great Expectations'
`expect_column_values_to_be_unique` has it. 8 bytes per row on disk; in memory, a slice of the hashes' range at a time,
whatever the size of the input, plus the true keys of the suspects.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from twinscore.batch.checkpoint import KEYS, write_whole
from twinscore.batch.parts import PartFile
from twinscore.batch.reading import read_piece
from twinscore.contract.model import Expectation
from twinscore.contract.row_key import key_codes, key_hashes
from twinscore.errors import FileUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from twinscore.batch.plan import Shard
    from twinscore.batch.recipe import Recipe

__all__ = ["key_rule", "repeated_rows", "save_hashes"]

_SLICE = 1 << 22
"""Hashes in memory at a time: 32 MiB, and as much again while they are sorted."""


def key_rule(key: Sequence[str]) -> str:
    """Return the id of the rule that a repeated key breaks.

    >>> key_rule(["loan_id"])
    'expect_column_values_to_be_unique(loan_id)'
    """
    if len(key) == 1:
        return Expectation("expect_column_values_to_be_unique", {"column": key[0]}).id
    return Expectation("expect_compound_columns_to_be_unique", {"column_list": list(key)}).id


def save_hashes(folder: Path, shard: int, hashes: NDArray[np.uint64]) -> PartFile:
    """Keep the hashes of a shard's keys, sorted, and say in which file.

    Raises:
        StoreUnavailable: the folder cannot be written.
    """
    buffer = io.BytesIO()
    np.save(buffer, np.sort(hashes))
    content = buffer.getbuffer()
    path = _path(folder, shard)
    write_whole(path, content)
    name = path.relative_to(folder).as_posix()
    return PartFile(name, len(hashes), content.nbytes, hashlib.sha256(content).hexdigest())


def repeated_rows(
    folder: Path, shards: Sequence[Shard], key: pa.Schema, recipe: Recipe | None = None
) -> dict[int, NDArray[np.int64]]:
    """Return the positions within their shard of rows that share their key with another row, by shard number.

    Args:
        folder: where `save_hashes` kept every shard's.
        shards: the whole input.
        key: the key columns, in the types that they are compared in.
        recipe: where columns come from and which rows stay; positions count the rows that stay.

    Raises:
        FileUnreadable: hashes are missing or cut short.
    """
    paths = {shard.number: _path(folder, shard.number) for shard in shards}
    suspects = np.concatenate([np.zeros(0, np.uint64), *_repeated(list(paths.values()))])
    if not len(suspects):
        return {}
    places: dict[int, NDArray[np.int64]] = {}
    for shard in shards:
        if np.isin(_load(paths[shard.number]), suspects).any():
            found, whole = key_hashes(_key_table(shard, key, recipe))
            places[shard.number] = np.flatnonzero(whole & np.isin(found, suspects))
    return _confirmed([shard for shard in shards if shard.number in places], key, recipe, places)


def _repeated(paths: Sequence[Path]) -> Iterator[NDArray[np.uint64]]:
    """Yield the hashes that occur twice, in order, a slice of their range at a time."""
    sizes = [len(_load(path)) for path in paths]
    slices = max(-(-sum(sizes) // _SLICE), 1)
    edges = np.array([number * (1 << 64) // slices for number in range(1, slices)], np.uint64)
    cuts = [[0, *np.searchsorted(_load(path), edges).tolist(), size] for path, size in zip(paths, sizes, strict=True)]
    for number in range(slices):
        # No file stays open: a large run has more of them than a process may hold.
        parts = [_load(path)[cut[number] : cut[number + 1]] for path, cut in zip(paths, cuts, strict=True)]
        mixed = np.concatenate(parts)
        mixed.sort()
        yield np.unique(mixed[1:][mixed[1:] == mixed[:-1]])


def _confirmed(
    shards: Sequence[Shard], key: pa.Schema, recipe: Recipe | None, suspects: Mapping[int, NDArray[np.int64]]
) -> dict[int, NDArray[np.int64]]:
    """Compare the true keys of the suspects: two keys may share a hash."""
    tables = [_key_table(shard, key, recipe).take(pa.array(suspects[shard.number])) for shard in shards]
    code = key_codes(pa.concat_tables(tables))
    twice = np.bincount(code)[code] > 1
    edges = np.cumsum([len(rows) for rows in suspects.values()])[:-1]
    kept = {number: rows[mask] for (number, rows), mask in zip(suspects.items(), np.split(twice, edges), strict=True)}
    return {number: rows for number, rows in kept.items() if len(rows)}


def _key_table(shard: Shard, key: pa.Schema, recipe: Recipe | None) -> pa.Table:
    return pa.concat_tables([rows.table for piece in shard.pieces for rows in read_piece(piece, key, recipe=recipe)])


def _path(folder: Path, shard: int) -> Path:
    return folder / KEYS / f"{shard:05d}.npy"


def _load(path: Path) -> NDArray[np.uint64]:
    try:
        found: NDArray[np.uint64] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        message = f"The hashes of the keys in {path} cannot be read: {error}. Run again with restart: true."
        raise FileUnreadable(message, path=str(path)) from error
    return found
