"""How good answers were, from the outcomes that are known, each figure with its 95 % interval; pure.

Intervals: Wilson's for shares (1927), DeLong's for the AUC (see `area`), the normal one for means; that of a root is
the root of the interval of what is under it. The calibration error is the mean distance of predicted and observed share
over the bins of the reference profile (Naeini, Cooper and Hauskrecht, 2015, "Obtaining well calibrated probabilities
using Bayesian binning"); it is above 0 by chance alone, so its interval reaches down to what is left when all that
chance may have added is taken away, and its p-value is that of Hosmer and Lemeshow's statistic with one degree of
freedom per bin.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from twinscore.monitoring.area import area_of
from twinscore.monitoring.intervals import Z, mean_interval, wilson

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from twinscore.contract.moments import Moments
    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.outcomes import OutcomeTally, ScoreBin

__all__ = ["performance"]

_UNTOLD = "the answers of more than two classes keep the probability of the decision only"
_ONE_CLASS = "outcomes of one class only"
_NO_OUTCOME = "no outcome is known"


def performance(
    tally: OutcomeTally, figure: Callable[..., Figure], *, expected: int | None = None, mature: bool = True
) -> list[Figure]:
    """Return how good the answers of one window were.

    Args:
        tally: counts of the window.
        figure: makes a figure of that window from what is given here, such as a `partial` of Figure.
        expected: rows old enough to have an outcome; None takes all of them.
        mature: whether the window's outcomes are expected to be known. If not, nothing is said of how good answers
            were: outcomes that come early are seldom like those that come late.
    """
    rows = tally.rows if expected is None else expected
    if not mature:
        return [_untold(figure, "labelled_share", 0, "the window's outcomes are not expected yet")]
    found = [_share(figure, "labelled_share", min(tally.labelled, rows), rows, "no row is old enough for an outcome")]
    note = "" if tally.labelled >= rows else f"{tally.labelled} of {rows} outcomes are known"
    found.append(_share(figure, "coverage", tally.covered, tally.bounded, "no row with an outcome has an interval"))
    if tally.kind == "regression":
        found += _of_numbers(tally, figure, note)
    else:
        decided = tally.right + tally.wrong
        found.append(_share(figure, "accuracy", tally.right, decided, _NO_OUTCOME, note))
        found.append(_calibration_error(tally, figure, note))
        if tally.kind == "binary":
            found += [_auc(tally, figure, note)]
            found += [_mean(figure, name, getattr(tally, name), note) for name in ("log_loss", "brier")]
        else:
            found += [_untold(figure, name, 0, _UNTOLD) for name in ("auc", "log_loss", "brier")]
    return found


def _of_numbers(tally: OutcomeTally, figure: Callable[..., Figure], note: str) -> list[Figure]:
    squared, outcome = tally.squared, tally.outcome
    found = [_mean(figure, "mae", tally.absolute, note)]
    whole = _mean(figure, "rmse", squared, note)
    if whole.value is not None:
        low, high = (None if end is None else math.sqrt(max(end, 0.0)) for end in (whole.low, whole.high))
        whole = figure(metric="rmse", value=math.sqrt(whole.value), low=low, high=high, rows=squared.n, note=note)
    found.append(whole)
    spread = outcome.deviation**2 * (outcome.n - 1) if outcome.n > 1 else math.nan
    if spread > 0.0 and math.isfinite(spread) and math.isfinite(squared.mean):
        explained = 1.0 - squared.mean * squared.n / spread
        found.append(figure(metric="r2", value=explained, rows=outcome.n, note=note))
    else:
        found.append(_untold(figure, "r2", outcome.n, "all outcomes are alike" if outcome.n else _NO_OUTCOME))
    return found


def _auc(tally: OutcomeTally, figure: Callable[..., Figure], note: str) -> Figure:
    negative, positive = tally.grid.dense
    found, rows = area_of(negative, positive), int(negative.sum() + positive.sum())
    if found is None:
        return _untold(figure, "auc", rows, _ONE_CLASS if rows else _NO_OUTCOME)
    return figure(metric="auc", value=found.value, low=found.low, high=found.high, rows=rows, note=note)


def _calibration_error(tally: OutcomeTally, figure: Callable[..., Figure], note: str) -> Figure:
    used = [one for one in tally.bins if one.amount.n]
    rows = sum(one.amount.n for one in used)
    if not rows:
        return _untold(figure, "calibration_error", 0, _NO_OUTCOME)
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
        metric="calibration_error",
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


def _share(figure: Callable[..., Figure], metric: str, hits: int, rows: int, nothing: str, note: str = "") -> Figure:
    if not rows:
        return _untold(figure, metric, 0, nothing)
    low, high = wilson(hits, rows)
    return figure(metric=metric, value=hits / rows, low=low, high=high, rows=rows, note=note)


def _mean(figure: Callable[..., Figure], metric: str, values: Moments, note: str) -> Figure:
    if not values.n or not math.isfinite(values.mean):
        return _untold(figure, metric, values.n, "an error is infinite" if values.n else _NO_OUTCOME)
    low, high = mean_interval(values)
    return figure(
        metric=metric,
        value=values.mean,
        low=None if low is None else max(0.0, low),
        high=high,
        rows=values.n,
        note=note,
    )


def _untold(figure: Callable[..., Figure], metric: str, rows: int, why: str) -> Figure:
    return figure(metric=metric, value=None, rows=rows, note=why)
