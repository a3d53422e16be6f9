"""Counts of groups, their rates, and gaps between them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fairlearn import metrics as fair
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_score

from twinscore.errors import SchemaMismatch
from twinscore.monitoring.block import Block, Codes
from twinscore.monitoring.fairness import fairness
from twinscore.monitoring.figure import Figure
from twinscore.monitoring.group_tally import GroupCounts, GroupTally
from twinscore.monitoring.metric import METRICS

from .scored import FIGURE, View, adult, block_of, take

VIEW = View()


def table_of(figures: list[Figure]) -> dict[tuple[str, str], Any]:
    """Figures by metric and subject."""
    return {(one.metric, one.subject): one for one in figures}


def some_rows(n_rows: int, seed: int) -> Block:
    """A block with two group columns, some rows without group, outcome or decision."""
    rng = np.random.default_rng(seed)
    groups = {
        "a": Codes(rng.integers(-1, 3, n_rows), ("x", "y", "z")),
        "b": Codes(rng.integers(0, 2, n_rows), ("u", "(missing)")),
    }
    label = np.where(rng.random(n_rows) < 0.3, np.nan, rng.integers(0, 2, n_rows).astype(float))
    decision = Codes(rng.integers(-1, 2, n_rows), ("yes", "no"))
    return block_of(rng.random(n_rows), groups=groups, label=label, decision=decision)


@given(n_rows=st.integers(0, 60), seed=st.integers(0, 999), cut=st.floats(0, 1))
def test_any_split_gives_the_counts_of_one_pass(n_rows: int, seed: int, cut: float) -> None:
    """Parts merged in either order are equal to the whole, and JSON gives the same counts back."""
    block = some_rows(n_rows, seed)
    mask = np.random.default_rng(seed + 1).random(n_rows) < cut
    one, two = GroupTally.of(take(block, mask), VIEW), GroupTally.of(take(block, ~mask), VIEW)

    whole = GroupTally.of(block, VIEW)
    assert whole == one.merge(two) == two.merge(one)
    assert whole == GroupTally.from_json(json.loads(json.dumps(whole.to_json())))
    assert whole == whole.merge(GroupTally.of(take(block, np.zeros(n_rows, bool)), VIEW))


def test_counts_are_those_of_the_rows() -> None:
    """Each row is counted once, in its group, as what its decision and its outcome make it."""
    codes = Codes(np.array([0, 0, 0, 0, 0, 1, -1]), ("x", "y"))
    block = block_of(
        np.array([0.9, 0.9, 0.1, 0.1, 0.9, 0.9, 0.9]),
        groups={"a": codes},
        label=np.array([1, 0, 0, 1, np.nan, 1, 1], float),
    )
    tally = GroupTally.of(block, VIEW)

    assert tally.columns == {"a": {"x": GroupCounts(5, 3, 1, 1, 1, 1), "y": GroupCounts(1, 1, 1, 0, 0, 0)}}
    assert tally.selections() == {"a=x": (5, 3), "a=y": (1, 1)}


@pytest.mark.parametrize("view", [View("regression", (), None), View(classes=("a", "b", "c"), positive=None)])
def test_numbers_and_more_classes_select_nobody(view: View) -> None:
    """Where there is no positive class there are no counts of groups."""
    assert GroupTally.of(some_rows(50, 1), view) == GroupTally()


def test_foreign_counts_are_refused() -> None:
    """What is not counts of groups is said to be none."""
    with pytest.raises(SchemaMismatch, match="not counts of groups"):
        GroupTally.from_json({"sex": {"Female": ["many"]}})


@pytest.mark.parametrize("column", ["sex", "race", "education"])
def test_adult_agrees_with_fairlearn(adult_train: Path, adult_test: Path, column: str) -> None:
    """Every rate, gap and ratio on the census data is fairlearn's to 1e-9."""
    block, view = adult(adult_train, adult_test)
    found = table_of(fairness(GroupTally.of(block, view), FIGURE, fewest=2))
    group = np.array(block.groups[column].names)[block.groups[column].codes]
    true, decided = block.label, (block.score >= 0.5).astype(int)
    rates = {
        "selection_rate": fair.selection_rate, "tpr": fair.true_positive_rate, "fpr": fair.false_positive_rate,
        "fnr": fair.false_negative_rate, "precision": lambda y, p: precision_score(y, p, zero_division=np.nan),
    }  # fmt: skip
    frame = fair.MetricFrame(metrics=rates, y_true=true, y_pred=decided, sensitive_features=group)
    for name in rates:
        for value, expected in frame.by_group[name].items():
            told = found[name, f"{column}={value}"].value
            assert (told is None and np.isnan(expected)) or told == pytest.approx(expected, abs=1e-9)
    for name in ("selection_rate", "tpr", "fpr", "fnr"):
        assert found[f"{name}_gap", column].value == pytest.approx(frame.difference()[name], abs=1e-9)
    known = {"y_true": true, "y_pred": decided, "sensitive_features": group}
    odds = max(found["tpr_gap", column].value or 0, found["fpr_gap", column].value or 0)
    assert odds == pytest.approx(fair.equalized_odds_difference(**known), abs=1e-9)
    assert found["selection_rate_gap", column].value == pytest.approx(fair.demographic_parity_difference(**known))
    assert found["selection_rate_ratio", column].value == pytest.approx(fair.demographic_parity_ratio(**known))
    for one in found.values():
        assert one.metric in METRICS
        assert one.value is None or one.low <= one.value <= one.high


def test_small_groups_are_in_no_gap() -> None:
    """A group under the least size has no rate, and the note of the gap names it."""
    columns = {"a": {"x": GroupCounts(500, 100), "y": GroupCounts(500, 110), "z": GroupCounts(99, 99)}}
    found = table_of(fairness(GroupTally(columns), FIGURE, fewest=100))

    assert found["selection_rate", "a=z"].value is None
    assert found["selection_rate", "a=z"].note == "99 of 100 rows"
    assert found["selection_rate_gap", "a"].value == pytest.approx(0.02)
    assert found["selection_rate_gap", "a"].note == "y less x, of 2 groups; left out as too small: z"
    assert found["selection_rate_ratio", "a"].value == pytest.approx(100 / 110)
    assert ("tpr", "a=x") not in found  # no outcome is known, so nothing is said of it


def test_a_gap_needs_two_groups() -> None:
    """With one group that is large enough there is no gap, and the figure says why."""
    found = table_of(fairness(GroupTally({"a": {"x": GroupCounts(500, 9, 4, 5, 400, 91)}}), FIGURE))

    assert found["fpr_gap", "a"].value is None
    assert found["fpr_gap", "a"].note == "fewer than two groups are large enough"
    assert found["fpr", "a=x"].value == pytest.approx(5 / 405)


def test_outcomes_that_are_not_due_are_not_judged() -> None:
    """Before a window is mature only selections are told."""
    counts = {"x": GroupCounts(500, 99, 40, 59, 310, 91), "y": GroupCounts(500, 99, 40, 59, 310, 91)}
    told = {one.metric for one in fairness(GroupTally({"a": counts}), FIGURE, mature=False)}

    assert told == {"selection_rate", "selection_rate_gap", "selection_rate_ratio"}


def test_equal_groups_seldom_alarm_and_a_true_gap_is_found() -> None:
    """Of windows with equal groups of 200 rows at most 5 % have a gap above 0; a gap of 0.1 in 5,000 rows is found."""
    rng = np.random.default_rng(20260301)
    windows, alarms = 400, dict.fromkeys((2, 5, 10), 0)
    for groups in alarms:
        for _ in range(windows):
            columns = {"g": {str(one): _drawn(rng, 200, 0.3) for one in range(groups)}}
            alarms[groups] += _alarm(columns)
    missed = sum(not _alarm({"g": {"x": _drawn(rng, 2500, 0.3), "y": _drawn(rng, 2500, 0.4)}}) for _ in range(windows))

    # 5 % of 400, and what chance may add to it in 999 of 1,000 such tests.
    assert all(number <= 34 for number in alarms.values())
    assert missed == 0


def _drawn(rng: np.random.Generator, rows: int, rate: float) -> GroupCounts:
    positive = int(rng.binomial(rows, 0.2))
    fp, tp = int(rng.binomial(rows - positive, rate)), int(rng.binomial(positive, 0.7))
    return GroupCounts(rows, fp + tp, tp, fp, rows - positive - fp, positive - tp)


def _alarm(columns: dict) -> bool:
    found = table_of(fairness(GroupTally(columns), FIGURE))
    return (found["fpr_gap", "g"].low or 0) > 0
