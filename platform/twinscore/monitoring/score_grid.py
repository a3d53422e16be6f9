"""Counts of scores in a fixed grid of log-odds, fine enough for what depends on their order; pure.

8,192 cells of 1/256 log-odds between -16 and 16 (probabilities 1.1e-7 and its counterpart; what is beyond is in the
outermost cells): fine where probabilities are small, which is where a grid of equal probabilities is coarse. A cell
holds scores that differ by 0.1 % of the probability at most, and by 0.001 in absolute terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from twinscore.errors import SchemaMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["CELLS", "ScoreGrid", "cell_logits", "cells_of"]

CELLS = 8_192
_END = 16.0
_PER_UNIT = CELLS / (2.0 * _END)


def cells_of(score: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the cell of each probability, (n_rows,), which must be numbers.

    >>> cells_of(np.array([0.0, 0.5, 1.0])).tolist()
    [0, 4096, 8191]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.log(np.clip(score, 0.0, 1.0) / (1.0 - np.clip(score, 0.0, 1.0)))
    return np.clip(np.floor((np.clip(odds, -_END, _END) + _END) * _PER_UNIT), 0, CELLS - 1).astype(np.int64)


def cell_logits() -> NDArray[np.float64]:
    """Return the log-odds in the middle of each cell, (CELLS,)."""
    middles: NDArray[np.float64] = (np.arange(CELLS, dtype=np.float64) + 0.5) / _PER_UNIT - _END
    return middles


@dataclass(frozen=True, slots=True, eq=False)
class ScoreGrid:
    """Rows of two kinds in the cells that have any.

    Args:
        places: ascending, (n_used,).
        counts: rows of kind 0 and of kind 1, (2, n_used).
    """

    places: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, score: NDArray[np.float64], kind: NDArray[np.bool_]) -> Self:
        """Count probabilities, (n_rows,) without NaN, of rows that are of kind 1 where `kind` says so."""
        return cls._kept(np.bincount(cells_of(score) + CELLS * kind, minlength=2 * CELLS).reshape(2, CELLS))

    @classmethod
    def empty(cls) -> Self:
        """Return a grid that has counted nothing."""
        return cls._kept(np.zeros((2, CELLS), np.int64))

    @property
    def dense(self) -> NDArray[np.int64]:
        """Counts of every cell, (2, CELLS)."""
        found = np.zeros((2, CELLS), np.int64)
        found[:, self.places] = self.counts
        return found

    def merge(self, other: ScoreGrid) -> ScoreGrid:
        """Return the counts of both parts."""
        return ScoreGrid._kept(self.dense + other.dense)

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {"places": self.places.tolist(), "counts": self.counts.tolist()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `to_json` was made from.

        Raises:
            SchemaMismatch: it is something else.
        """
        places = np.array(plain["places"], np.int64)
        counts = np.array(plain["counts"], np.int64).reshape(2, -1)
        if counts.shape != (2, len(places)) or (len(places) and not 0 <= places.min() <= places.max() < CELLS):
            message = f"These are not counts in {CELLS:,} cells of the score: they are of another release."
            raise SchemaMismatch(message, cells=CELLS)
        return cls(places, counts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScoreGrid):
            return NotImplemented
        return np.array_equal(self.places, other.places) and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]  # arrays have none

    @classmethod
    def _kept(cls, dense: NDArray[np.int64]) -> Self:
        places = np.flatnonzero(dense.any(axis=0))
        return cls(places, dense[:, places])
