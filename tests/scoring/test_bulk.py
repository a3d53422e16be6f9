"""The bulk forest has the booster's bits: any shape of tree, block, category and number of threads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.scoring.bulk import BulkForest, booster_margins, bulk_of
from twinscore.scoring.link import LINKS
from twinscore.scoring.row import RowScorer
from twinscore.scoring.table import margins_of
from twinscore.testing.models import make_bundle, make_rows

if TYPE_CHECKING:
    from pathlib import Path


def made(
    objective: str, *, rows: int = 600, trees: int = 7, seed: int = 0, categories: int = 70, **params: Any
) -> tuple[xgboost.Booster, np.ndarray]:
    """A booster over three numbers with gaps and two categories, and its training rows."""
    rng = np.random.default_rng(seed)
    encoded = rng.normal(size=(rows, 5)).astype(np.float32)
    encoded[:, 3] = rng.integers(0, categories, rows)
    encoded[:, 4] = rng.integers(0, 4, rows)
    encoded[rng.random(encoded.shape) < 0.08] = np.nan
    signal = np.nan_to_num(encoded[:, 0]) + np.nan_to_num(encoded[:, 3]) % 3 + rng.normal(size=rows)
    if objective.startswith("multi"):
        outcome = np.digitize(signal, [0.5, 2.0]).astype(float)
        params["num_class"] = 3
    elif "logistic" in objective:
        outcome = (signal > 1).astype(float)
    else:
        outcome = np.round(np.exp(signal / 3), 3)
    if objective == "reg:quantileerror":
        params["quantile_alpha"] = 0.5
    matrix = xgboost.DMatrix(encoded, outcome, feature_types=["q", "q", "q", "c", "c"], enable_categorical=True)
    booster = xgboost.train({"objective": objective, "nthread": 2, "seed": seed, **params}, matrix, trees)
    return xgboost.Booster(model_file=bytearray(booster.save_raw("ubj"))), encoded


def differing(booster: xgboost.Booster, encoded: np.ndarray, **how: Any) -> int:
    expected = np.asarray(booster.inplace_predict(encoded, predict_type="margin"), dtype=np.float32)
    found = BulkForest(booster).margins(encoded, **how)

    assert found.shape == expected.shape
    return int((found.view(np.uint32) != expected.view(np.uint32)).sum())


@pytest.mark.parametrize("objective", sorted(LINKS))
def test_margins_have_the_boosters_bits_for_every_objective(objective: str) -> None:
    """No bit differs, categories and missing values included."""
    booster, encoded = made(objective, rows=3000, trees=25, max_depth=6)

    assert differing(booster, encoded) == 0


@settings(max_examples=60)
@given(
    objective=st.sampled_from(["binary:logistic", "multi:softprob", "reg:squarederror", "count:poisson"]),
    depth=st.integers(1, 10),
    grow_policy=st.sampled_from(["depthwise", "lossguide"]),
    trees=st.integers(1, 9),
    categories=st.integers(2, 200),
    one_hot=st.sampled_from([1, 8, 1000]),
    seed=st.integers(0, 1000),
    n_rows=st.integers(1, 600),
)
def test_any_forest_has_the_boosters_bits(
    objective: str, depth: int, grow_policy: str, trees: int, categories: int, one_hot: int, seed: int, n_rows: int
) -> None:
    """Trees below and above 64 exits, sets of one and of several words, blocks that are full and that are not."""
    booster, encoded = made(
        objective, trees=trees, seed=seed, categories=categories, max_depth=depth, grow_policy=grow_policy,
        max_cat_to_onehot=one_hot, min_child_weight=0,
    )  # fmt: skip

    assert differing(booster, np.ascontiguousarray(encoded[:n_rows])) == 0


def test_odd_values_go_where_the_booster_sends_them() -> None:
    """Infinities, thresholds themselves, unseen, negative, broken and huge categories."""
    booster, encoded = made("binary:logistic", rows=3000, trees=20, max_depth=8)
    thresholds = booster.trees_to_dataframe()["Split"].dropna().to_numpy(np.float32)
    rng = np.random.default_rng(1)
    encoded[:, :3] = rng.choice(np.concatenate([thresholds, [np.inf, -np.inf, 3e38, -0.0, np.nan]]), (3000, 3))
    odd = np.array([70, 95, 96, 1000, -1, -0.5, 0.5, 2.75, 2.0**24, 3e9, 1e30, np.inf, -np.inf, np.nan, -0.0, 31, 32])
    encoded[:, 3:] = rng.choice(odd.astype(np.float32), (3000, 2))

    assert differing(booster, encoded) == 0


def test_trees_of_one_leaf_and_no_trees_at_all() -> None:
    """A forest without a condition gives the base margin and its leaves."""
    booster, encoded = made("binary:logistic", gamma=1e9)
    none, _ = made("reg:squarederror", trees=0)

    assert differing(booster, encoded) == 0
    assert differing(none, encoded) == 0


def test_threads_and_slices_change_no_bit() -> None:
    """Rows split over threads, and rows scored in pieces, have the bits of the whole."""
    booster, encoded = made("multi:softprob", rows=9001, trees=10, max_depth=7)
    forest = BulkForest(booster)
    whole = forest.margins(encoded)
    pieces = [forest.margins(encoded[first : first + 517]) for first in range(0, len(encoded), 517)]

    assert differing(booster, encoded, threads=4) == 0
    np.testing.assert_array_equal(whole, np.concatenate(pieces))


def test_input_stays_as_it_was_and_no_rows_are_fine() -> None:
    """Rows are only read; none give no margins."""
    booster, encoded = made("binary:logistic")
    before = encoded.copy()
    forest = BulkForest(booster)
    forest.margins(encoded)

    np.testing.assert_array_equal(encoded, before)
    assert forest.margins(encoded[:0]).shape == (0,)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_tables_are_scored_by_the_forest(task: Any, tmp_path: Path) -> None:
    """A bundle's margins come from the forest, made once, with the booster's bits and its shape."""
    bundle = make_bundle(tmp_path / "b", task)
    table = bundle.checker.conform(make_rows(task, 700, 5))
    expected = booster_margins(bundle.spec.encode(table), bundle)

    assert bulk_of(bundle).mismatch is None
    assert bulk_of(bundle) is bulk_of(bundle)
    for threads in (None, 1, 2):
        found = margins_of(table, bundle, threads=threads)
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


def test_a_forest_that_differs_is_set_aside_for_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When one bit of a golden row differs, the booster answers tables and single rows, and it is said why."""
    bundle = make_bundle(tmp_path / "b")
    table = bundle.checker.conform(make_rows(rows=50, seed=5))
    right = BulkForest.margins

    def one_bit_off(self: BulkForest, encoded: Any, **how: Any) -> Any:
        margins = right(self, encoded, **how)
        margins[3] = np.nextafter(margins[3], np.float32(np.inf))
        return margins

    monkeypatch.setattr(BulkForest, "margins", one_bit_off)
    found = margins_of(table, bundle, threads=1)
    scorer = RowScorer(bundle)

    np.testing.assert_array_equal(found, booster_margins(bundle.spec.encode(table), bundle))
    assert "1 of 300 golden rows differ; row 3" in str(bulk_of(bundle).mismatch)
    assert (scorer.uses_forest, scorer.mismatch) == (False, bulk_of(bundle).mismatch)


def test_a_booster_without_flat_form_answers_itself(tmp_path: Path) -> None:
    """Dart has no flat form; its tables are scored by XGBoost."""
    bundle = make_bundle(tmp_path / "b")
    table = bundle.checker.conform(make_rows(rows=50, seed=5))
    encoded = bundle.spec.encode(table)
    dart = xgboost.train(
        {"booster": "dart", "objective": "binary:logistic"},
        xgboost.DMatrix(encoded, np.arange(50) % 2, feature_types=bundle.spec.feature_types, enable_categorical=True),
        3,
    )
    other = replace(bundle, booster=dart)

    np.testing.assert_array_equal(margins_of(table, other), dart.inplace_predict(encoded, predict_type="margin"))
    assert "dart" in str(bulk_of(other).mismatch)
