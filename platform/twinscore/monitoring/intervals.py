"""Confidence intervals of shares, means, gaps and ratios, from counts alone; pure.

A share has Wilson's interval (Wilson, 1927). Two shares are held against each other by Newcombe's hybrid score interval
with continuity correction (Newcombe, 1998, "Interval estimation for the difference between independent proportions",
method 11), their ratio by the same ends (Donner and Zou, 2012, "Closed-form confidence intervals for functions of the
normal mean and standard deviation"). Several groups are held against each other pair by pair, each pair at the level
0.05 / pairs (Bonferroni), so that all pairs are right at once in 95 of 100 cases: whichever groups turn out to be the
farthest apart, their gap is inside. `benchmarks/fairness.py` counts how often it is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from twinscore.contract.moments import Moments

__all__ = ["LEVEL", "Spread", "Z", "mean_interval", "ratio_of", "widest_gap", "wilson"]

LEVEL = 0.95
"""Of every interval."""
Z = 1.959963984540054
"""Half width of a 95 % interval in standard errors."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How far apart the shares of several groups are, with the ends of a simultaneous 95 % interval."""

    value: float
    low: float
    high: float
    least: int
    """Place of the group with the lowest share."""
    most: int
    """Place of the group with the highest share."""


def wilson(hits: int, rows: int) -> tuple[float, float]:
    """Return the ends of Wilson's 95 % interval of `hits` among `rows`, which must be more than none.

    >>> [round(end, 4) for end in wilson(10, 100)]
    [0.0552, 0.1744]
    """
    share, square = hits / rows, Z * Z
    middle = (share + square / (2.0 * rows)) / (1.0 + square / rows)
    half = Z * math.sqrt(share * (1.0 - share) / rows + square / (4.0 * rows * rows)) / (1.0 + square / rows)
    return (0.0 if hits == 0 else max(0.0, middle - half)), (1.0 if hits == rows else min(1.0, middle + half))


def mean_interval(values: Moments) -> tuple[float, float] | tuple[None, None]:
    """Return the ends of the normal 95 % interval of a mean; None below two values, or where they are not finite."""
    half = Z * values.deviation / math.sqrt(values.n) if values.n > 1 else math.nan
    return (values.mean - half, values.mean + half) if math.isfinite(half) else (None, None)


def widest_gap(hits: Sequence[int], rows: Sequence[int]) -> Spread:
    """Return the largest difference between the shares of groups, each with at least one row; there must be two groups.

    The interval lies above `x` only when some pair of groups is proved to be farther apart than `x`.

    >>> gap = widest_gap([56, 48], [70, 80])
    >>> [round(part, 4) for part in (gap.value, gap.low, gap.high)]
    [0.2, 0.0428, 0.3422]
    """
    share, low, high = _corrected(hits, rows)
    down, up = np.square(share - low), np.square(high - share)
    apart = np.subtract.outer(share, share)
    at_least, at_most = apart - np.sqrt(np.add.outer(down, up)), apart + np.sqrt(np.add.outer(up, down))
    np.fill_diagonal(at_least, 0.0)
    np.fill_diagonal(at_most, 0.0)
    least, most = int(np.argmin(share)), int(np.argmax(share))
    value = float(share[most] - share[least])
    return Spread(value, max(0.0, float(at_least.max())), min(1.0, float(at_most.max())), least, most)


def ratio_of(hits: Sequence[int], rows: Sequence[int]) -> Spread | None:
    """Return the lowest share of groups over the highest, from 0 to 1; None where no row was a hit.

    >>> ratio = ratio_of([50, 20], [100, 100])
    >>> [round(part, 3) for part in (ratio.value, ratio.low, ratio.high)]
    [0.4, 0.25, 0.627]
    """
    share, low, high = _corrected(hits, rows)
    least, most = int(np.argmin(share)), int(np.argmax(share))
    if share[most] == 0.0:
        return None
    product = np.multiply.outer(share, share)
    below = low * (2.0 * share - low)
    under = product * product - np.multiply.outer(below, high * (2.0 * share - high))
    divisor = product + np.sqrt(np.maximum(under, 0.0))
    at_least = np.divide(below[:, None], divisor, out=np.zeros_like(divisor), where=divisor > 0.0)
    off = ~np.eye(len(share), dtype=bool)
    # The upper end of a ratio is one over the lower end of the ratio turned round.
    largest = float(at_least[off].max())
    end = min(1.0, 1.0 / largest) if largest > 0.0 else 1.0
    return Spread(float(share[least] / share[most]), min(1.0, float(at_least[off].min())), end, least, most)


def _corrected(hits: Sequence[int], rows: Sequence[int]) -> tuple[NDArray[np.float64], ...]:
    """Return shares and the ends of Wilson's intervals with continuity correction, at the level for all pairs."""
    n, groups = np.asarray(rows, np.float64), len(rows)
    share = np.asarray(hits, np.float64) / n
    z = -NormalDist().inv_cdf((1.0 - LEVEL) / (groups * (groups - 1)))
    square, other = z * z, 1.0 - share
    below = square - 2.0 - 1.0 / n + 4.0 * share * (n * other + 1.0)
    above = square + 2.0 - 1.0 / n + 4.0 * share * (n * other - 1.0)
    middle, divisor = 2.0 * n * share + square, 2.0 * (n + square)
    low = (middle - 1.0 - z * np.sqrt(np.maximum(below, 0.0))) / divisor
    high = (middle + 1.0 + z * np.sqrt(np.maximum(above, 0.0))) / divisor
    return share, np.where(share <= 0.0, 0.0, np.maximum(low, 0.0)), np.where(other <= 0.0, 1.0, np.minimum(high, 1.0))
