"""The bulk path: a table in, scores out; knows nothing of files, HTTP or Ray.

`score` is what a batch shard, a request of many rows and MLflow's pyfunc all call. The margins come from the booster's
trees in the flat form of `bulk`, everything after them from the same code that serves a single row.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

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
    "texts_of",
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

_REASONS = (EMPTY, AMBIGUOUS, WARNED)

Float64 = npt.NDArray[np.float64]
Reasons = npt.NDArray[np.int8]
"""Places in `_REASONS`, negative for no reason: (n_rows,)."""


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
    columns, reasons = _amounts(scores, bundle) if bundle.card.task == "regression" else _classes(scores, bundle)
    if flagged is not None and flagged.any():
        reasons[flagged] = _REASONS.index(WARNED)
    columns["review_reason"] = texts_of(_REASONS, reasons)
    columns["review"] = pa.array(reasons >= 0)
    return pa.table([columns[field.name] for field in SCORE_SCHEMA], schema=SCORE_SCHEMA)


def check_and_score(table: pa.Table, bundle: Bundle, *, threads: int | None = None) -> tuple[Verdict, pa.Table]:
    """Check a conformed table, (n_rows, contract columns), and score the rows that pass.

    Returns:
        The verdict on all rows, and (n_accepted, SCORE_SCHEMA) for the accepted ones in order.
    """
    from twinscore.scoring.float_columns import float_columns_of

    read = float_columns_of(bundle).read(table)
    verdict = bundle.checker.check(table, within=None if read is None else read.within)
    known = None if read is None else (read.matrix, read.features)
    if verdict.n_refused:
        table = table.filter(pa.array(verdict.accepted))
        known = None if known is None else (known[0][verdict.accepted], known[1])
    margins = predict_margins(bundle.spec.encode(table, known=known), bundle, threads=threads)
    return verdict, score_margins(margins, bundle, flagged=verdict.flagged[verdict.accepted])


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


def texts_of(words: tuple[str, ...], places: npt.NDArray[np.signedinteger[Any]]) -> pa.Array:
    """Return a column of text that says words by their places: (n_rows,); null where a place is negative.

    >>> texts_of(("no", "yes"), np.array([1, -1, 0])).to_pylist()
    ['yes', None, 'no']
    """
    from twinscore.scoring import kernels

    text, word_ends, longest = _spelled(words)
    n_rows = len(places)
    out, ends = np.empty(n_rows * longest, dtype=np.uint8), np.empty(n_rows + 1, dtype=np.int32)
    valid = np.zeros(n_rows // 8 + 1, dtype=np.uint8)
    kernels.spell(places, text, word_ends, out, ends, valid)
    buffers = [pa.py_buffer(valid), pa.py_buffer(ends), pa.py_buffer(out[: ends[-1]])]
    return pa.Array.from_buffers(pa.string(), n_rows, buffers)


@lru_cache(maxsize=64)
def _spelled(words: tuple[str, ...]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], int]:
    """Return words one behind the other, where each ends (n_words + 1,), and the bytes of the longest."""
    coded = [word.encode() for word in words]
    sizes = [len(word) for word in coded]
    ends = np.cumsum([0, *sizes], dtype=np.int32)
    return np.frombuffer(b"".join(coded), dtype=np.uint8), ends, max(sizes, default=0)


def _amounts(scores: Float64, bundle: Bundle) -> tuple[dict[str, pa.Array], Reasons]:
    lower, upper = bundle.calibration.intervals(scores)
    columns = {
        "score": pa.array(scores),
        "decision": pa.nulls(len(scores), pa.string()),
        "lower": _finite(lower),
        "upper": _finite(upper),
        "prediction_set": pa.nulls(len(scores), pa.list_(pa.string())),
        "uncertainty": _finite(upper - lower),
    }
    return columns, np.full(len(scores), -1, dtype=np.int8)


def _classes(scores: Float64, bundle: Bundle) -> tuple[dict[str, pa.Array], Reasons]:
    from twinscore.scoring import kernels

    card, least = bundle.card, bundle.calibration.least_probability
    n_rows, n_classes = len(scores), len(card.classes)
    shown, doubt = np.empty(n_rows), np.empty(n_rows)
    decided, reasons = np.empty(n_rows, dtype=np.int32), np.full(n_rows, -1, dtype=np.int8)
    ends, members = np.empty(n_rows + 1, dtype=np.int32), np.empty(n_rows * n_classes + 1, dtype=np.int32)
    by_class = scores if scores.ndim == 2 else scores[:, None]
    kernels.decide(by_class, card.threshold, least, decided, shown, doubt, ends, members)
    sets: pa.Array = pa.nulls(n_rows, pa.list_(pa.string()))
    if not math.isnan(least):
        sets = pa.ListArray.from_arrays(pa.array(ends), texts_of(card.classes, members[: ends[-1]]))
        sizes = np.diff(ends)
        reasons[sizes == 0] = _REASONS.index(EMPTY)
        reasons[sizes > 1] = _REASONS.index(AMBIGUOUS)
    nothing = pa.nulls(n_rows, pa.float64())
    columns = {
        "score": pa.array(shown),
        "decision": texts_of(card.classes, decided),
        "lower": nothing,
        "upper": nothing,
        "prediction_set": sets,
        "uncertainty": pa.array(doubt),
    }
    return columns, reasons


def _finite(values: Float64) -> pa.Array:
    """An end that is not finite (too few calibration rows, or none) is null: JSON has no infinity."""
    return pa.array(values, mask=~np.isfinite(values))
