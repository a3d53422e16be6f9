"""How good answers were class by class, and what P(decision) knows of being right."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from twinscore.bundle.profile import bin_edges
from twinscore.errors import SchemaMismatch
from twinscore.monitoring.block import Codes
from twinscore.monitoring.class_performance import class_performance
from twinscore.monitoring.class_tally import MOST_CLASSES, ClassTally
from twinscore.monitoring.metric import METRICS
from twinscore.monitoring.outcomes import OutcomeTally
from twinscore.monitoring.performance import performance
from twinscore.monitoring.plan import plan_of
from twinscore.monitoring.scored_rows import block_of as rows_of
from twinscore.monitoring.scored_rows import with_labels
from twinscore.monitoring.tally import WindowTally
from twinscore.scoring.table import score
from twinscore.testing.models import make_bundle, make_rows

from .scored import FIGURE, View, block_of

THREE = View(classes=("a", "b", "c"), positive=None)


def told(block: Any, view: View, **how: Any) -> dict[tuple[str, str], Any]:
    """Figures by metric and subject."""
    found = class_performance(ClassTally.of(block, view), FIGURE, classes=len(view.classes), **how)
    return {(one.metric, one.subject): one for one in [*performance(OutcomeTally.of(block, view), FIGURE), *found]}


def some_rows(view: View, rows: int, seed: int) -> Any:
    """Rows some of which have no outcome, decision or score."""
    rng = np.random.default_rng(seed)
    gone = rng.random((2, rows)) < 0.15
    return block_of(
        np.where(gone[0], np.nan, rng.random(rows)),
        label=np.where(gone[1], np.nan, rng.integers(0, len(view.classes), rows).astype(float)),
        decision=Codes(rng.integers(-1, len(view.classes), rows), view.classes[::-1]),
    )


@cache
def digits() -> tuple[Any, View, np.ndarray, np.ndarray, np.ndarray]:
    """Handwritten digits that a model of others of them decided: rows, and what was true, decided and how surely."""
    pixels, true = load_digits(return_X_y=True)
    pixels = np.random.default_rng(4).normal(pixels, 6.0)  # clean ones are hardly ever wrong
    fitted = np.arange(len(true)) % 2 == 0
    model = LogisticRegression(max_iter=300).fit(pixels[fitted] / 16, true[fitted])
    shares = model.predict_proba(pixels[~fitted] / 16)
    decided, sure = shares.argmax(axis=1), shares.max(axis=1)
    names = tuple(map(str, range(10)))
    view = View(classes=names, positive=None, score_edges=tuple(bin_edges(sure).tolist()))
    block = block_of(sure, label=true[~fitted].astype(float), decision=Codes(decided.astype(np.int64), names))
    return block, view, true[~fitted], decided, sure


@pytest.mark.parametrize("view", [View(), THREE], ids=["two", "three"])
@settings(max_examples=30)
@given(rows=st.integers(0, 80), seed=st.integers(0, 999), parts=st.integers(1, 4))
def test_any_split_gives_the_bits_of_one_pass(view: View, rows: int, seed: int, parts: int) -> None:
    """Parts merged in any order, through JSON, are equal to the whole."""
    block, rng = some_rows(view, rows, seed), np.random.default_rng(seed)
    part = rng.integers(0, parts, rows)
    merged = ClassTally()
    for number in rng.permutation(parts):
        one = ClassTally.of(block.where(part == number), view)
        merged = merged.merge(ClassTally.from_json(json.loads(json.dumps(one.to_json()))))

    assert ClassTally.of(block, view) == merged


def test_digits_agree_with_scikit_learn() -> None:
    """Precision, recall, balanced accuracy, macro F1, and the AUC and losses of being right, to 1e-9."""
    block, view, true, decided, sure = digits()
    found = told(block, view)
    right = decided == true
    precision, recall, _, _ = sk.precision_recall_fscore_support(true, decided)

    for place, name in enumerate(view.classes):
        assert found["class_precision", name].value == pytest.approx(precision[place], abs=1e-9)
        assert found["class_recall", name].value == pytest.approx(recall[place], abs=1e-9)
    assert found["balanced_accuracy", ""].value == pytest.approx(sk.balanced_accuracy_score(true, decided), abs=1e-9)
    assert found["macro_f1", ""].value == pytest.approx(sk.f1_score(true, decided, average="macro"), abs=1e-9)
    assert found["accuracy", ""].value == pytest.approx(sk.accuracy_score(true, decided), abs=1e-9)
    assert found["decision_log_loss", ""].value == pytest.approx(sk.log_loss(right, sure), abs=1e-9)
    assert found["decision_brier", ""].value == pytest.approx(sk.brier_score_loss(right, sure), abs=1e-9)
    assert found["decision_auc", ""].value == pytest.approx(sk.roc_auc_score(right, sure), abs=1e-3)
    for one in found.values():
        assert one.metric in METRICS
        assert one.low is None or one.low <= one.value <= one.high
    assert all(found[name, ""].value is None for name in ("auc", "log_loss", "brier"))
    assert "see decision_brier" in found["brier", ""].note


def test_digits_are_calibrated_as_the_definition_says() -> None:
    """The error is the sum over classes decided for and bins, row by row; never below that over bins alone."""
    block, view, true, decided, sure = digits()
    found = told(block, view)
    place, expected = np.searchsorted(view.score_edges, sure), 0.0
    for cell in {*zip(decided.tolist(), place.tolist(), strict=True)}:
        mine = (decided == cell[0]) & (place == cell[1])
        expected += mine.mean() * abs((true[mine] == decided[mine]).mean() - sure[mine].mean())
    by_class = found["decision_calibration_error", ""]

    assert by_class.value == pytest.approx(expected, abs=1e-9)
    assert by_class.value >= found["calibration_error", ""].value


def test_a_class_that_is_too_sure_does_not_hide() -> None:
    """Two classes that are wrong in opposite ways are calibrated together, and neither is by itself."""
    rng = np.random.default_rng(3)
    decided = rng.integers(0, 2, 20_000)
    right = rng.random(20_000) < np.where(decided == 0, 0.6, 0.8)
    outcome = np.where(right, decided, 2).astype(float)
    found = told(block_of(np.full(20_000, 0.7), label=outcome, decision=Codes(decided, THREE.classes)), THREE)

    assert found["calibration_error", ""].low == 0.0
    assert found["decision_calibration_error", ""].value == pytest.approx(0.1, abs=0.01)
    assert found["decision_calibration_error", ""].low > 0.08
    assert found["decision_calibration_error", ""].p_value < 1e-9


def test_rows_of_a_version_of_three_classes(tmp_path: Path) -> None:
    """From a bundle's own scores and labels as they lie in files to the figures of a window."""
    bundle, rows = make_bundle(tmp_path / "bundle", "multiclass", rows=600, trees=5), make_rows("multiclass", 500, 9)
    table = bundle.checker.conform(rows.drop_columns(["label"]))
    scored = score(table, bundle)
    block = with_labels(rows_of(table, scored, bundle), scored, rows["label"].combine_chunks(), bundle)
    parts = WindowTally.of(block, plan_of(bundle)).parts
    found = {(one.metric, one.subject): one.value for one in class_performance(parts["classes"], FIGURE, classes=3)}  # type: ignore[arg-type]
    true, decided = rows["label"].to_pylist(), scored["decision"].to_pylist()

    for name, recall in zip(bundle.card.classes, sk.recall_score(true, decided, average=None), strict=True):
        assert found["class_recall", name] == pytest.approx(recall, abs=1e-9)
    assert found["macro_f1", ""] == pytest.approx(sk.f1_score(true, decided, average="macro"), abs=1e-9)


def test_intervals_hold_the_true_balanced_accuracy() -> None:
    """Of 400 samples at least 92 in 100 have the true one in their interval, one class being rare."""
    rng, held = np.random.default_rng(5), 0
    true_recall = np.array([0.9, 0.6, 0.3])
    for _ in range(400):
        outcome = rng.choice(3, 300, p=[0.7, 0.2, 0.1])
        right = rng.random(300) < true_recall[outcome]
        decision = Codes(np.where(right, outcome, (outcome + 1) % 3), THREE.classes)
        one = told(block_of(np.full(300, 0.6), label=outcome.astype(float), decision=decision), THREE)
        held += one["balanced_accuracy", ""].low <= true_recall.mean() <= one["balanced_accuracy", ""].high

    assert held >= 368


def test_what_cannot_be_told_is_said() -> None:
    """A class that was never decided for, windows that are too young or have no outcome, and too many classes."""
    block = block_of(np.array([0.7, 0.6]), label=np.array([0.0, 2.0]), decision=Codes(np.array([0, 0]), THREE.classes))
    found = told(block, THREE)
    none = told(block_of(np.array([0.7])), THREE)
    many = View(classes=tuple(f"c{at:03d}" for at in range(MOST_CLASSES + 1)), positive=None)
    wide = told(some_rows(many, 3_000, 1), many)

    assert (None, "never decided") == (found["class_precision", "c"].value, found["class_precision", "c"].note)
    assert ("class_recall", "b") not in found
    assert 0.0 == found["class_recall", "c"].value
    assert {None} == {none[name, ""].value for name in ("balanced_accuracy", "macro_f1", "decision_calibration_error")}
    assert [] == class_performance(ClassTally.of(block, THREE), FIGURE, classes=3, mature=False)
    assert "told of up to 100 classes, not of 101" == wide["decision_calibration_error", ""].note
    assert MOST_CLASSES == sum(metric == "class_recall" for metric, _ in wide)
    with pytest.raises(SchemaMismatch, match="not counts of classes"):
        ClassTally.from_json({"a": [1, 2]})
