"""Contributions are XGBoost's own, add up to the margin, and are the same for one row and for many."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from math import factorial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.bundle.features import infer_features
from twinscore.contract.compile import compile_contract
from twinscore.contract.infer import infer_contract
from twinscore.errors import SchemaMismatch
from twinscore.scoring import attribution_tables
from twinscore.scoring.attribution import EXACT, XGBOOST, Attribution, attribution_of, explain, explanation_schema, top
from twinscore.scoring.link import LINKS
from twinscore.scoring.table import margins_of, score
from twinscore.scoring.trees import read_trees
from twinscore.testing.models import make_bundle, make_rows

if TYPE_CHECKING:
    from pathlib import Path

    from twinscore.bundle.files import Bundle

TYPES = ["q", "q", "q", "c", "c"]
LIMIT = 1e-4


def made(
    objective: str, *, rows: int = 400, trees: int = 6, seed: int = 0, categories: int = 40, **params: Any
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
    matrix = xgboost.DMatrix(encoded, outcome, feature_types=TYPES, enable_categorical=True)
    booster = xgboost.train({"objective": objective, "nthread": 2, "seed": seed, **params}, matrix, trees)
    return xgboost.Booster(model_file=bytearray(booster.save_raw("ubj"))), encoded


def own(booster: xgboost.Booster, encoded: np.ndarray, types: list[str] | None = None) -> np.ndarray:
    """XGBoost's contributions and base, (n_rows, n_outputs, n_features + 1)."""
    matrix = xgboost.DMatrix(
        encoded, feature_types=types or TYPES, feature_names=booster.feature_names, enable_categorical=True
    )
    found: np.ndarray = booster.predict(matrix, pred_contribs=True)
    return found.reshape(len(encoded), -1, encoded.shape[1] + 1)


def furthest(booster: xgboost.Booster, encoded: np.ndarray, types: list[str] | None = None) -> tuple[float, float]:
    """Largest difference from XGBoost's contributions and base, and largest additivity error."""
    attribution = Attribution(booster)
    expected = own(booster, encoded, types)
    found = attribution.contributions(encoded).reshape(len(encoded), -1, encoded.shape[1])
    margins = booster.inplace_predict(encoded, predict_type="margin").reshape(len(encoded), -1)

    assert attribution.method == EXACT
    return (
        max(
            float(np.abs(found - expected[:, :, :-1]).max()), float(np.abs(attribution.base - expected[0, :, -1]).max())
        ),
        float(np.abs(found.sum(axis=2) + attribution.base - margins).max()),
    )


@pytest.mark.parametrize("objective", sorted(LINKS))
def test_contributions_are_xgboosts_for_every_objective(objective: str) -> None:
    """Within 1e-4 of `pred_contribs`, and of the margin when summed; categories and gaps included."""
    booster, encoded = made(objective, rows=1500, trees=20, max_depth=6)
    difference, error = furthest(booster, encoded)

    assert difference <= LIMIT
    assert error <= LIMIT


@settings(max_examples=60)
@given(
    objective=st.sampled_from(["binary:logistic", "multi:softprob", "reg:squarederror", "reg:gamma"]),
    depth=st.integers(1, 8),
    grow_policy=st.sampled_from(["depthwise", "lossguide"]),
    trees=st.integers(1, 6),
    categories=st.integers(2, 150),
    one_hot=st.sampled_from([1, 8, 1000]),
    seed=st.integers(0, 1000),
    n_rows=st.integers(1, 300),
)
def test_any_forest_is_explained_as_xgboost_does(
    objective: str, depth: int, grow_policy: str, trees: int, categories: int, one_hot: int, seed: int, n_rows: int
) -> None:
    """Paths that test a feature once and often, cells of one leaf and of two, few rows and many."""
    booster, encoded = made(
        objective, trees=trees, seed=seed, categories=categories, max_depth=depth, grow_policy=grow_policy,
        max_cat_to_onehot=one_hot,
    )  # fmt: skip
    difference, error = furthest(booster, np.ascontiguousarray(encoded[:n_rows]))

    assert difference <= LIMIT
    assert error <= LIMIT


def test_contributions_are_shapley_values_of_the_paths() -> None:
    """For a small forest they are the sum over all subsets of features, computed from the definition."""
    booster, encoded = made("binary:logistic", trees=3, max_depth=4)
    trees = read_trees(booster)

    def expectation(tree: Any, row: np.ndarray, known: frozenset[int], node: int = 0) -> float:
        """Mean of the tree when only some features are known: the row's way there, both by cover elsewhere."""
        if tree.left[node] < 0:
            return float(tree.value[node])
        left, feature = int(tree.left[node]), int(tree.feature[node])
        if feature not in known:
            shares = tree.cover[[left, left + 1]].astype(float) / float(tree.cover[node])
            return float(
                sum(s * expectation(tree, row, known, c) for s, c in zip(shares, (left, left + 1), strict=True))
            )
        value = row[feature]
        if np.isnan(value):
            right = not tree.default_left[node]
        elif node in tree.sets:
            right = int(value) in tree.sets[node]
        else:
            right = bool(value >= tree.value[node])
        return expectation(tree, row, known, left + right)

    for row in encoded[:4]:
        expected = np.zeros(5)
        for tree in trees.trees:
            for feature in range(5):
                others = [other for other in range(5) if other != feature]
                for size in range(5):
                    weight = factorial(size) * factorial(4 - size) / factorial(5)
                    for chosen in map(frozenset, combinations(others, size)):
                        gain = expectation(tree, row, chosen | {feature}) - expectation(tree, row, chosen)
                        expected[feature] += weight * gain

        np.testing.assert_allclose(Attribution(booster).contributions(row[None])[0], expected, atol=1e-6)


def test_one_row_has_the_bits_of_many_and_input_stays() -> None:
    """The walk for few rows adds the same numbers in the same order as the walk for many."""
    booster, encoded = made("multi:softprob", max_depth=6)
    before = encoded.copy()
    attribution = Attribution(booster)
    together = attribution.contributions(encoded)
    alone = np.concatenate([attribution.contributions(row[None]) for row in encoded[:150]])

    np.testing.assert_array_equal(alone, together[:150])
    np.testing.assert_array_equal(encoded, before)
    assert attribution.contributions(encoded[:0]).shape == (0, 3, 5)


def test_one_output_or_one_for_each_row() -> None:
    """A chosen output gives what asking for all of them gives there, from tables and from XGBoost."""
    booster, encoded = made("multi:softprob")
    decided = np.arange(len(encoded)) % 3
    for tables in (True, False):
        attribution = Attribution(booster, tables=tables)
        every = attribution.contributions(encoded)

        np.testing.assert_array_equal(attribution.contributions(encoded, output=2), every[:, 2])
        np.testing.assert_array_equal(
            attribution.contributions(encoded, output=decided), every[np.arange(len(encoded)), decided]
        )


def test_odd_values_and_unseen_categories_add_up() -> None:
    """Infinite values and categories that no split has seen go the forest's way, so the sum is the margin."""
    booster, encoded = made("binary:logistic", max_depth=6)
    encoded[:50, 0], encoded[50:100, 0] = np.inf, -np.inf
    encoded[:, 3] = np.resize(np.array([39, 40, 64, 1000, -1, 2.0**24, np.nan], dtype=np.float32), len(encoded))
    margins = booster.inplace_predict(encoded, predict_type="margin")
    attribution = Attribution(booster)
    for rows in (slice(None), slice(3), slice(50, 53)):
        sums = attribution.contributions(encoded[rows]).sum(axis=1) + attribution.base

        np.testing.assert_allclose(sums, margins[rows], atol=LIMIT)


def test_forests_without_a_test_have_a_base_only() -> None:
    """Trees of one leaf, and no trees, contribute nothing; base is the margin."""
    for booster, encoded in (made("binary:logistic", gamma=1e9), made("reg:squarederror", trees=0)):
        attribution = Attribution(booster)

        assert np.abs(attribution.contributions(encoded)).max() == 0.0
        np.testing.assert_allclose(
            np.resize(attribution.base, len(encoded)),
            booster.inplace_predict(encoded, predict_type="margin"),
            atol=1e-6,
        )


def test_a_model_without_tables_is_explained_by_xgboost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables beyond the bound, and boosters without a flat form, are said and answered by XGBoost."""
    booster, encoded = made("multi:softprob")
    monkeypatch.setattr(attribution_tables, "LARGEST_TABLES", 1 << 10)
    large = Attribution(booster)
    encoded[0, 0] = np.inf
    dart = xgboost.train({"booster": "dart"}, xgboost.DMatrix(encoded[1:], np.arange(len(encoded) - 1)), 3)
    other = Attribution(dart)

    assert (large.method, other.method) == (XGBOOST, XGBOOST)
    assert "more than" in str(large.mismatch)
    assert "dart" in str(other.mismatch)
    found = large.contributions(encoded)
    np.testing.assert_array_equal(found[1:], own(booster, encoded[1:])[:, :, :-1])
    margins = booster.inplace_predict(encoded, predict_type="margin")
    np.testing.assert_allclose(found.sum(axis=2) + large.base, margins, atol=LIMIT)
    assert other.contributions(encoded).shape == (len(encoded), 5)


def test_a_node_without_cover_is_left_to_xgboost() -> None:
    """Where no training row came by there is no share to divide by; it is said, and XGBoost explains."""
    booster, encoded = made("binary:logistic", categories=3)
    document = json.loads(bytes(booster.save_raw("json")).decode())
    document["learner"]["gradient_booster"]["model"]["trees"][2]["sum_hessian"][0] = 0.0
    attribution = Attribution(xgboost.Booster(model_file=bytearray(json.dumps(document).encode())))

    assert attribution.method == XGBOOST
    assert "tree 2" in str(attribution.mismatch)
    assert attribution.contributions(encoded).shape == encoded.shape


def test_rows_that_do_not_fit_are_refused() -> None:
    """Another width, and an output that is not there, are named."""
    booster, encoded = made("binary:logistic")
    attribution = Attribution(booster)

    with pytest.raises(SchemaMismatch, match="5 features"):
        attribution.contributions(encoded[:, :4])
    with pytest.raises(SchemaMismatch, match="Output 1 does not exist"):
        attribution.contributions(encoded, output=1)


@pytest.fixture(scope="module", params=["binary", "multiclass", "regression"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("attribution") / "b", request.param)


def test_a_bundle_is_explained_as_decided(bundle: Bundle) -> None:
    """Columns are as declared, rows add up to the margin of the decision, the base is the one in the bundle."""
    task = bundle.card.model.removesuffix("_model")
    table = bundle.checker.conform(make_rows(task, 300, 4))  # type: ignore[arg-type]
    margins = margins_of(table, bundle)
    explained = explain(table, bundle, margins)
    attribution = attribution_of(bundle)
    scale = max(1.0, float(np.abs(margins).max()))

    assert explained.schema == explanation_schema(bundle)
    assert attribution.method == EXACT
    assert attribution_of(bundle) is attribution
    np.testing.assert_allclose(attribution.base, bundle.shap_base, atol=LIMIT * scale)
    assert max(explained["additivity_error"].to_pylist()) <= LIMIT * scale
    stored = np.array(explained["contributions"].to_pylist(), dtype=np.float32)
    if task == "multiclass":
        decided = np.array([bundle.card.classes.index(name) for name in score(table, bundle)["decision"].to_pylist()])
        reached = margins[np.arange(len(margins)), decided]
        np.testing.assert_array_equal(explained["contribution_base"].to_numpy(), attribution.base[decided])
    else:
        reached = margins
    sums = stored.sum(axis=1, dtype=np.float64) + explained["contribution_base"].to_numpy()
    np.testing.assert_array_equal(np.abs(sums - reached), explained["additivity_error"].to_numpy())
    assert explain(table, bundle).equals(explained)
    assert explain(table.slice(0, 0), bundle).schema == explanation_schema(bundle)


def test_tables_that_differ_are_set_aside(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a golden row is explained in another way than XGBoost does, XGBoost explains, and it is said why."""
    right = attribution_tables.tabulate

    def wrong(trees: Any) -> Any:
        plan = right(trees)
        plan.tables[:] *= np.float32(1.5)
        return plan

    monkeypatch.setattr("twinscore.scoring.attribution.tabulate", wrong)
    other = replace(bundle, booster=xgboost.Booster(model_file=bytearray(bundle.booster.save_raw("ubj"))))
    attribution = attribution_of(other)

    assert attribution.method == XGBOOST
    assert "from XGBoost's contributions on golden rows" in str(attribution.mismatch)


def test_real_rows_are_explained_as_xgboost_does(adult_train: Path, adult_test: Path) -> None:
    """Census income with its categories and gaps: within 1e-4 on 2,000 rows the model has not seen."""
    raw = pq.read_table(adult_train)
    conform = compile_contract(infer_contract(raw.drop_columns(["label"]), name="adult", key=["row_id"])).conform
    train, test = conform(raw), conform(pq.read_table(adult_test).slice(0, 2000))
    spec = infer_features(train, exclude=["row_id"])
    types = spec.feature_types
    matrix = xgboost.DMatrix(
        spec.encode(train), raw["label"].to_numpy(), feature_types=types, feature_names=spec.names,
        enable_categorical=True,
    )  # fmt: skip
    params = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.1, "nthread": 2}
    difference, error = furthest(xgboost.train(params, matrix, 100), spec.encode(test), types)

    assert difference <= LIMIT
    assert error <= LIMIT


@given(
    values=st.integers(1, 6).flatmap(
        lambda width: st.lists(st.lists(st.integers(-3, 3), min_size=width, max_size=width), min_size=1, max_size=8)
    ),
    k=st.integers(0, 8),
)
def test_top_is_a_sort_by_size(values: list[list[int]], k: int) -> None:
    """The k largest by absolute value, of equal ones the first feature, as a stable sort of each row gives them."""
    contributions = np.array(values, dtype=np.float64)
    places, found = top(contributions, k)
    expected = [[place for _, place in sorted((-abs(x), place) for place, x in enumerate(row))][:k] for row in values]

    assert places.tolist() == expected
    np.testing.assert_array_equal(found, np.take_along_axis(contributions, places, axis=1))


def test_explanations_survive_parquet(bundle: Bundle, tmp_path: Path) -> None:
    """A fixed list of float32 is written and read back as it is."""
    task = bundle.card.model.removesuffix("_model")
    explained = explain(bundle.checker.conform(make_rows(task, 20, 4)), bundle)  # type: ignore[arg-type]
    pq.write_table(explained, tmp_path / "e.parquet")

    assert pa.table(pq.read_table(tmp_path / "e.parquet")).equals(explained)
