"""Performance estimated before outcomes are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from twinscore.bundle.profile import bin_counts
from twinscore.errors import SchemaMismatch
from twinscore.monitoring.block import Codes
from twinscore.monitoring.estimate import Correction, estimates
from twinscore.monitoring.estimate_tally import EstimateTally
from twinscore.monitoring.metric import METRICS
from twinscore.monitoring.nanny import LossTable, Nanny
from twinscore.monitoring.outcomes import OutcomeTally
from twinscore.monitoring.performance import performance

from . import scored
from .scored import FIGURE, View, adult, block_of, take

NUMBERS = View("regression", (), None, (-0.5, 0.0, 0.5))
THREE = View(classes=("a", "b", "c"), positive=None)
CLASSES = ("auc", "accuracy", "log_loss", "brier")


def expected(block: Any, view: View, **how: Any) -> dict[str, Any]:
    """Estimates by metric, without `estimated_`."""
    found = estimates(EstimateTally.of(block, view), FIGURE, **how)
    assert all(one.metric in METRICS for one in found)
    return {one.metric.removeprefix("estimated_"): one for one in found}


def realised(block: Any, view: View) -> dict[str, Any]:
    """What the outcomes show, by metric."""
    return {one.metric: one.value for one in performance(OutcomeTally.of(block, view), FIGURE)}


@pytest.mark.parametrize("view", [View(), THREE, NUMBERS], ids=["binary", "multiclass", "regression"])
@settings(max_examples=25)
@given(n_rows=st.integers(0, 60), seed=st.integers(0, 999), cut=st.floats(0, 1))
def test_any_split_gives_the_counts_of_one_pass(view: View, n_rows: int, seed: int, cut: float) -> None:
    """Parts merged in either order are equal to the whole, through JSON too."""
    rng = np.random.default_rng(seed)
    score = np.where(rng.random(n_rows) < 0.1, np.nan, rng.random(n_rows))
    block = block_of(score, decision=Codes(rng.integers(-1, 2, n_rows), (view.classes or ("a", "b"))[:2]))
    mask = rng.random(n_rows) < cut
    one, two = EstimateTally.of(take(block, mask), view), EstimateTally.of(take(block, ~mask), view)

    whole = EstimateTally.of(block, view)
    assert whole == one.merge(two) == two.merge(one)
    assert whole == EstimateTally.from_json(json.loads(json.dumps(whole.to_json())))


def test_estimates_are_expectations_over_both_outcomes() -> None:
    """Each row as a positive of weight p and a negative of weight 1 - p gives scikit-learn the same, to 0.0005."""
    rng = np.random.default_rng(1)
    score = rng.random(2_000) ** 2
    found = expected(block_of(score), View())
    both = {"y_true": np.repeat([1, 0], 2_000), "sample_weight": np.concatenate([score, 1 - score])}
    twice = np.concatenate([score, score])

    assert found["auc"].value == pytest.approx(sk.roc_auc_score(y_score=twice, **both), abs=5e-4)
    assert found["log_loss"].value == pytest.approx(sk.log_loss(y_proba=twice, **both), abs=5e-4)
    assert found["brier"].value == pytest.approx(sk.brier_score_loss(y_proba=twice, **both), abs=5e-4)
    assert found["accuracy"].value == pytest.approx(sk.accuracy_score(y_pred=twice >= 0.5, **both), abs=5e-4)


def test_stated_error_is_the_real_one() -> None:
    """Of 300 windows whose probabilities hold, some 95 in 100 realise what is inside the interval."""
    rng = np.random.default_rng(2)
    held = dict.fromkeys(CLASSES, 0)
    for _ in range(300):
        score = rng.random(400) ** 2
        block = block_of(score, label=(rng.random(400) < score).astype(float))
        found, came = expected(block, View()), realised(block, View())
        for name in CLASSES:
            held[name] += found[name].low <= came[name] <= found[name].high

    assert all(273 <= number <= 298 for number in held.values())


@pytest.mark.parametrize("learnt_from", ["outcomes", "profile"])
def test_adult_is_estimated_within_the_stated_error(adult_train: Path, adult_test: Path, learnt_from: str) -> None:
    """On the census data every estimate holds what outcomes show, corrected by outcomes or by the reference profile."""
    block, view = adult(adult_train, adult_test)
    half = np.random.default_rng(3).random(block.rows) < 0.5
    known, rest = take(block, half), take(block, ~half)
    correction = Correction.fitted(OutcomeTally.of(known, view))
    if learnt_from == "profile":
        correction = Correction.of_reference(view, profile_of(known, view))
    came, found = realised(rest, view), expected(rest, view, correction=correction)
    for name in CLASSES:
        assert found[name].low <= came[name] <= found[name].high
        assert f"{known.rows} labelled rows" in found[name].note


def test_scores_that_do_not_hold_mislead_the_plain_estimate(adult_train: Path, adult_test: Path) -> None:
    """A small model is less sure than it could be; taken at its word it is estimated worse than it is."""
    block, view = adult(adult_train, adult_test)

    assert expected(block, view)["auc"].high < realised(block, view)["auc"]
    assert expected(block, view)["auc"].note.startswith("if the scores are calibrated")


def profile_of(block: Any, view: View) -> dict[str, Any]:
    """What a reference profile says of scores, see build_profile."""
    edges = np.array(view.score_edges)
    by_class = {name: bin_counts(block.score[block.label == place], edges).tolist()
                for place, name in enumerate(view.classes)}  # fmt: skip
    ends = {"min": float(block.score.min()), "max": float(block.score.max())}
    return {"score": {"edges": edges.tolist(), **ends}, "score_by_class": by_class}


def test_scores_that_are_too_sure_are_corrected() -> None:
    """Over-confident scores mislead the plain estimate; what was learnt from outcomes puts it right."""
    rng = np.random.default_rng(4)
    logit = rng.normal(size=40_000) * 1.5
    label = (rng.random(40_000) < 1 / (1 + np.exp(-logit))).astype(float)
    block = block_of(1 / (1 + np.exp(-(0.5 + 2 * logit))), label=label)
    half = np.arange(40_000) < 20_000
    correction = Correction.fitted(OutcomeTally.of(take(block, half), View()))
    rest, view = take(block, ~half), View()
    came, plain, found = realised(rest, view), expected(rest, view), expected(rest, view, correction=correction)

    assert plain["accuracy"].low > came["accuracy"] + 0.05
    for name in CLASSES:
        assert found[name].low <= came[name] <= found[name].high
    own = LogisticRegression(C=np.inf).fit((0.5 + 2 * logit[half])[:, None], label[half])
    assert correction.stretch == pytest.approx(own.coef_[0, 0], abs=1e-3)
    assert correction.shift == pytest.approx(own.intercept_[0], abs=1e-3)


def test_few_outcomes_correct_nothing() -> None:
    """With fewer than 100 of a class scores are taken as they are, and so are scores that split the classes."""
    score = np.linspace(0.01, 0.99, 150)
    few = OutcomeTally.of(block_of(score, label=(score > 0.5).astype(float)), View())

    assert Correction.fitted(few) == Correction()
    assert Correction.fitted(OutcomeTally.of(block_of(score, label=score), NUMBERS)) == Correction()
    score = np.linspace(0.01, 0.99, 1_000)
    split = OutcomeTally.of(block_of(score, label=(score > 0.5).astype(float)), View())
    assert Correction.fitted(split) == Correction()
    assert Correction.of_reference(View(), {"score": {}}) == Correction()


def test_beijing_is_estimated_within_the_stated_error_until_the_world_changes(beijing: Path) -> None:
    """Errors of rows of the same years are foreseen; those of later years are not, in most of their months."""
    held, later, view, month = scored.beijing(beijing)
    half = np.random.default_rng(6).random(held.rows) < 0.5
    nanny = Nanny.learnt(OutcomeTally.of(take(held, half), view))
    rest = take(held, ~half)
    came, found = realised(rest, view), expected(rest, view, nanny=nanny)
    for name in ("mae", "rmse"):
        assert found[name].low <= came[name] <= found[name].high
    months = [take(later, month == one) for one in np.unique(month)]
    outside = 0
    for rows in months:
        told = expected(rows, view, nanny=nanny)["mae"]
        outside += not told.low <= realised(rows, view)["mae"] <= told.high
    assert len(months) == 24
    assert outside > 12


def test_nanny_of_a_bundle_reproduces_what_the_card_says() -> None:
    """On rows spread like the reference the estimate is the card's error, and wider intervals mean larger ones."""
    edges, counts, width = (0.0, 1.0), (50, 30, 20), np.array([1.0, 2.0, 4.0])
    nanny: Any = Nanny.of_reference(edges, counts, width, mae=3.0, rmse=5.0, rows=1000)
    view = View("regression", (), None, edges)
    like = expected(block_of(np.repeat([-1.0, 0.5, 2.0], counts)), view, nanny=nanny)
    wide = expected(block_of(np.full(100, 2.0)), view, nanny=nanny)

    assert (like["mae"].value, like["rmse"].value) == pytest.approx((3.0, 5.0))
    assert wide["mae"].value == pytest.approx(3.0 * 4.0 / 1.9)
    assert like["mae"].low < 3.0 < like["mae"].high
    assert Nanny.of_reference(edges, counts, width, mae=np.nan, rmse=1.0, rows=9) is None


def test_estimate_of_numbers_is_the_mean_of_the_bins() -> None:
    """The table's means are weighted by where the scores fall; its error has both samples in it."""
    table = LossTable((1.0, 3.0), (4.0, 9.0), (10.0, 20.0))
    value, spread = table.expected((30, 10))

    assert value == pytest.approx(1.5)
    assert spread**2 == pytest.approx((30 * 4 + 10 * 9) / 40**2 + 0.75**2 * 4 / 10 + 0.25**2 * 9 / 20)


def test_what_cannot_be_estimated_says_why() -> None:
    """No rows, more than two classes, and numbers without known errors each have their note."""
    assert {one.note for one in expected(block_of(np.empty(0)), View()).values()} == {"no row has a decision"}
    three = expected(block_of(np.array([0.5, 0.7]), decision=Codes(np.array([0, 1]), ("a", "c"))), THREE)
    assert three["accuracy"].value == pytest.approx(0.6, abs=1e-3)
    assert three["auc"].value is None
    assert expected(block_of(np.array([1.0])), NUMBERS)["mae"].note == "no error is known yet"
    assert Nanny.learnt(OutcomeTally.of(block_of(np.array([1.0]), label=np.array([1.0])), NUMBERS)) is None


def test_counts_of_other_versions_are_not_added() -> None:
    """Other bins are refused, of answers and of known errors, and so is what are no counts."""
    block, other = block_of(np.full(40, 0.3), label=np.ones(40)), View("regression", (), None, (9.0,))
    with pytest.raises(SchemaMismatch, match="different versions"):
        EstimateTally.of(block, NUMBERS).merge(EstimateTally.of(block, other))
    with pytest.raises(SchemaMismatch, match="of another version"):
        expected(block, NUMBERS, nanny=Nanny.learnt(OutcomeTally.of(block, other)))
    with pytest.raises(SchemaMismatch, match="not counts of answers"):
        EstimateTally.from_json({})
