"""95 % intervals of what drift is measured in, where an honest one is known; pure.

Shares have Wilson's (1927), their difference Newcombe's tenth (1998). PSI, Jensen-Shannon distance and Cramér's V are,
for changes that are not huge, multiples of one chi-squared distance; it is noncentral chi-squared times (1/n + 1/m)
(Yurdakul, 2018, for the case without a change), and the interval holds the noncentralities that explain it. KS has the
band of its own distribution (Smirnov, 1948) around it, which is wider than it need be.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from twinscore.bundle.shift import psi, shares
from twinscore.monitoring.drift_effect import cramers_v, js_distance
from twinscore.monitoring.intervals import Z, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["distances_between", "ks_between", "share_difference"]

FEWEST_IN_CELL = 5
"""With fewer rows in any cell of either side, chi-squared says too little of the distances."""
_KS = 1.3580986393225505
"""95 % quantile of Kolmogorov's distribution."""
_NORMAL_FROM = 1e4
"""From here the root of noncentral chi-squared is normal for all purposes."""

Interval = tuple[float, float]


def share_difference(count: int, rows: int, reference: int, reference_rows: int) -> Interval:
    """Return Newcombe's interval of count / rows - reference / reference_rows; both have rows."""
    a, r = count / rows, reference / reference_rows
    low_a, high_a = wilson(count, rows)
    low_r, high_r = wilson(reference, reference_rows)
    return (
        a - r - math.hypot(a - low_a, high_r - r),
        a - r + math.hypot(high_a - a, r - low_r),
    )


def distances_between(
    counts: NDArray[np.int64], reference: NDArray[np.int64]
) -> tuple[Interval, Interval, Interval] | None:
    """Return the intervals of the population's PSI, Jensen-Shannon distance and Cramér's V.

    None when there are cells with fewer than 5 rows, or fewer than two cells. Chance alone makes these figures larger
    than what they measure, so a figure may lie at the upper end of its interval; it never lies outside.
    """
    if len(counts) < 2 or min(int(counts.min()), int(reference.min())) < FEWEST_IN_CELL:
        return None
    n, m = int(counts.sum()), int(reference.sum())
    unit, freedom = 1 / n + 1 / m, len(counts) - 1
    found = psi(counts.tolist(), reference.tolist())
    wider = max(1.0, _psi_variance(counts, reference) / (4 * found * unit)) if found > 0 else 1.0
    low, high = _noncentralities(found / (unit * wider), freedom)
    index = low * unit * wider, max(high * unit * wider, found)
    js, v = js_distance(counts, reference), cramers_v(counts, reference)
    return index, _scaled(js, index, found), _scaled(v, index, found)


def ks_between(found: float, rows: int, reference_rows: int) -> Interval:
    """Return the interval of the largest difference at the edges; both have rows."""
    half = _KS * math.sqrt(1 / rows + 1 / reference_rows)
    return max(0.0, found - half), min(1.0, found + half)


def _scaled(distance: float, index: Interval, found: float) -> Interval:
    """Return the interval of a distance whose square moves with PSI; both are roots of the same for small changes."""
    if found <= 0:
        return distance, distance
    low, high = (distance * math.sqrt(end / found) for end in index)
    return min(1.0, low), min(1.0, high)


def _psi_variance(counts: NDArray[np.int64], reference: NDArray[np.int64]) -> float:
    """Return the variance of PSI by the delta method, from both samples."""
    n, m = int(counts.sum()), int(reference.sum())
    a, r = np.asarray(shares(counts.tolist())), np.asarray(shares(reference.tolist()))
    by_a, by_r = np.log(a / r) + (a - r) / a, np.log(r / a) + (r - a) / r
    of_a = float(np.sum(a * by_a**2) - np.sum(a * by_a) ** 2)
    of_r = float(np.sum(r * by_r**2) - np.sum(r * by_r) ** 2)
    return max(0.0, of_a) / n + max(0.0, of_r) / m


def _noncentralities(x: float, freedom: int) -> Interval:
    """Return the noncentralities under which x would be as large, or as small, in 2.5 of 100 cases."""
    from scipy import special

    if x > _NORMAL_FROM:
        return max(0.0, math.sqrt(x - freedom) - Z) ** 2, (math.sqrt(x - freedom) + Z) ** 2
    tail = special.chdtr(freedom, x)
    low = special.chndtrinc(x, freedom, 0.975) if tail > 0.975 else 0.0
    high = special.chndtrinc(x, freedom, 0.025) if tail > 0.025 else 0.0
    return float(low), float(high)
