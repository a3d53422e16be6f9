"""Calibrate a booster and measure it on rows that it never saw; knows nothing of registries or files.

What is measured is what will be served: the booster's own float32 predictions and the conformal sets around them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from twinscore.bundle.calibration import Calibration, fit_classes, fit_interval
from twinscore.scoring.metrics import (
    class_metrics,
    interval_metrics,
    metrics_by_group,
    number_metrics,
    set_metrics,
)
from twinscore.training.fit import predict

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    import xgboost
    from numpy.typing import NDArray

    from twinscore.training.outcome import Outcome

__all__ = ["COVERAGE", "Evaluation", "evaluate", "scores_of", "shares_of"]

COVERAGE = 0.9
"""Share of outcomes that sets and intervals promise to hold."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a version does on held-out rows.

    Args:
        calibration: fitted on the calibration rows.
        metrics: on the test rows.
        group_metrics: group column -> value -> metrics, on the test rows.
    """

    calibration: Calibration
    metrics: dict[str, float]
    group_metrics: dict[str, dict[str, dict[str, float]]]


def evaluate(
    booster: xgboost.Booster,
    encoded: NDArray[np.float32],
    outcome: Outcome,
    *,
    calibrate: NDArray[np.int64],
    test: NDArray[np.int64],
    groups: Mapping[str, pa.ChunkedArray],
    threshold: float = 0.5,
) -> Evaluation:
    """Fit the calibration on some rows and measure on others.

    Args:
        encoded: (n_rows, n_features)
        calibrate, test: row numbers.
        groups: group column to its values on the test rows, (n_test,).
    """
    predicted, true = predict(booster, encoded[test]), outcome.values[test]
    held_back, known = predict(booster, encoded[calibrate]), outcome.values[calibrate]
    if outcome.task == "classification":
        calibration = fit_classes(shares_of(held_back), known, COVERAGE)
        shares = shares_of(predicted)
        member = shares >= calibration.least_probability

        def measure(rows: NDArray[np.int64]) -> dict[str, float]:
            truth = true[rows].astype(np.int64)
            return {**class_metrics(shares[rows], truth, threshold), **set_metrics(member[rows], truth)}
    else:
        calibration = fit_interval(held_back.astype(np.float64), known, COVERAGE)
        numbers = predicted.astype(np.float64)
        lower, upper = calibration.intervals(numbers)

        def measure(rows: NDArray[np.int64]) -> dict[str, float]:
            truth = true[rows].astype(np.float64)
            return {**number_metrics(numbers[rows], truth), **interval_metrics(lower[rows], upper[rows], truth)}

    return Evaluation(calibration, measure(np.arange(len(test))), metrics_by_group(groups, measure))


def shares_of(predicted: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities, (n_rows, n_classes), from a booster's predictions."""
    wide = predicted.astype(np.float64)
    return np.column_stack([1.0 - wide, wide]) if wide.ndim == 1 else wide


def scores_of(predicted: NDArray[np.float32]) -> NDArray[Any]:
    """Return the score of each row, (n_rows,): probability of the positive or the decided class, or the number."""
    return (predicted if predicted.ndim == 1 else predicted.max(axis=1)).astype(np.float64)
