"""The bulk path: a table in, scores out; knows nothing of files, HTTP or Ray.

`score` is what a batch shard, a request of many rows and MLflow's pyfunc all call. The margins come from the booster's
trees in the flat form of `bulk`, everything after them from the same code that serves a single row.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.scoring.bulk import booster_margins, bulk_of
from twinscore.scoring.link import link_of

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle
    from twinscore.contract.verdict import Verdict

__all__ = [
    "AMBIGUOUS",
    "EMPTY",
    "SCORE_SCHEMA",
    "WARNED",
    "check_and_score",
    "margins_of",
    "predict_margins",
    "score",
    "score_margins",
]

SCORE_SCHEMA = pa.schema(
    [
        pa.field("score", pa.float64()),
        pa.field("decision", pa.string()),
        pa.field("lower", pa.float64()),
        pa.field("upper", pa.float64()),
        pa.field("prediction_set", pa.list_(pa.string())),
        pa.field("uncertainty", pa.float64()),
        pa.field("review", pa.bool_()),
        pa.field("review_reason", pa.string()),
    ]
)
"""What a scored row says.

`score` is the booster's float32 answer, widened: P(positive) for two classes, P(decision) for more, the prediction
for numbers. `decision` is a class label, null for numbers. `lower` and `upper` end the interval of a number;
`prediction_set` holds the classes that cannot be ruled out. `uncertainty` is 1 - the largest probability, or the
interval's width.
"""

AMBIGUOUS, EMPTY, WARNED = "ambiguous_set", "empty_set", "contract_warning"
"""Why a person should look: several classes possible, none likely enough, or a contract warning."""

Float64 = npt.NDArray[np.float64]


def score(
    table: pa.Table, bundle: Bundle, *, threads: int | None = None, flagged: npt.NDArray[np.bool_] | None = None
) -> pa.Table:
    """Score rows that the contract accepted.

    Args:
        table: conformed, (n_rows, contract columns).
        bundle: the version.
        threads: cores for the trees; None is one (for a booster without a flat form: the booster's own setting).
        flagged: rows with a contract warning, (n_rows,).

    Returns:
        (n_rows, SCORE_SCHEMA), in the order of `table`.

    Source of the sets and intervals: see `twinscore.bundle.calibration`.
    """
    return score_margins(margins_of(table, bundle, threads=threads), bundle, flagged=flagged)


def score_margins(
    margins: npt.NDArray[np.float32], bundle: Bundle, *, flagged: npt.NDArray[np.bool_] | None = None
) -> pa.Table:
    """Turn margins, as `predict_margins` returns them, into what a scored row says: (n_rows, SCORE_SCHEMA)."""
    scores = link_of(bundle.card.objective)(margins).astype(np.float64)
    columns = _amounts(scores, bundle) if bundle.card.task == "regression" else _classes(scores, bundle)
    if flagged is not None and flagged.any():
        columns["review_reason"] = pc.if_else(pa.array(flagged), WARNED, columns["review_reason"])
    columns["review"] = columns["review_reason"].is_valid()
    return pa.table([columns[field.name] for field in SCORE_SCHEMA], schema=SCORE_SCHEMA)


def check_and_score(table: pa.Table, bundle: Bundle, *, threads: int | None = None) -> tuple[Verdict, pa.Table]:
    """Check a conformed table, (n_rows, contract columns), and score the rows that pass.

    Returns:
        The verdict on all rows, and (n_accepted, SCORE_SCHEMA) for the accepted ones in order.
    """
    verdict = bundle.checker.check(table)
    accepted = table if verdict.n_refused == 0 else table.filter(pa.array(verdict.accepted))
    flagged = verdict.flagged[verdict.accepted]
    return verdict, score(accepted, bundle, threads=threads, flagged=flagged)


def margins_of(table: pa.Table, bundle: Bundle, *, threads: int | None = None) -> npt.NDArray[np.float32]:
    """Return the booster's margins of a conformed table: float32 (n_rows,) or (n_rows, n_classes)."""
    return predict_margins(bundle.spec.encode(table), bundle, threads=threads)


def predict_margins(
    encoded: npt.NDArray[np.float32], bundle: Bundle, *, threads: int | None = None
) -> npt.NDArray[np.float32]:
    """Return the booster's margins of encoded rows, (n_rows, n_features): float32 (n_rows,) or (n_rows, n_classes).

    The flat forest computes them, on one core unless `threads` says more; the booster itself where it has no flat form.
    """
    if len(encoded) == 0:
        n_classes = len(bundle.card.classes)
        return np.empty((0, n_classes) if n_classes > 2 else 0, dtype=np.float32)
    forest = bulk_of(bundle).forest
    if forest is not None:
        return forest.margins(encoded, threads=threads or 1)
    if threads is not None:
        bundle.booster.set_param({"nthread": threads})
    return booster_margins(encoded, bundle)


def _amounts(scores: Float64, bundle: Bundle) -> dict[str, pa.Array]:
    lower, upper = bundle.calibration.intervals(scores)
    none = pa.nulls(len(scores), pa.string())
    return {
        "score": pa.array(scores),
        "decision": none,
        "lower": _finite(lower),
        "upper": _finite(upper),
        "prediction_set": pa.nulls(len(scores), pa.list_(pa.string())),
        "uncertainty": _finite(upper - lower),
        "review_reason": none,
    }


def _classes(scores: Float64, bundle: Bundle) -> dict[str, pa.Array]:
    card = bundle.card
    n_rows = len(scores)
    labels = pa.array(card.classes, pa.string())
    shares = scores if scores.ndim == 2 else np.column_stack([1.0 - scores, scores])
    if len(card.classes) == 2:
        shown = shares[:, 1]
        decided = (shown >= card.threshold).astype(np.int64)
    else:
        decided = np.argmax(shares, axis=1)
        shown = shares[np.arange(n_rows), decided] if n_rows else np.empty(0)
    reason: pa.Array = pa.nulls(n_rows, pa.string())
    sets: pa.Array = pa.nulls(n_rows, pa.list_(pa.string()))
    least = bundle.calibration.least_probability
    if not math.isnan(least):
        inside = shares >= least
        sizes = inside.sum(axis=1)
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        sets = pa.ListArray.from_arrays(pa.array(offsets), labels.take(pa.array(np.nonzero(inside)[1])))
        reason = pa.array([EMPTY, AMBIGUOUS]).take(pa.array((sizes > 1).astype(np.int32), mask=sizes == 1))
    largest = shares.max(axis=1) if n_rows else np.empty(0)
    nothing = pa.nulls(n_rows, pa.float64())
    return {
        "score": pa.array(shown),
        "decision": labels.take(pa.array(decided)),
        "lower": nothing,
        "upper": nothing,
        "prediction_set": sets,
        "uncertainty": pa.array(1.0 - largest),
        "review_reason": reason,
    }


def _finite(values: Float64) -> pa.Array:
    """An end that is not finite (too few calibration rows, or none) is null: JSON has no infinity."""
    return pa.array(values, mask=~np.isfinite(values))
