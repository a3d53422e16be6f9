"""Figures with confidence intervals over rows of which some belong together, as those of one entity do; pure.

Rows are divided into 40 groups such that all rows of a unit (an entity) are in one. What a figure would be without each
group says how sure it is: the delete-a-group jackknife (Shao and Tu, 1995, "The Jackknife and Bootstrap"; Kott, 2001,
"The Delete-a-Group Jackknife"), with Student's t for the groups there are.

A share has Wilson's interval (Wilson, 1927) with the number of rows divided by the design effect (Kish, 1965), which is
what the jackknife finds above the binomial variance, and never below 1. A quantile has Woodruff's (1952): the interval
of the share below it, read back from the rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["LEVEL", "METHODS", "Clusters", "Estimate", "quantile_of_t", "wilson"]

LEVEL = 0.95
"""Of every interval."""
METHODS = {
    "shares": "Wilson (1927), rows divided by the design effect (Kish, 1965)",
    "quantiles": "Woodruff (1952): the interval of the share below, read back",
    "means, differences, ratios, PSI": "delete-a-group jackknife (Kott, 2001), Student's t",
    "rank correlations": "the same jackknife of Fisher's z",
}
"""Which interval each kind of figure has."""
_GROUPS = 40
_SEED = 1_729_003  # not one that the rows themselves may have been drawn with
_FEWEST_GROUPS = 6
"""With fewer, there is no interval: a handful of groups says next to nothing of a variance."""
_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and the ends of its interval, which are None when the rows are too few for one."""

    value: float
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """Return it as JSON can hold it; what is not a finite number is null."""
        found = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if one is None or not math.isfinite(one) else float(one) for name, one in found.items()}


@dataclass(frozen=True, slots=True)
class Clusters:
    """Which rows belong together.

    Args:
        unit: number of the unit of each row, (n_rows,).
        group: number of its group, (n_rows,).
    """

    unit: NDArray[np.int64]
    group: NDArray[np.int64]

    @classmethod
    def of(cls, units: pa.Array | pa.ChunkedArray) -> Clusters:
        """Divide rows by their units, (n_rows,) of any type; the same units fall into the same groups every time."""
        coded = pc.dictionary_encode(units)
        coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
        n_units = len(coded.dictionary)
        # By the order of the units themselves: the order in which a log is read is not the same every time.
        rank = np.empty(n_units + 1, np.int64)
        rank[pc.sort_indices(coded.dictionary).to_numpy()] = np.arange(n_units)
        rank[n_units] = n_units
        unit = rank[coded.indices.fill_null(n_units).to_numpy(zero_copy_only=False)]
        shuffled = np.random.default_rng(_SEED).permutation(n_units + 1)
        return cls(unit, shuffled[unit] % _GROUPS)

    def taking(self, rows: NDArray[Any]) -> Clusters:
        """Return those of some rows, by mask or by number."""
        return Clusters(self.unit[rows], self.group[rows])

    def share(self, hits: NDArray[np.bool_]) -> Estimate:
        """Return the share of rows that are hits, (n_rows,)."""
        n_rows = len(hits)
        if n_rows == 0:
            return Estimate(math.nan)
        share = float(hits.mean())
        return Estimate(share, *wilson(share, self._effective(hits, share)))

    def mean(self, values: NDArray[np.float64]) -> Estimate:
        """Return the mean of (n_rows,) values."""
        if len(values) == 0:
            return Estimate(math.nan)
        return self._within(float(values.mean()), self._means_without(values))

    def ratio(self, over: NDArray[np.float64], under: NDArray[np.float64]) -> Estimate:
        """Return the sum of one column of values divided by that of another, each (n_rows,)."""
        whole = float(under.sum())
        if len(over) == 0 or whole == 0.0:
            return Estimate(math.nan)
        return self._within(float(over.sum()) / whole, self._means_without(over) / self._means_without(under))

    def quantile(self, values: NDArray[np.float64], share: float) -> Estimate:
        """Return the value that a share of the (n_rows,) values lie below, linear between two rows."""
        if len(values) == 0:
            return Estimate(math.nan)
        found = float(np.quantile(values, share))
        low, high = wilson(share, self._effective(values <= found, share))
        return Estimate(found, float(np.quantile(values, low)), float(np.quantile(values, high)))

    def within(self, value: float, without: Sequence[float]) -> Estimate:
        """Return a figure with the interval that its values without each of the groups give."""
        return self._within(value, np.asarray(without, np.float64))

    def groups(self) -> NDArray[np.int64]:
        """Return the numbers of the groups that have rows."""
        return np.unique(self.group)

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of (n_rows,) values in each group that has rows."""
        found: NDArray[np.float64] = np.bincount(self.group, weights=values, minlength=_GROUPS).astype(np.float64)
        return found[self.groups()]

    def _means_without(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums, counts = self.sums(values), self.sums(np.ones(len(values)))
        left = counts.sum() - counts
        with np.errstate(invalid="ignore", divide="ignore"):
            found: NDArray[np.float64] = (sums.sum() - sums) / left
        return found

    def _within(self, value: float, without: NDArray[np.float64]) -> Estimate:
        spread = _spread(without)
        if spread is None:
            return Estimate(value)
        half = quantile_of_t(len(without) - 1) * spread
        return Estimate(value, value - half, value + half)

    def _effective(self, hits: NDArray[np.bool_], share: float) -> float:
        """Return how many independent rows would say as much of a share."""
        n_rows, binomial = len(hits), share * (1.0 - share) / len(hits)
        spread = _spread(self._means_without(hits.astype(np.float64)))
        if binomial <= 0.0 or spread is None:  # nothing varies, so nothing tells how alike the rows of a unit are
            return float(len(np.unique(self.unit)))
        return n_rows / max(1.0, spread * spread / binomial)


def wilson(share: float, n_rows: float) -> tuple[float, float]:
    """Return the ends of Wilson's interval of a share among `n_rows` rows, which need not be whole.

    >>> [round(end, 4) for end in wilson(0.1, 100)]
    [0.0552, 0.1744]
    """
    square = _Z * _Z
    middle = (share + square / (2.0 * n_rows)) / (1.0 + square / n_rows)
    half = _Z * math.sqrt(share * (1.0 - share) / n_rows + square / (4.0 * n_rows * n_rows)) / (1.0 + square / n_rows)
    return max(0.0, middle - half), min(1.0, middle + half)


def quantile_of_t(freedom: int) -> float:
    """Return Student's t of a two-sided 95 % interval, by Hill's expansion (1970); to three digits from 5 degrees on.

    >>> round(quantile_of_t(39), 3)
    2.023
    """
    z = _Z
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def _spread(without: NDArray[np.float64]) -> float | None:
    """Return the jackknife's standard error of a figure from its values without each group."""
    n_groups = len(without)
    if n_groups < _FEWEST_GROUPS or not np.isfinite(without).all():
        return None
    return math.sqrt((n_groups - 1) / n_groups * float(np.square(without - without.mean()).sum()))
