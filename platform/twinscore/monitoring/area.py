"""The area under the ROC curve from counts of scores in cells, its interval, and what the cells can hide; pure.

Rows of one cell count as ties. The interval is that of DeLong, DeLong and Clarke-Pearson (1988, "Comparing the areas
under two or more correlated receiver operating characteristic curves") in log-odds of the area, which keeps it within 0
and 1 (Qin and Hotilovac, 2008); where the area is 0 or 1, or a class has one row, that of Hanley and McNeil's variance
solved for the area (Newcombe, 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney
statistic", part 2, method 5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from twinscore.monitoring.intervals import Z

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Area", "area_of", "placements"]


@dataclass(frozen=True, slots=True)
class Area:
    """An area under the ROC curve."""

    value: float
    low: float
    """End of the 95 % interval, with what the cells may hide added."""
    high: float
    hidden: float
    """The area of the scores themselves is at most so far from `value`: rows of both classes share cells."""


def placements(negative: NDArray[Any], positive: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each cell the share of negatives below and of positives above, ties counting half; each (n_cells,).

    Args:
        negative, positive: rows of each cell, cells ascending; weights need not be whole, no sum is 0.
    """
    lost, won = negative.astype(np.float64), positive.astype(np.float64)
    below = (np.cumsum(lost) - lost / 2.0) / lost.sum()
    above = (won.sum() - np.cumsum(won) + won / 2.0) / won.sum()
    return below, above


def area_of(negative: NDArray[np.int64], positive: NDArray[np.int64]) -> Area | None:
    """Return the area from the rows of each class in each cell, (n_cells,) each; None where a class has no row.

    >>> found = area_of(np.array([3, 1, 0]), np.array([0, 1, 2]))
    >>> round(found.value, 4), round(found.hidden, 4)
    (0.9583, 0.0417)
    """
    n, m = int(negative.sum()), int(positive.sum())
    if not n or not m:
        return None
    below, above = placements(negative, positive)
    value = min(1.0, float(positive @ below) / m)
    hidden = float(negative.astype(np.float64) @ positive) / (2.0 * n * m)
    low, high = _newcombe(value, n, m)
    if min(n, m) > 1 and 0.0 < value < 1.0:
        spread = float(positive @ np.square(below - value)) / (m - 1) / m
        spread += float(negative @ np.square(above - value)) / (n - 1) / n
        half = Z * math.sqrt(spread) / (value * (1.0 - value))
        if half > 0.0:
            middle = math.log(value / (1.0 - value))
            low, high = (1.0 / (1.0 + math.exp(-end)) for end in (middle - half, middle + half))
    return Area(value, max(0.0, low - hidden), min(1.0, high + hidden), hidden)


def _newcombe(value: float, n: int, m: int) -> tuple[float, float]:
    """Return the areas whose own standard error, times Z, just reaches the one that was found."""

    def excess(area: float) -> float:
        star = (n + m) / 2.0 - 1.0
        spread = area * (1.0 - area) * (1.0 + star * ((1.0 - area) / (2.0 - area) + area / (1.0 + area))) / (n * m)
        return abs(area - value) - Z * math.sqrt(spread)

    def solved(far: float) -> float:
        near = value
        for _ in range(60):
            middle = (near + far) / 2.0
            near, far = (near, middle) if excess(middle) > 0.0 else (middle, far)
        return (near + far) / 2.0

    return (0.0 if value == 0.0 else solved(0.0)), (1.0 if value == 1.0 else solved(1.0))
