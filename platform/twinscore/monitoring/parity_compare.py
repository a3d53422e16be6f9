"""Rows as two paths scored them, held against each other bit by bit, verdicts included; knows not where they come from.

The places of rows are what pairs them: row i of one side is row i of the other. NaN equals NaN, whatever its payload;
-0.0 and 0.0 differ, in their one bit, and are no unit apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.scoring.table import SCORE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

__all__ = ["INPUT", "VERDICT", "Differences", "Side", "compare_sides", "differing_cells", "first_differing", "ulps"]

VERDICT = "verdict"
"""The column that says whether a row was scored or refused."""
INPUT = "input "
"""What a column of a row's input begins with, beside those of its scores."""
_WORSE = np.iinfo(np.int64).max
_TOP = np.uint64(1 << 63)


@dataclass(frozen=True, slots=True)
class Side:
    """What one path made of rows."""

    scores: pa.Table
    """(n_rows, SCORE_SCHEMA); a refused row is null throughout."""
    refused: NDArray[np.bool_]
    """(n_rows,)."""

    def take(self, places: NDArray[np.int64] | list[int]) -> Side:
        """Return some rows."""
        return Side(self.scores.take(pa.array(places, pa.int64())), self.refused[places])


@dataclass(frozen=True, slots=True)
class Differences:
    """Where two sides differ."""

    columns: Mapping[str, NDArray[np.bool_]]
    """The verdict, then every column of SCORE_SCHEMA, in that order: (n_rows,) each."""
    ulps: NDArray[np.int64]
    """Of the score, in units of the last place of float64; 0 where one side has none: (n_rows,)."""

    @property
    def rows(self) -> NDArray[np.bool_]:
        """Rows that differ anywhere: (n_rows,)."""
        return np.asarray(np.logical_or.reduce(list(self.columns.values())), dtype=bool)

    def first_column(self, row: int) -> str:
        """Return the first column in which a row differs; empty when it is the same."""
        return next((name for name, differs in self.columns.items() if differs[row]), "")


def compare_sides(left: Side, right: Side) -> Differences:
    """Compare rows that stand in the same order on both sides."""
    verdict = left.refused != right.refused
    columns = {VERDICT: verdict}
    for name in SCORE_SCHEMA.names:
        # What only one side scored differs in its verdict; that its columns differ as well says nothing more.
        columns[name] = differing_cells(left.scores.column(name), right.scores.column(name)) & ~verdict
    both = ~(left.refused | right.refused)
    numbers = [pc.fill_null(side.scores.column("score"), 0.0).to_numpy() for side in (left, right)]
    return Differences(columns, np.where(both, ulps(*numbers), 0))


def differing_cells(left: pa.ChunkedArray, right: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return which cells of two columns of one type differ: (n_rows,)."""
    kind = left.type
    nulls = [side.is_null().to_numpy() for side in (left, right)]
    if pa.types.is_floating(kind):
        bits = []
        for side in (left, right):
            values = np.ascontiguousarray(pc.fill_null(side, 0.0).to_numpy(), dtype=np.float64)
            bits.append(np.where(np.isnan(values), np.nan, values).view(np.uint64))
        same = bits[0] == bits[1]
    elif pa.types.is_list(kind):
        texts = [pc.binary_join(side, "\x1f") for side in (left, right)]
        # No text and the text of nothing are two lists.
        same = (
            pc.fill_null(pc.equal(*texts), False).to_numpy()
            & pc.fill_null(pc.equal(*(pc.list_value_length(side) for side in (left, right))), False).to_numpy()
        )
    else:
        same = pc.fill_null(pc.equal(left, right), False).to_numpy()
    return np.asarray(np.where(nulls[0] | nulls[1], nulls[0] != nulls[1], ~same), dtype=bool)


def first_differing(left: pa.Table, right: pa.Table, row: int) -> tuple[str, Any, Any] | None:
    """Return the first column of two tables of one schema in which a row differs, and both cells; None without one."""
    for name in left.column_names:
        cells = [side.column(name).slice(row, 1) for side in (left, right)]
        if differing_cells(*cells)[0]:
            return name, cells[0][0].as_py(), cells[1][0].as_py()
    return None


def ulps(left: ArrayLike, right: ArrayLike) -> NDArray[np.int64]:
    """Return how many float64 lie between two numbers, one of them counted: (n_rows,).

    NaN is no distance from NaN and the largest from any number; -0.0 and 0.0 are the same place.

    >>> ulps([1.0, 0.0, float("nan")], [1.0000000000000002, -0.0, float("nan")]).tolist()
    [1, 0, 0]
    """
    values = [np.ascontiguousarray(side, dtype=np.float64) for side in (left, right)]
    nans = [np.isnan(side) for side in values]
    places = [_place(side) for side in values]
    apart = np.maximum(*places) - np.minimum(*places)
    found = np.minimum(apart, np.uint64(_WORSE)).astype(np.int64)
    found[nans[0] | nans[1]] = _WORSE
    found[nans[0] & nans[1]] = 0
    return np.asarray(found, dtype=np.int64)


def _place(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return each number's place among all float64, both zeros at 2**63."""
    bits = values.view(np.uint64)
    size = bits & ~_TOP
    return np.asarray(np.where(bits >= _TOP, _TOP - size, _TOP + size), dtype=np.uint64)
