"""Outcomes of windows, and how good answers were."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from twinscore.errors import SchemaMismatch
from twinscore.monitoring import area as areas
from twinscore.monitoring import intervals
from twinscore.monitoring.block import Codes
from twinscore.monitoring.metric import METRICS
from twinscore.monitoring.outcomes import OutcomeTally
from twinscore.monitoring.performance import performance
from twinscore.monitoring.score_grid import CELLS, ScoreGrid, cell_logits, cells_of
from twinscore.scoring import metrics as own

from . import scored
from .scored import FIGURE, View, adult, block_of, take

area_of: Any = areas.area_of
ratio_of: Any = intervals.ratio_of

NUMBERS = View("regression", (), None, (-0.5, 0.0, 0.5))
THREE = View(classes=("a", "b", "c"), positive=None)


def told(tally: OutcomeTally, **how: object) -> dict[str, Any]:
    """Figures by metric."""
    return {one.metric: one for one in performance(tally, FIGURE, **how)}


def some_rows(view: View, n_rows: int, seed: int) -> Any:
    """Rows as a version of that kind scores them, some without outcome, score, decision or interval."""
    rng = np.random.default_rng(seed)
    classes = len(view.classes)
    score = rng.normal(size=n_rows) * 10.0 ** rng.integers(-3, 3) if not classes else rng.random(n_rows) ** 9
    label = rng.integers(0, classes, n_rows).astype(float) if classes else score + rng.normal(size=n_rows)
    decision = Codes(rng.integers(-1, max(classes, 1), n_rows), view.classes[::-1])
    some = rng.random((2, n_rows)) < 0.2
    return block_of(
        np.where(some[0], np.nan, score),
        label=np.where(some[1], np.nan, label),
        decision=decision,
        covered=rng.integers(-1, 2, n_rows),
    )


@pytest.mark.parametrize("view", [View(), THREE, NUMBERS], ids=["binary", "multiclass", "regression"])
@settings(max_examples=30)
@given(n_rows=st.integers(0, 80), seed=st.integers(0, 999), parts=st.integers(1, 4))
def test_any_split_gives_the_bits_of_one_pass(view: View, n_rows: int, seed: int, parts: int) -> None:
    """Parts merged in any order are equal to the whole to the last bit, through JSON too."""
    block, rng = some_rows(view, n_rows, seed), np.random.default_rng(seed)
    part = rng.integers(0, parts, n_rows)
    tallies = [OutcomeTally.of(take(block, part == number), view) for number in range(parts)]
    merged = OutcomeTally.of(take(block, np.zeros(n_rows, bool)), view)
    for number in rng.permutation(parts):
        merged = tallies[number].merge(OutcomeTally.from_json(json.loads(json.dumps(merged.to_json()))))

    assert merged == OutcomeTally.of(block, view)


def test_tallies_of_different_versions_are_not_added() -> None:
    """Other bins or another task are refused, and so is what is no tally."""
    block = some_rows(View(), 10, 1)
    with pytest.raises(SchemaMismatch, match="different versions"):
        OutcomeTally.of(block, View()).merge(OutcomeTally.of(block, View(score_edges=(0.5,))))
    with pytest.raises(SchemaMismatch, match="not counts of outcomes"):
        OutcomeTally.from_json({"kind": "binary"})
    with pytest.raises(SchemaMismatch, match="another release"):
        ScoreGrid.from_json({"places": [CELLS], "counts": [[1], [0]]})


def test_adult_agrees_with_scikit_learn(adult_train: Path, adult_test: Path) -> None:
    """On the census data the sums are scikit-learn's to 1e-9, and the AUC as near as it says, which is 1e-5 here."""
    block, view = adult(adult_train, adult_test)
    tally = OutcomeTally.of(block, view)
    found, true, score = told(tally), block.label, block.score

    assert found["log_loss"].value == pytest.approx(sk.log_loss(true, score), abs=1e-9)
    assert found["brier"].value == pytest.approx(sk.brier_score_loss(true, score), abs=1e-9)
    assert found["accuracy"].value == pytest.approx(sk.accuracy_score(true, score >= 0.5), abs=1e-9)
    area = area_of(*tally.grid.dense)
    exact = sk.roc_auc_score(true, score)
    assert abs(area.value - exact) <= min(area.hidden, 1e-5)
    assert area.hidden < 5e-4
    shares = own.class_metrics(np.column_stack([1 - score, score]), true.astype(np.int64))
    for name in ("log_loss", "brier", "accuracy"):
        assert found[name].value == pytest.approx(shares[name], abs=1e-9)
    place = np.searchsorted(view.score_edges, score)
    gaps = [
        (place == one).mean() * abs(true[place == one].mean() - score[place == one].mean()) for one in np.unique(place)
    ]
    assert found["calibration_error"].value == pytest.approx(sum(gaps), abs=1e-9)
    assert found["labelled_share"].value == 1.0
    for one in found.values():
        assert one.metric in METRICS
        assert one.value is None or one.low <= one.value <= one.high


def test_beijing_agrees_with_scikit_learn(beijing: Path) -> None:
    """On the air of Beijing the errors are scikit-learn's to 1e-9 of their size."""
    block, _, view, _ = scored.beijing(beijing)
    found, true, score = told(OutcomeTally.of(block, view)), block.label, block.score

    assert found["rmse"].value == pytest.approx(sk.root_mean_squared_error(true, score), rel=1e-9)
    assert found["mae"].value == pytest.approx(sk.mean_absolute_error(true, score), rel=1e-9)
    assert found["r2"].value == pytest.approx(sk.r2_score(true, score), abs=1e-9)
    held = own.interval_metrics(block.lower, block.upper, true)
    assert found["coverage"].value == pytest.approx(held["interval_coverage"])
    assert found["rmse"].low < found["rmse"].value < found["rmse"].high


def test_area_is_as_near_as_it_says() -> None:
    """The AUC of the scores is within what the cells may hide, also of tied, extreme and few scores."""
    rng = np.random.default_rng(3)
    for n_rows, power in [(4, 1), (50, 1), (500, 6), (5_000, 30), (5_000, 0.1)]:
        true = rng.random(n_rows) < 0.3
        true[:2] = [True, False]
        score = np.round(rng.random(n_rows) ** power, int(rng.integers(1, 9)))
        area = area_of(*ScoreGrid.of(score, true).dense)
        # Rounding of the two sums is all that may come on top.
        assert abs(area.value - sk.roc_auc_score(true, score)) <= area.hidden + 1e-12


def test_cells_are_ascending_and_hold_their_middles() -> None:
    """A larger probability is in no lower cell, and the middle of a cell is in that cell."""
    score = np.sort(np.concatenate([np.random.default_rng(1).random(1000), [0.0, 1.0, 1e-300, 1e-45, 0.5]]))
    cells = cells_of(score)

    assert all(low <= high for low, high in pairwise(cells.tolist()))
    assert cells_of(1.0 / (1.0 + np.exp(-cell_logits()))).tolist() == list(range(CELLS))


def test_interval_of_an_area_is_that_of_delong() -> None:
    """The variance is the one computed pair by pair, and the interval is around its log-odds."""
    rng = np.random.default_rng(4)
    true = rng.random(300) < 0.4
    score = (rng.random(300) + 0.3 * true) / 1.3
    area = area_of(*ScoreGrid.of(score, true).dense)
    cell = cells_of(score)
    wins = np.sign(cell[true][:, None] - cell[~true][None, :]) / 2 + 0.5
    spread = wins.mean(axis=1).var(ddof=1) / true.sum() + wins.mean(axis=0).var(ddof=1) / (~true).sum()
    half = 1.959963984540054 * math.sqrt(spread) / (area.value * (1 - area.value))
    ends = [1 / (1 + math.exp(-(math.log(area.value / (1 - area.value)) + side * half))) for side in (-1, 1)]

    assert [area.low + area.hidden, area.high - area.hidden] == pytest.approx(ends, abs=1e-9)


@pytest.mark.parametrize(("rows", "shift"), [(60, 0.0), (60, 2.0), (400, 1.0)])
def test_intervals_of_areas_hold_the_true_one(rows: int, shift: float) -> None:
    """Of 400 samples at least 92 in 100 have the true area in their interval, also near the ends."""
    rng = np.random.default_rng(int(rows + 10 * shift))
    expected = 0.5 * (1 + math.erf(shift / 2))
    held = 0
    for _ in range(400):
        true = rng.random(rows) < 0.3
        if true.all() or not true.any():
            continue
        area = area_of(*ScoreGrid.of(1 / (1 + np.exp(-rng.normal(size=rows) - shift * true)), true).dense)
        held += area.low <= expected <= area.high

    assert held >= 368


def test_calibration_error_knows_what_chance_adds() -> None:
    """Probabilities that hold have an interval that reaches 0 and seldom a small p-value; shifted ones do not."""
    rng = np.random.default_rng(8)
    reach, small = 0, 0
    for _ in range(100):
        score = rng.random(2_000)
        found = told(OutcomeTally.of(block_of(score, label=(rng.random(2_000) < score).astype(float)), View()))
        reach += found["calibration_error"].low == 0.0
        small += found["calibration_error"].p_value < 0.05
    wrong = told(OutcomeTally.of(block_of(score, label=(rng.random(2_000) < score**2).astype(float)), View()))

    assert reach >= 95
    assert small <= 14
    assert wrong["calibration_error"].low > 0.05
    assert wrong["calibration_error"].p_value < 1e-9


def test_published_intervals_come_out() -> None:
    """Newcombe's own example (1998, table II, row a, method 11), and the ratio's ends turned round."""
    gap = intervals.widest_gap([56, 48], [70, 80])
    assert [round(end, 4) for end in (gap.low, gap.high)] == [0.0428, 0.3422]
    one, two = ratio_of([56, 48], [70, 80]), ratio_of([48, 56], [80, 70])
    assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high))
    assert ratio_of([0, 0], [5, 5]) is None
    assert ratio_of([0, 3], [5, 5]).low == 0.0


def test_ratio_holds_the_true_one() -> None:
    """The interval of the ratio of two equal shares holds 1 in at least 95 of 100 samples."""
    rng = np.random.default_rng(6)
    held = sum(ratio_of(rng.binomial(300, 0.2, 2).tolist(), [300, 300]).high >= 1.0 for _ in range(1000))

    assert held >= 940


def test_more_than_two_classes_say_what_they_can() -> None:
    """Accuracy and calibration of the decision are told; what needs the other classes' probabilities is not."""
    block = block_of(np.array([0.9, 0.6, 0.5, 0.7]), decision=Codes(np.array([0, 1, 2, 1]), ("c", "a", "b")),
                     label=np.array([2.0, 0.0, 0.0, np.nan]))  # fmt: skip
    found = told(OutcomeTally.of(block, THREE))

    assert found["accuracy"].value == pytest.approx(2 / 3)
    assert found["labelled_share"].value == 0.75
    assert found["calibration_error"].value is not None
    assert all(found[name].value is None and found[name].note for name in ("auc", "log_loss", "brier"))


def test_windows_without_outcomes_say_so() -> None:
    """Nothing labelled, one class only, and a window that is too young each have their note."""
    nothing = told(OutcomeTally.of(block_of(np.array([0.2, 0.7])), View()))
    assert {one.value for one in nothing.values()} == {None, 0.0}
    assert nothing["auc"].note == "no outcome is known"
    one_class = told(OutcomeTally.of(block_of(np.array([0.2, 0.7]), label=np.zeros(2)), View()))
    assert (one_class["auc"].value, one_class["auc"].note) == (None, "outcomes of one class only")
    young = told(OutcomeTally.of(block_of(np.array([0.2, 0.7]), label=np.zeros(2)), View()), mature=False)
    assert list(young) == ["labelled_share"]
    assert young["labelled_share"].value is None


def test_young_rows_are_not_missing_an_outcome() -> None:
    """The share of labelled rows is of those old enough to have one."""
    tally = OutcomeTally.of(block_of(np.array([0.2, 0.7, 0.4]), label=np.array([1.0, np.nan, np.nan])), View())

    assert told(tally, expected=2)["labelled_share"].value == 0.5
    assert told(tally)["log_loss"].note == "1 of 3 outcomes are known"


@pytest.mark.parametrize("view", [View(), THREE, NUMBERS], ids=["binary", "multiclass", "regression"])
def test_loss_is_what_a_gate_asks_for(view: View) -> None:
    """Number, sum and sum of squares of one loss per labelled answer."""
    block = some_rows(view, 200, 11)
    known = ~np.isnan(block.score) & ~np.isnan(block.label)
    score, label = block.score[known], block.label[known]
    if view is NUMBERS:
        expected = np.abs(score - label)
    elif view is THREE:
        names = np.array([*block.decision.names, "none"])[block.decision.codes[known]]
        decided = names != "none"
        expected = (names != np.array(view.classes)[label.astype(int)])[decided].astype(float)
    else:
        expected = -np.log(np.where(label == 1, score, 1 - score))
    n, total, squares = OutcomeTally.of(block, view).loss()

    assert n == len(expected)
    assert (total, squares) == pytest.approx((expected.sum(), np.square(expected).sum()), rel=1e-9)
    assert OutcomeTally.of(take(block, np.zeros(200, bool)), view).loss() == (0, 0.0, 0.0)


def test_mean_of_one_value_has_no_interval() -> None:
    """One labelled row says what it was and not how sure that is."""
    found = told(OutcomeTally.of(block_of(np.array([0.25]), label=np.array([1.0])), View()))

    assert found["log_loss"].value == pytest.approx(math.log(4))
    assert found["log_loss"].low is None
