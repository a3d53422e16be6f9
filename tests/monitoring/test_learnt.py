"""What estimates start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twinscore.monitoring.estimate import Correction, estimates
from twinscore.monitoring.estimate_tally import EstimateTally
from twinscore.monitoring.learnt import FEWEST_PAST, Learnt, learnt
from twinscore.monitoring.outcomes import OutcomeTally
from twinscore.scoring.metrics import number_metrics
from twinscore.scoring.table import score
from twinscore.testing.models import make_bundle, make_rows

from .scored import FIGURE, View, block_of, codes_of


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bundle for numbers whose card says how it did on fresh rows, and these rows as it scored them."""
    bundle = make_bundle(tmp_path_factory.mktemp("numbers") / "bundle", "regression", rows=1_000, trees=10)
    block, view = scored_rows(bundle, "regression")
    metrics = number_metrics(block.score, block.label)
    return replace(bundle, card=replace(bundle.card, metrics=metrics)), block, view


def scored_rows(bundle: Any, task: Any) -> tuple[Any, View]:
    """Fresh rows with their outcomes."""
    rows = make_rows(task, 3_000, seed=9)
    found = score(bundle.checker.conform(rows.drop_columns(["label"])), bundle)
    classes = bundle.card.classes
    label = np.array([classes.index(one) if classes else one for one in rows["label"].to_pylist()], float)
    edges = tuple(bundle.profile["score"]["edges"])
    view = View(bundle.card.task, classes, bundle.card.positive, edges)
    return block_of(found["score"].to_numpy(), label=label, decision=codes_of(found["decision"])), view


def test_bundle_speaks_before_there_are_outcomes(numbers: Any) -> None:
    """Errors are those of the card, so rows like the reference's are expected to lose as much."""
    bundle, block, view = numbers
    known = learnt(view, bundle)
    found: dict[str, Any] = {
        one.metric: one for one in estimates(EstimateTally.of(block, view), FIGURE, nanny=known.nanny)
    }

    assert known.nanny is not None
    assert known.nanny.rows == 3_000
    assert found["estimated_mae"].value == pytest.approx(bundle.card.metrics["mae"], rel=0.1)
    assert found["estimated_rmse"].value == pytest.approx(bundle.card.metrics["rmse"], rel=0.1)


def test_outcomes_speak_once_there_are_enough(numbers: Any) -> None:
    """From a thousand past outcomes on they are what is learnt from."""
    bundle, block, view = numbers
    past = OutcomeTally.of(block, view)
    few = OutcomeTally.of(block_of(block.score[: FEWEST_PAST - 1], label=block.label[: FEWEST_PAST - 1]), view)

    assert learnt(view, bundle, few) == learnt(view, bundle)
    nanny = learnt(view, bundle, past).nanny
    assert nanny is not None
    assert nanny.absolute(EstimateTally.of(block, view))[0] == pytest.approx(past.absolute.mean)


def test_a_card_without_errors_teaches_nothing(numbers: Any) -> None:
    """A bundle that was adopted without test rows has no estimate of numbers."""
    bundle, _, view = numbers

    assert learnt(view, replace(bundle, card=replace(bundle.card, metrics={}))) == Learnt()


def test_scores_of_classes_are_corrected_by_outcomes_then_by_the_profile(tmp_path: Path) -> None:
    """The profile's scores by class, until outcomes are enough; more than two classes have outcomes only."""
    bundle = make_bundle(tmp_path / "bundle", "binary", rows=600, trees=5)
    block, view = scored_rows(bundle, "binary")
    past = OutcomeTally.of(block, view)

    assert learnt(view, bundle, past).correction == Correction.fitted(past)
    assert learnt(view, bundle).correction == Correction.of_reference(view, bundle.profile)
    three = View(classes=("a", "b", "c"), positive=None, score_edges=view.score_edges)
    assert learnt(three, bundle) == Learnt()
