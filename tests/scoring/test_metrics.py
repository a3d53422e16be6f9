"""Metrics, against their definitions written out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.scoring.metrics import (
    auc,
    class_metrics,
    interval_metrics,
    metrics_by_group,
    number_metrics,
    set_metrics,
)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool]]) -> None:
    """With ties counting half, AUC is the share of (positive, negative) pairs that the score orders right."""
    positives = [score for score, positive in rows if positive]
    negatives = [score for score, positive in rows if not positive]

    found = auc(np.array([score for score, _ in rows], dtype=float), np.array([positive for _, positive in rows]))

    if not positives or not negatives:
        assert found is None
    else:
        pairs = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
        assert pytest.approx(np.mean(pairs)) == found


def test_two_classes_are_measured_by_their_definitions() -> None:
    """Log loss, Brier score and accuracy of four rows, worked out by hand."""
    positive = np.array([0.9, 0.2, 0.6, 0.4])
    outcome = np.array([1, 0, 0, 1])

    found = class_metrics(np.column_stack([1 - positive, positive]), outcome)

    assert pytest.approx(-np.log([0.9, 0.8, 0.4, 0.4]).mean()) == found["log_loss"]
    assert pytest.approx(np.mean([0.01, 0.04, 0.36, 0.36])) == found["brier"]
    assert found["accuracy"] == 0.5
    assert found["auc"] == 0.75
    assert found["n"] == 4


def test_three_classes_average_one_against_the_rest() -> None:
    """AUC of several classes is the mean over the classes that occur."""
    probability = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1]])

    found = class_metrics(probability, np.array([0, 1, 0, 1]))

    assert found["auc"] == 1.0
    assert found["accuracy"] == 0.75


def test_sets_and_intervals_count_what_they_hold() -> None:
    """Coverage is the share of rows held, size and width are means."""
    member = np.array([[True, False], [True, True], [False, False]])

    assert set_metrics(member, np.array([0, 1, 1])) == {"set_coverage": 2 / 3, "set_size": 1.0}
    assert interval_metrics(np.array([0.0, 0.0]), np.array([1.0, 3.0]), np.array([1.0, 4.0])) == {
        "interval_coverage": 0.5,
        "interval_width": 2.0,
    }


def test_numbers_are_measured_by_their_definitions() -> None:
    """RMSE, MAE and R2 of three rows, worked out by hand; a constant outcome has no R2."""
    found = number_metrics(np.array([1.0, 2.0, 5.0]), np.array([1.0, 2.0, 3.0]))

    assert found == {"n": 3.0, "rmse": pytest.approx(np.sqrt(4 / 3)), "mae": pytest.approx(2 / 3), "r2": -1.0}
    assert "r2" not in number_metrics(np.array([1.0, 2.0]), np.array([3.0, 3.0]))


def test_groups_are_complete_and_small_ones_only_counted() -> None:
    """Every row is in one group, a missing value is a group, and small groups get no metrics."""
    values = pa.chunked_array([["a"] * 40 + [None] * 35, ["b"] * 5])

    found = metrics_by_group({"city": values}, lambda rows: {"n": float(len(rows)), "first": float(rows[0])})

    assert found == {"city": {"(missing)": {"n": 35.0, "first": 40.0}, "a": {"n": 40.0, "first": 0.0}, "b": {"n": 5.0}}}
