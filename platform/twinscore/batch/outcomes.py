"""How good a run turned out to be, once outcomes are known; measured as training measures."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.batch.labels import coverage_of, labelled_batches
from twinscore.batch.retry import bundle_of
from twinscore.errors import SchemaMismatch
from twinscore.scoring.metrics import class_metrics, interval_metrics, number_metrics, set_metrics

if TYPE_CHECKING:
    from datetime import datetime

    from twinscore.batch.labels import Coverage
    from twinscore.batch.read import CommittedRun
    from twinscore.batch.spec_parts import LabelsSpec
    from twinscore.bundle.card import ModelCard
    from twinscore.settings import Settings

__all__ = ["measure_outcomes", "run_outcomes"]


def run_outcomes(
    settings: Settings,
    run: CommittedRun,
    spec: LabelsSpec,
    *,
    as_of: datetime | None = None,
    since: str | None = None,
) -> tuple[Coverage, dict[str, float]]:
    """Return how many rows of a run have an outcome, and the metrics of those; arguments as `labels.join_labels`.

    In memory: the rows that have an outcome.

    Raises:
        BundleInvalid, ModelNotFound, StoreUnavailable: the version that scored cannot be had; not without an outcome.
    """
    coverage = coverage_of(run, spec, as_of=as_of, since=since)
    if not coverage.labelled:
        return coverage, {}
    batches = labelled_batches(run, spec, as_of=as_of, since=since)
    known = pa.concat_tables([batch.filter(batch["label"].is_valid()) for batch in batches])
    return coverage, measure_outcomes(known, bundle_of(settings, run).card)


def measure_outcomes(table: pa.Table, card: ModelCard) -> dict[str, float]:
    """Return the metrics of the rows that have a label; empty when none has.

    Two classes: auc, log_loss, brier, accuracy, positive_rate. More classes: accuracy, because a run keeps the
    probability of the decision alone. Numbers: rmse, mae, r2. With sets or intervals, their coverage and size: the
    share of outcomes inside, to be held against the 90 % that they promise.

    Args:
        table: as `labels.join_labels` returns it.
        card: of the version that scored.

    Raises:
        SchemaMismatch: a label is no class of the version, or no number.
    """
    known = table.filter(table["label"].is_valid()) if table.num_columns else table
    if not known.num_rows:
        return {}
    return _numbers(known) if card.task == "regression" else _classes(known, card)


def _numbers(known: pa.Table) -> dict[str, float]:
    kind = known["label"].type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        message = f"The labels are {kind}, and the version predicts numbers. Name the column of the outcome."
        raise SchemaMismatch(message, column="label")
    outcome = known["label"].cast(pa.float64()).to_numpy()
    metrics = number_metrics(known["score"].to_numpy(), outcome)
    held = known["lower"].is_valid().to_numpy() & known["upper"].is_valid().to_numpy()
    if held.any():
        lower, upper = (known[name].to_numpy()[held] for name in ("lower", "upper"))
        metrics |= interval_metrics(lower, upper, outcome[held])
    return metrics


def _classes(known: pa.Table, card: ModelCard) -> dict[str, float]:
    classes = pa.array(card.classes, pa.string())
    text = _class_text(known["label"])
    codes = pc.index_in(text, classes)
    if codes.null_count:
        odd = text.filter(codes.is_null())[0].as_py()
        message = f"The label {odd!r} is no class of {card.model}, which knows {', '.join(card.classes)}."
        raise SchemaMismatch(message, column="label", label=odd)
    outcome = codes.to_numpy().astype(np.int64)
    if len(card.classes) == 2 and card.positive is not None:
        score = known["score"].to_numpy()
        positive = card.classes.index(card.positive)
        # class_metrics takes the second class for the positive one.
        metrics = class_metrics(
            np.column_stack([1.0 - score, score]), (outcome == positive).astype(np.int64), card.threshold
        )
    else:
        right = pc.equal(known["decision"].cast(pa.string()), text).to_numpy()
        metrics = {"n": float(len(outcome)), "accuracy": float(right.mean())}
    sets = known["prediction_set"].combine_chunks()
    held = sets.is_valid().to_numpy(zero_copy_only=False)
    if held.any():
        metrics |= set_metrics(_members(sets, classes)[held], outcome[held])
    return metrics


def _class_text(label: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return labels as training writes its classes: true and false, 1 for 1.0."""
    if pa.types.is_floating(label.type):
        with contextlib.suppress(pa.ArrowInvalid):
            return label.cast(pa.int64()).cast(pa.string())
    return label.cast(pa.string())


def _members(sets: pa.ListArray, classes: pa.Array) -> np.ndarray:
    """Return which class is in which set: (n_rows, n_classes)."""
    member = np.zeros((len(sets), len(classes)), bool)
    rows = pc.list_parent_indices(sets).to_numpy()
    member[rows, pc.index_in(pc.list_flatten(sets), classes).to_numpy()] = True
    return member
