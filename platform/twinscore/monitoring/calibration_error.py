"""Whether probabilities keep their word: the distance of predicted and observed share over bins; pure.

The calibration error is the mean distance over the bins of the reference profile (Naeini, Cooper and Hauskrecht, 2015,
"Obtaining well calibrated probabilities using Bayesian binning"). It is above 0 by chance alone, so its interval
reaches down to what is left when all that chance may have added is taken away, and its p-value is that of Hosmer and
Lemeshow's statistic with one degree of freedom per bin.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from twinscore.monitoring.intervals import Z

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.outcomes import ScoreBin

__all__ = ["calibration_error"]


def calibration_error(
    bins: Iterable[ScoreBin], figure: Callable[..., Figure], *, metric: str = "calibration_error", note: str = ""
) -> Figure:
    """Return the mean distance of predicted and observed share over bins.

    Args:
        bins: of probabilities, with the rows that were a hit.
        figure: makes a figure of a window from what is given here, such as a `partial` of Figure.
        metric: whose figure it is.
        note: what is said beside.
    """
    used = [one for one in bins if one.amount.n]
    rows = sum(one.amount.n for one in used)
    if not rows:
        return figure(metric=metric, value=None, note="no outcome is known")
    sizes = np.array([one.amount.n for one in used], np.float64)
    gaps = np.array([one.hits / one.amount.n - one.amount.mean for one in used])
    expected = np.array([_variance(one) for one in used])  # of the number of hits, if the probabilities hold
    weight = sizes / rows
    value = float(weight @ np.abs(gaps))
    seen = np.array([max(one.hits * (one.amount.n - one.hits) / one.amount.n, 0.0) for one in used])
    spread = np.sqrt(np.maximum(seen, expected)) / sizes
    half = Z * math.sqrt(float(np.square(weight * spread).sum()))
    chance = math.sqrt(2.0 / math.pi) * float(weight @ spread)
    told = f"{chance:.2g} of it is expected by chance"
    return figure(
        metric=metric,
        value=value,
        low=max(0.0, value - chance - half),
        high=min(1.0, value + half),
        p_value=_hosmer_lemeshow(np.square(gaps * sizes), expected),
        rows=rows,
        note=f"{told}; {note}" if note else told,
    )


def _variance(one: ScoreBin) -> float:
    """Return the variance of a bin's hits when each row's probability is right: the sum of p (1 - p)."""
    n, mean = one.amount.n, one.amount.mean
    spread = one.amount.deviation**2 * (n - 1) if n > 1 else 0.0
    return max(0.0, n * mean * (1.0 - mean) - spread)


def _hosmer_lemeshow(squares: NDArray[np.float64], expected: NDArray[np.float64]) -> float | None:
    from scipy.stats import chi2

    possible = expected > 0.0
    if not possible.any():
        return None
    return float(chi2.sf(float((squares[possible] / expected[possible]).sum()), int(possible.sum())))
