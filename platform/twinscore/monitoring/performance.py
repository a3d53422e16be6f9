"""How good answers were, from the outcomes that are known, each figure with its 95 % interval; pure.

Intervals: Wilson's for shares (1927), DeLong's for the AUC (see `area`), the normal one for means; that of a root is
the root of the interval of what is under it.

Of more than two classes an answer keeps the probability of its decision only. So what is told is how often decisions
are right and how well that probability knows whether they are: its AUC, losses and calibration as the probability of
being right (Hendrycks and Gimpel, 2017, "A baseline for detecting misclassified and out-of-distribution examples in
neural networks"). What is told class by class is in `class_performance`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from twinscore.monitoring.area import area_of
from twinscore.monitoring.calibration_error import calibration_error
from twinscore.monitoring.intervals import mean_interval, wilson

if TYPE_CHECKING:
    from collections.abc import Callable

    from twinscore.contract.moments import Moments
    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.outcomes import OutcomeTally

__all__ = ["performance"]

_UNTOLD = "the answers of more than two classes keep the probability of the decision only; see decision_{name}"
_ONE_CLASS = "outcomes of one class only"
_ALL_ALIKE = "decisions that are all right, or all wrong"
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
        found.append(calibration_error(tally.bins, figure, note=note))
        of_decision = "" if tally.kind == "binary" else "decision_"
        found.append(_auc(tally, figure, f"{of_decision}auc", note))
        found += [_mean(figure, f"{of_decision}{name}", getattr(tally, name), note) for name in ("log_loss", "brier")]
        if of_decision:
            found += [_untold(figure, name, 0, _UNTOLD.format(name=name)) for name in ("auc", "log_loss", "brier")]
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


def _auc(tally: OutcomeTally, figure: Callable[..., Figure], metric: str, note: str) -> Figure:
    negative, positive = tally.grid.dense
    found, rows = area_of(negative, positive), int(negative.sum() + positive.sum())
    if found is None:
        alike = _ONE_CLASS if tally.kind == "binary" else _ALL_ALIKE
        return _untold(figure, metric, rows, alike if rows else _NO_OUTCOME)
    return figure(metric=metric, value=found.value, low=found.low, high=found.high, rows=rows, note=note)


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
