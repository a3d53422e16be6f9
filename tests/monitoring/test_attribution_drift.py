"""Drift of what matters: rankings of features by the size of their contributions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from twinscore.errors import SchemaMismatch
from twinscore.monitoring.attribution_drift import (
    AttributionTally,
    attribution_drift,
    ndcg,
    reference_attribution,
    sampled_rows,
)
from twinscore.monitoring.block import Codes
from twinscore.scoring.attribution_summary import AttributionSummary
from twinscore.testing.models import make_bundle, make_rows

from .scored import FIGURE, View, block_of, take

NAMES = tuple("abcdef")


def drift(live: AttributionTally, reference: AttributionTally) -> Any:
    """The one figure."""
    (found,) = attribution_drift(live, reference, FIGURE)
    return found


def rows_of(seed: int, n_rows: int, scale: np.ndarray) -> AttributionTally:
    """Made-up contributions whose mean sizes are in the order of `scale`."""
    values = np.random.default_rng(seed).normal(size=(n_rows, len(scale))) * scale
    return AttributionTally.of_contributions(values, NAMES[: len(scale)])


@given(values=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=2, max_size=12))
def test_ndcg_is_that_of_scikit_learn(values: list[tuple[int, int]]) -> None:
    """Ties included; of features that are worth nothing there is no figure."""
    worth, live = np.array(values, float).T
    expected = ndcg_score([worth], [live]) if worth.any() else None

    assert ndcg(worth, live) == (None if expected is None else pytest.approx(expected, abs=1e-12))


@settings(max_examples=30)
@given(n_rows=st.integers(0, 40), seed=st.integers(0, 999), cut=st.floats(0, 1), share=st.sampled_from([1.0, 0.5, 0.1]))
def test_any_split_gives_the_bits_of_one_pass(n_rows: int, seed: int, cut: float, share: float) -> None:
    """Sample and sums are the same for parts merged in either order, through JSON too."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_rows, 3)).astype(np.float32)

    def tally(part: np.ndarray) -> AttributionTally:
        return AttributionTally.of_contributions(part[sampled_rows(part, share)] / 3.0, NAMES[:3])

    mask = rng.random(n_rows) < cut
    whole = tally(rows)
    assert whole == tally(rows[mask]).merge(tally(rows[~mask])) == tally(rows[~mask]).merge(tally(rows[mask]))
    assert whole == AttributionTally.from_json(json.loads(json.dumps(whole.to_json()))).merge(AttributionTally())


def test_a_sample_is_as_large_as_asked() -> None:
    """About a tenth of different rows, whatever order they are in."""
    rows = np.random.default_rng(1).integers(0, 50, (20_000, 4)).astype(np.float32)
    chosen = sampled_rows(rows, 0.1)

    assert 1_800 < chosen.sum() < 2_200
    assert np.array_equal(chosen[::-1], sampled_rows(rows[::-1], 0.1))


def test_sums_are_those_of_a_summary() -> None:
    """The importance is the one that reports show."""
    values = np.random.default_rng(2).normal(size=(100, 3))
    tally = AttributionTally.of_contributions(values, NAMES[:3])

    assert tally.rows == 100
    assert tally.importance == pytest.approx(AttributionSummary.of(values, NAMES[:3]).importance)


def test_changed_ranking_is_told_with_what_moved() -> None:
    """The same ranking is 1, a reversed one is low, proved, and names the feature."""
    scale = np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    reference = rows_of(1, 500, scale)
    same, other = drift(rows_of(2, 500, scale), reference), drift(rows_of(3, 500, scale[::-1]), reference)

    assert same.value > 0.99
    assert same.p_value > 0.05
    expected = ndcg_score([reference.importance], [rows_of(3, 500, scale[::-1]).importance])
    assert other.value == pytest.approx(expected, abs=1e-12)
    assert other.value < 0.85
    assert other.p_value == 0.001
    assert other.note == "a from place 1 to 6"


def test_rankings_of_one_population_are_seldom_called_different() -> None:
    """Of 200 windows without a change at most 9 in 100 have a p-value below 0.05, even with features that are alike."""
    scale = np.array([1.0, 1.0, 1.0, 0.9, 0.9, 0.5])
    small = sum(drift(rows_of(2 * seed, 60, scale), rows_of(2 * seed + 1, 120, scale)).p_value < 0.05
                for seed in range(200))  # fmt: skip

    assert small <= 18


def test_few_rows_have_no_ranking() -> None:
    """Under 30 explained rows, and of features that contribute nothing, the figure says why it is none."""
    assert drift(rows_of(1, 29, np.ones(3)), rows_of(1, 99, np.ones(3))).note.startswith("the window has 29")
    assert drift(rows_of(1, 99, np.ones(3)), AttributionTally()).note.startswith("the reference has 0")
    assert drift(rows_of(1, 99, np.zeros(3)), rows_of(1, 99, np.zeros(3))).value is None
    with pytest.raises(SchemaMismatch, match="different features"):
        drift(rows_of(1, 99, np.ones(3)), rows_of(1, 99, np.ones(4)))
    with pytest.raises(SchemaMismatch, match="not sums of contributions"):
        AttributionTally.from_json({"features": ["a"], "sizes": []})


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_bundle_and_rows_rank_alike(tmp_path: Path, task: Any) -> None:
    """Fresh rows of the same kind rank as the bundle's golden rows do; a split of them gives the same bits."""
    bundle = make_bundle(tmp_path / "bundle", task, rows=600, trees=5)
    encoded = bundle.spec.encode(bundle.checker.conform(make_rows(task, 400, seed=5)))
    decided = Codes(np.random.default_rng(1).integers(0, len(bundle.card.classes), 400), bundle.card.classes)
    block = block_of(np.full(400, 0.5), features=encoded, decision=decided)
    view = View(classes=bundle.card.classes, positive=bundle.card.positive)
    whole = AttributionTally.of(block, view, bundle)
    half = np.arange(400) % 3 == 0
    parts = [AttributionTally.of(take(block, rows), view, bundle) for rows in (half, ~half)]

    assert whole == parts[1].merge(parts[0])
    assert drift(whole, reference_attribution(bundle)).value > 0.9
