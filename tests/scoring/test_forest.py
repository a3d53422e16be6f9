"""The flat forest and the links have the booster's bits for every objective."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xgboost

from twinscore.errors import BundleInvalid
from twinscore.scoring.forest import FlatForest
from twinscore.scoring.link import LINKS, link_of

N_ROWS = 3000


def train(objective: str, **params: Any) -> tuple[xgboost.Booster, np.ndarray]:
    """A booster over numbers with gaps, a category of 70 values and one of 5."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(N_ROWS, 8)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.05] = np.nan
    rows[:, 6] = rng.integers(0, 70, N_ROWS)
    rows[:, 7] = rng.integers(0, 5, N_ROWS)
    rows[rng.random(N_ROWS) < 0.05, 6] = np.nan
    signal = np.nan_to_num(rows[:, 0]) + np.nan_to_num(rows[:, 6]) % 3 + rng.normal(size=N_ROWS)
    if objective.startswith("multi"):
        outcome = np.digitize(signal, [0.5, 2.0]).astype(float)
        params["num_class"] = 3
    elif "logistic" in objective:
        outcome = (signal > 1).astype(float)
    else:
        outcome = np.round(np.exp(signal / 3), 3)
    if objective == "reg:quantileerror":
        params["quantile_alpha"] = 0.5
    matrix = xgboost.DMatrix(rows, outcome, feature_types=["q"] * 6 + ["c"] * 2, enable_categorical=True)
    booster = xgboost.train({"objective": objective, "nthread": 2, **params}, matrix, 25)
    return xgboost.Booster(model_file=bytearray(booster.save_raw("ubj"))), rows


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float32).reshape(N_ROWS, -1).view(np.uint32)


@pytest.mark.parametrize("objective", sorted(LINKS))
def test_margins_and_scores_have_the_boosters_bits(objective: str) -> None:
    """For every supported objective, no bit differs on any row, categories and missing values included."""
    booster, rows = train(objective)
    margins = booster.inplace_predict(rows, predict_type="margin")
    forest = FlatForest(booster)

    np.testing.assert_array_equal(bits(np.stack([forest.margins(row) for row in rows])), bits(margins))
    if objective != "multi:softmax":
        np.testing.assert_array_equal(bits(link_of(objective)(margins)), bits(booster.inplace_predict(rows)))


def test_categories_out_of_range_go_where_the_booster_sends_them() -> None:
    """Codes that no split has seen, and negative ones, take the booster's way."""
    booster, rows = train("binary:logistic")
    rows[:, 6] = np.resize(np.array([70, 95, 96, 1000, -1], dtype=np.float32), N_ROWS)
    forest = FlatForest(booster)

    expected = bits(booster.inplace_predict(rows, predict_type="margin"))
    np.testing.assert_array_equal(bits(np.stack([forest.margins(row) for row in rows])), expected)


def test_other_boosters_are_refused_by_name() -> None:
    """Dart and linear boosters have no flat form; the message says which it was."""
    for kind in ("dart", "gblinear"):
        booster = xgboost.train({"booster": kind}, xgboost.DMatrix(np.eye(4), np.arange(4)), 2)
        with pytest.raises(BundleInvalid, match=kind):
            FlatForest(booster)


def test_unknown_objective_offers_the_nearest() -> None:
    """An objective whose scores we cannot reproduce is refused."""
    with pytest.raises(BundleInvalid, match="binary:logistic"):
        link_of("binary:logitraw")
