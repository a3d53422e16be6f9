"""The walk where it is easiest to be wrong: uneven trees, odd numbers of them, infinities, deep trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xgboost

from twinscore.scoring.forest import FlatForest


def booster_on(rows: np.ndarray, trees: int, **params: Any) -> xgboost.Booster:
    outcome = np.nan_to_num(rows).sum(axis=1) > 0
    matrix = xgboost.DMatrix(rows, outcome)
    return xgboost.train({"objective": "binary:logistic", "nthread": 1, **params}, matrix, trees)


def made_rows() -> np.ndarray:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(1000, 4)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    return rows


def differing(booster: xgboost.Booster, rows: np.ndarray) -> int:
    expected = booster.inplace_predict(rows, predict_type="margin")
    forest = FlatForest(booster)
    actual = np.concatenate([forest.margins(row) for row in rows])
    return int((actual.view(np.uint32) != expected.view(np.uint32)).sum())


@pytest.mark.parametrize("trees", [1, 2, 3, 4, 5])
def test_any_number_of_trees(trees: int) -> None:
    """Groups of four that are not full add exactly their own trees."""
    rows = made_rows()

    assert differing(booster_on(rows, trees), rows) == 0


def test_uneven_deep_trees_and_stumps() -> None:
    """Trees grown leaf by leaf, and trees that are one leaf, end where the booster ends."""
    rows = made_rows()

    assert differing(booster_on(rows, 9, grow_policy="lossguide", max_leaves=60, max_depth=0), rows) == 0
    assert differing(booster_on(rows, 5, gamma=1e9), rows) == 0


def test_infinities_and_equal_thresholds() -> None:
    """A value on a threshold goes right, and an infinite one does not leave a leaf."""
    rows = made_rows()
    booster = booster_on(rows, 6)
    thresholds = [float(value) for value in booster.trees_to_dataframe()["Split"].dropna()]
    odd = np.array([*thresholds, np.inf, -np.inf, 3e38, -0.0], dtype=np.float32)
    # The booster itself refuses infinity in data, so it is asked only on the finite rows.
    grid = np.random.default_rng(6).choice(odd[np.isfinite(odd)], size=(1000, 4))
    forest = FlatForest(booster)

    assert differing(booster, grid) == 0
    assert np.isfinite(forest.margins(np.full(4, np.inf, dtype=np.float32))).all()
