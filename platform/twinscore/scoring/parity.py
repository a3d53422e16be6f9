"""Two scored tables held against each other, bit by bit; knows nothing of where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.errors import SchemaMismatch, near
from twinscore.scoring.table import SCORE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["ParityReport", "StoredScores", "compare"]


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What a comparison found.

    Args:
        rows: rows compared.
        differing_rows: rows with any difference, rows that one side lacks included.
        differing_bits: bits that differ in numbers; a differing text, list or null counts as one.
        first: the first differing row, its column and both values; None when there is none.
    """

    rows: int
    differing_rows: int
    differing_bits: int
    first: str | None


@dataclass(frozen=True, slots=True)
class StoredScores:
    """Rows of a committed run as it read them, beside what it wrote for them."""

    model: str
    version: str
    run_id: str
    bundle_digest: str
    table: pa.Table
    """Rows that each can be judged alone, refused ones included: (n_rows, contract.columns)."""
    scores: pa.Table
    """(n_accepted, SCORE_SCHEMA)."""
    accepted: tuple[int, ...]
    """Positions in `table` of the rows with scores, in their order."""
    n_by_key: int
    """Rows that the run refused for their key alone, missing or repeated in its input; not in `table`."""


def compare(batch: pa.Table, online: pa.Table, *, key: Sequence[str]) -> ParityReport:
    """Compare two tables of SCORE_SCHEMA columns that share a key; the order of rows does not matter.

    Raises:
        SchemaMismatch: a table lacks a column, or a key is there twice.
    """
    wanted = [*key, *SCORE_SCHEMA.names]
    for side, table in (("batch", batch), ("online", online)):
        for name in wanted:
            if name not in table.column_names:
                message = f"The {side} table has no column {name!r}. {near(name, table.column_names)}"
                raise SchemaMismatch(message, side=side, column=name)
    left, right, alone = _align(batch.select(wanted), online.select(wanted), key)
    differs = np.zeros(left.num_rows, dtype=bool)
    bits = 0
    columns: dict[str, npt.NDArray[np.bool_]] = {}
    for field in SCORE_SCHEMA:
        n_bits = _differing_bits(left[field.name], right[field.name], field.type)
        columns[field.name] = n_bits > 0
        differs |= n_bits > 0
        bits += int(n_bits.sum())
    first = None
    if differs.any():
        row = int(np.argmax(differs))
        name = next(name for name, where in columns.items() if where[row])
        keys = ", ".join(f"{part}={left[part][row].as_py()!r}" for part in key)
        first = f"{keys}: {name} is {left[name][row].as_py()!r} in batch, {right[name][row].as_py()!r} online"
    elif alone.num_rows:
        first = f"{', '.join(f'{part}={alone[part][0].as_py()!r}' for part in key)}: the row is on one side only"
    return ParityReport(
        rows=left.num_rows + alone.num_rows,
        differing_rows=int(differs.sum()) + alone.num_rows,
        differing_bits=bits + alone.num_rows,
        first=first,
    )


def _align(batch: pa.Table, online: pa.Table, key: Sequence[str]) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Return the shared rows of both tables in one order, and the keys that only one side has."""
    places = []
    for side, table in (("batch", batch), ("online", online)):
        keys = table.select(key)
        if keys.group_by(list(key)).aggregate([]).num_rows != table.num_rows:
            message = f"The {side} table has a key ({', '.join(key)}) more than once; rows cannot be matched."
            raise SchemaMismatch(message, side=side, key=list(key))
        places.append(keys.append_column(f"__{side}", pa.array(np.arange(table.num_rows))))
    joined = places[0].join(places[1], keys=list(key), join_type="full outer").sort_by("__batch")
    one_sided = pc.or_(pc.is_null(joined["__batch"]), pc.is_null(joined["__online"]))
    both = joined.filter(pc.invert(one_sided))
    return batch.take(both["__batch"]), online.take(both["__online"]), joined.filter(one_sided).select(key)


def _differing_bits(left: pa.ChunkedArray, right: pa.ChunkedArray, arrow: pa.DataType) -> npt.NDArray[np.int64]:
    """Return how many bits differ per row, (n_rows,)."""
    if pa.types.is_floating(arrow):
        patterns = [np.ascontiguousarray(side.fill_null(0.0).to_numpy(), dtype=np.float64).view(np.uint64)
                    for side in (left, right)]  # fmt: skip
        bits = np.asarray(np.bitwise_count(patterns[0] ^ patterns[1]), dtype=np.int64)
        nulls = [side.is_null().to_numpy() for side in (left, right)]
        return np.asarray(np.where(nulls[0] | nulls[1], nulls[0] != nulls[1], bits), dtype=np.int64)
    if pa.types.is_list(arrow):
        left, right = (_joined(side) for side in (left, right))
    same = pc.fill_null(pc.equal(left, right), False)
    both_null = pc.and_(pc.is_null(left), pc.is_null(right))
    return np.asarray(pc.invert(pc.or_(same, both_null)).to_numpy(), dtype=np.int64)


def _joined(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return lists of text as one text each, which Arrow can compare; the separator cannot be typed."""
    return pc.binary_join(lists, "\x1f")
