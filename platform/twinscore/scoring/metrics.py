"""How good predictions are, overall and per group; vectorised, knows nothing of boosters or bundles.

Names are those of the literature: auc (Mann-Whitney, ties count half), log_loss, brier, accuracy, rmse, mae, r2;
coverage is the share of rows whose conformal set or interval holds the outcome.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = [
    "FEWEST_IN_GROUP",
    "auc",
    "class_metrics",
    "interval_metrics",
    "metrics_by_group",
    "number_metrics",
    "set_metrics",
]

FEWEST_IN_GROUP = 30
"""A group with fewer rows gets its count and no metrics: they would be noise with a name."""


def auc(score: NDArray[np.floating], positive: NDArray[np.bool_]) -> float | None:
    """Return the area under the ROC curve, or None when one of the classes is absent.

    Args:
        score: (n_rows,) larger means more likely positive.
        positive: (n_rows,) the outcome.

    >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return None
    _, which, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2  # mean rank of each distinct score, from 1
    wins = rank[which][positive].sum() - n_positive * (n_positive + 1) / 2
    return float(wins / (n_positive * n_negative))


def class_metrics(
    probability: NDArray[np.floating], outcome: NDArray[np.int64], threshold: float = 0.5
) -> dict[str, float]:
    """Return auc, log_loss, brier and accuracy.

    Args:
        probability: (n_rows, n_classes), rows sum to one.
        outcome: (n_rows,) number of the true class.
        threshold: of the second class, when there are two.

    With more than two classes, auc is the mean over classes of one against the rest (absent classes left out), and
    brier is the mean squared distance to the one-hot outcome (Brier, 1950).
    """
    probability = probability.astype(np.float64)
    n_rows, n_classes = probability.shape
    true = np.clip(probability[np.arange(n_rows), outcome], 1e-15, 1.0)
    metrics = {"n": float(n_rows), "log_loss": float(-np.log(true).mean())}
    if n_classes == 2:
        positive = outcome == 1
        area = auc(probability[:, 1], positive)
        metrics["brier"] = float(np.square(probability[:, 1] - positive).mean())
        decided = (probability[:, 1] >= threshold).astype(np.int64)
        metrics["positive_rate"] = float(positive.mean())
    else:
        areas = [auc(probability[:, number], outcome == number) for number in range(n_classes)]
        present = [one for one in areas if one is not None]
        area = float(np.mean(present)) if present else None
        metrics["brier"] = float(np.square(probability - np.eye(n_classes)[outcome]).sum(axis=1).mean())
        decided = probability.argmax(axis=1)
    metrics["accuracy"] = float((decided == outcome).mean())
    if area is not None:
        metrics["auc"] = area
    return metrics


def set_metrics(member: NDArray[np.bool_], outcome: NDArray[np.int64]) -> dict[str, float]:
    """Return set_coverage and set_size of conformal prediction sets: member is (n_rows, n_classes)."""
    held = member[np.arange(len(outcome)), outcome]
    return {"set_coverage": float(held.mean()), "set_size": float(member.sum(axis=1).mean())}


def number_metrics(prediction: NDArray[np.floating], outcome: NDArray[np.floating]) -> dict[str, float]:
    """Return rmse, mae and (unless the outcome is constant) r2."""
    outcome = outcome.astype(np.float64)
    error = prediction.astype(np.float64) - outcome
    metrics = {
        "n": float(len(outcome)),
        "rmse": float(np.sqrt(np.square(error).mean())),
        "mae": float(np.abs(error).mean()),
    }
    spread = float(np.square(outcome - outcome.mean()).sum())
    if spread > 0:
        metrics["r2"] = 1.0 - float(np.square(error).sum()) / spread
    return metrics


def interval_metrics(
    lower: NDArray[np.floating], upper: NDArray[np.floating], outcome: NDArray[np.floating]
) -> dict[str, float]:
    """Return interval_coverage and mean interval_width."""
    held = (lower <= outcome) & (outcome <= upper)
    return {"interval_coverage": float(held.mean()), "interval_width": float((upper - lower).mean())}


def metrics_by_group(
    groups: Mapping[str, pa.ChunkedArray], measure: Callable[[NDArray[np.int64]], dict[str, float]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return `measure(rows)` for the rows of each value of each group column, a missing value being a group too.

    Args:
        groups: column name to (n_rows,) values.
        measure: from ascending row numbers to metrics.
    """
    import pyarrow.compute as pc

    result: dict[str, dict[str, dict[str, float]]] = {}
    for name, column in groups.items():
        text = pc.fill_null(pc.cast(column, "string"), "(missing)")
        coded = pc.dictionary_encode(text).combine_chunks()
        codes = coded.indices.to_numpy()
        measured: dict[str, dict[str, float]] = {}
        for code, value in sorted(enumerate(coded.dictionary.to_pylist()), key=lambda pair: str(pair[1])):
            rows = np.flatnonzero(codes == code)
            measured[str(value)] = measure(rows) if len(rows) >= FEWEST_IN_GROUP else {"n": float(len(rows))}
        result[name] = measured
    return result
