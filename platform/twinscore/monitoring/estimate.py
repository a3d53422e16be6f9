"""How good answers are expected to be while their outcomes are not known yet; pure.

Classes: confidence-based performance estimation (NannyML, "How it works: performance estimation", 2022). A row with
the probability p of being positive is p of a positive and 1 - p of a negative; summed up that is an expected confusion
matrix, an expected ROC curve, expected losses. Numbers: see `nanny`.

The interval is for what the outcomes of these very rows will show: it holds the chance of their outcomes, and how
surely the probabilities were corrected, if they were. It does not hold the chance that outcomes follow from features
otherwise than they did (concept drift), which nothing without outcomes can see.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from twinscore.monitoring.area import placements
from twinscore.monitoring.classes import positive_place
from twinscore.monitoring.intervals import Z
from twinscore.monitoring.score_grid import cell_logits, cells_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from twinscore.monitoring.classes import Scored
    from twinscore.monitoring.estimate_tally import EstimateTally
    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.nanny import Nanny
    from twinscore.monitoring.outcomes import OutcomeTally
    from twinscore.monitoring.score_grid import ScoreGrid

    Floats = NDArray[np.float64]

__all__ = ["Correction", "estimates"]

_AS_IS = "if the scores are calibrated and outcomes follow from features as they did"
_CORRECTED = "if outcomes follow from features as in the {rows} labelled rows that the scores are corrected by"
_NUMBERS = "if errors are as large as in the {rows} rows they are known of"
_UNTOLD = "the answers of more than two classes keep the probability of the decision only"
_FEWEST_PER_CLASS = 100
_STEPS = 50
_EXACT = 1e-9


@dataclass(frozen=True, slots=True)
class Correction:
    """How scores become probabilities that hold: log-odds are shifted and stretched (Cox, 1958, "Two further
    applications of a model for binary regression").
    """  # noqa: D205 - a source belongs to what it is the source of

    shift: float = 0.0
    stretch: float = 1.0
    covariance: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Variance of the shift, covariance, variance of the stretch."""
    rows: int = 0
    """Labelled rows that it was fitted to; 0 takes scores as they are."""

    @classmethod
    def fitted(cls, outcomes: OutcomeTally) -> Self:
        """Fit it to the outcomes of past windows; with fewer than 100 of a class, scores are taken as they are."""
        if outcomes.kind == "regression":
            return cls()
        grid = outcomes.grid
        return cls._fitted(cell_logits()[grid.places], *grid.counts.astype(np.float64))

    @classmethod
    def of_reference(cls, plan: Scored, profile: Mapping[str, Any]) -> Self:
        """Fit it to the reference profile of a bundle, which holds scores by class of rows that training never saw.

        The profile has some twenty bins; a bin counts as the middle of its log-odds. Where the profile has no classes,
        or few rows, scores are taken as they are.
        """
        known, place = profile.get("score_by_class", {}), positive_place(plan)
        if place is None or not all(name in known for name in plan.classes):
            return cls()
        score = profile["score"]
        ends = np.array([score["min"], *score["edges"], score["max"]], np.float64)
        logit = cell_logits()[cells_of(ends)]
        won, lost = (np.array(known[plan.classes[at]], np.float64) for at in (place, 1 - place))
        return cls._fitted((logit[1:] + logit[:-1]) / 2.0, lost, won)

    @classmethod
    def _fitted(cls, logit: Floats, lost: Floats, won: Floats) -> Self:
        """Fit a logistic regression by Newton's steps: log-odds, and rows of both classes there, each (n_cells,)."""
        if min(lost.sum(), won.sum()) < _FEWEST_PER_CLASS:
            return cls()
        design, found = np.column_stack([np.ones(len(logit)), logit]), np.array([0.0, 1.0])
        for _ in range(_STEPS):
            share = _sigmoid(design @ found)
            weight = (lost + won) * share * (1.0 - share)
            step = np.linalg.lstsq((design.T * weight) @ design, design.T @ (won - (lost + won) * share), rcond=None)[0]
            found = found + np.clip(step, -1.0, 1.0)
            if np.abs(step).max() < _EXACT:
                spread = np.linalg.pinv((design.T * weight) @ design)
                covariance = (float(spread[0, 0]), float(spread[0, 1]), float(spread[1, 1]))
                return cls(float(found[0]), float(found[1]), covariance, int((lost + won).sum()))
        return cls()  # the scores split the classes, and no stretch is large enough


def estimates(
    tally: EstimateTally,
    figure: Callable[..., Figure],
    *,
    correction: Correction | None = None,
    nanny: Nanny | None = None,
) -> list[Figure]:
    """Return how good the answers of one window are expected to be.

    Args:
        tally: counts of the window.
        figure: makes a figure of that window from what is given here, such as a `partial` of Figure.
        correction: of classes; None takes the scores for probabilities that hold.
        nanny: of numbers; None says nothing of them.
    """
    if tally.kind == "regression":
        return _of_numbers(tally, figure, nanny)
    chosen, rows = correction or Correction(), sum(tally.bins)
    note = _CORRECTED.format(rows=chosen.rows) if chosen.rows else _AS_IS
    names = ("auc", "accuracy", "log_loss", "brier")
    if not rows:
        return [figure(metric=f"estimated_{name}", value=None, note="no row has a decision") for name in names]
    found = []
    for name in names:
        if tally.kind == "multiclass" and name != "accuracy":
            found.append(figure(metric=f"estimated_{name}", value=None, rows=rows, note=_UNTOLD))
            continue
        value, variance = _FORMULAS[name](tally.grid, chosen)
        if value is None:
            found.append(figure(metric=f"estimated_{name}", value=None, rows=rows, note="one class is not expected"))
            continue
        half = Z * math.sqrt(variance + _of_correction(name, tally.grid, chosen))
        high = value + half if name == "log_loss" else min(1.0, value + half)
        found.append(
            figure(metric=f"estimated_{name}", value=value, low=max(0.0, value - half), high=high, rows=rows, note=note)
        )
    return found


def _accuracy(grid: ScoreGrid, correction: Correction) -> tuple[float | None, float]:
    rejected, selected = grid.counts.astype(np.float64)
    share = _probability(grid, correction)
    n = float(grid.counts.sum())
    right = float(selected @ share + rejected @ (1.0 - share)) / n
    return right, float((rejected + selected) @ (share * (1.0 - share))) / (n * n)


def _log_loss(grid: ScoreGrid, correction: Correction) -> tuple[float | None, float]:
    score = _sigmoid(cell_logits()[grid.places])
    return _loss(grid, correction, -np.log(score), -np.log1p(-score))


def _brier(grid: ScoreGrid, correction: Correction) -> tuple[float | None, float]:
    score = _sigmoid(cell_logits()[grid.places])
    return _loss(grid, correction, np.square(1.0 - score), np.square(score))


def _loss(grid: ScoreGrid, correction: Correction, positive: Floats, negative: Floats) -> tuple[float, float]:
    """Return the mean of a loss and its variance, given what a row of each cell loses with either outcome."""
    rows, share = grid.counts.sum(axis=0).astype(np.float64), _probability(grid, correction)
    n = float(rows.sum())
    value = float(rows @ (share * positive + (1.0 - share) * negative)) / n
    return value, float(rows @ (share * (1.0 - share) * np.square(positive - negative))) / (n * n)


def _auc(grid: ScoreGrid, correction: Correction) -> tuple[float | None, float]:
    rows, share = grid.counts.sum(axis=0).astype(np.float64), _probability(grid, correction)
    won, lost = rows * share, rows * (1.0 - share)
    n_won, n_lost = float(won.sum()), float(lost.sum())
    if min(n_won, n_lost) <= 0.0:
        return None, 0.0
    below, above = placements(lost, won)
    value = float(won @ below) / n_won
    # What it does to the area when a row turns out to be positive and not negative.
    turned = (below - value) / n_won - (above - value) / n_lost
    return value, float(rows @ (share * (1.0 - share) * np.square(turned)))


_FORMULAS: dict[str, Callable[[ScoreGrid, Correction], tuple[float | None, float]]] = {
    "auc": _auc,
    "accuracy": _accuracy,
    "log_loss": _log_loss,
    "brier": _brier,
}


def _of_correction(name: str, grid: ScoreGrid, correction: Correction) -> float:
    """Return the variance that an uncertain correction adds, by the slope of the figure in shift and stretch."""
    if not correction.rows:
        return 0.0
    step, slopes = 1e-4, []
    for shift, stretch in ((step, 0.0), (0.0, step)):
        ends = [
            _FORMULAS[name](grid, Correction(correction.shift + side * shift, correction.stretch + side * stretch))[0]
            for side in (-1, 1)
        ]
        slopes.append(((ends[1] or 0.0) - (ends[0] or 0.0)) / (2.0 * step))
    one, both, two = correction.covariance
    return max(0.0, slopes[0] ** 2 * one + 2.0 * slopes[0] * slopes[1] * both + slopes[1] ** 2 * two)


def _of_numbers(tally: EstimateTally, figure: Callable[..., Figure], nanny: Nanny | None) -> list[Figure]:
    rows = sum(tally.bins)
    why = "no error is known yet" if nanny is None else "no row has a score" if not rows else ""
    if nanny is None or not rows:
        return [figure(metric=f"estimated_{name}", value=None, rows=rows, note=why) for name in ("mae", "rmse")]
    note, found = _NUMBERS.format(rows=nanny.rows), []
    for name, (mean, spread) in (("mae", nanny.absolute(tally)), ("rmse", nanny.squared(tally))):
        ends = [mean, max(0.0, mean - Z * spread), mean + Z * spread]
        value, low, high = map(math.sqrt, ends) if name == "rmse" else ends
        found.append(figure(metric=f"estimated_{name}", value=value, low=low, high=high, rows=rows, note=note))
    return found


def _probability(grid: ScoreGrid, correction: Correction) -> Floats:
    return _sigmoid(correction.shift + correction.stretch * cell_logits()[grid.places])


def _sigmoid(values: Floats) -> Floats:
    found: Floats = 1.0 / (1.0 + np.exp(-values))
    return found
