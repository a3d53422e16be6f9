"""Summaries of contributions merge, whatever the split, and survive JSON."""

from __future__ import annotations

import json
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from twinscore.errors import SchemaMismatch
from twinscore.scoring.attribution_summary import AttributionSummary

FIELDS = ("total", "absolute", "squares", "least", "most")
NAMES = ("age", "debt", "city")


def values() -> st.SearchStrategy[np.ndarray]:
    return st.integers(0, 40).flatmap(
        lambda rows: arrays(np.float64, (rows, 3), elements=st.floats(-1e6, 1e6, allow_subnormal=False))
    )


@given(contributions=values(), cuts=st.lists(st.integers(0, 40), max_size=5))
def test_any_split_merges_to_the_same(contributions: np.ndarray, cuts: list[int]) -> None:
    """Counts and ends exactly, sums within 1e-12 of the sum of sizes."""
    whole = AttributionSummary.of(contributions, NAMES)
    pieces = [AttributionSummary.of(part, NAMES) for part in np.split(contributions, sorted(cuts))]
    merged = reduce(AttributionSummary.merge, pieces)

    assert merged.rows == whole.rows == len(contributions)
    for name in ("least", "most"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))
    assert np.all(np.abs(merged.total - whole.total) <= 1e-12 * whole.absolute)
    np.testing.assert_allclose(merged.absolute, whole.absolute, rtol=1e-12)
    np.testing.assert_allclose(merged.squares, whole.squares, rtol=1e-12)


@given(contributions=values())
def test_json_keeps_every_bit(contributions: np.ndarray) -> None:
    """A summary that was written as JSON text and read is the same, that of no rows included."""
    summary = AttributionSummary.of(contributions, NAMES)
    read = AttributionSummary.from_json(json.loads(json.dumps(summary.to_json(), allow_nan=False)))

    assert (read.rows, read.features) == (summary.rows, NAMES)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(read, name), getattr(summary, name))


def test_it_says_what_it_should() -> None:
    """Sums, sizes, squares, ends and mean sizes of two rows; none without rows."""
    summary = AttributionSummary.of(np.array([[1.0, -2.0], [3.0, 0.5]], dtype=np.float32), ("a", "b"))

    assert summary.total.tolist() == [4.0, -1.5]
    assert summary.squares.tolist() == [10.0, 4.25]
    assert (summary.least.tolist(), summary.most.tolist()) == ([1.0, -2.0], [3.0, 0.5])
    assert summary.importance.tolist() == [2.0, 1.25]
    assert np.isnan(AttributionSummary.of(np.empty((0, 2)), ("a", "b")).importance).all()


def test_what_does_not_fit_is_refused() -> None:
    """Other features, another order, another width and broken documents are named."""
    one = AttributionSummary.of(np.zeros((1, 2)), ("a", "b"))

    with pytest.raises(SchemaMismatch, match="differ in b, c"):
        one.merge(AttributionSummary.of(np.zeros((1, 2)), ("a", "c")))
    with pytest.raises(SchemaMismatch, match="their order"):
        one.merge(AttributionSummary.of(np.zeros((1, 2)), ("b", "a")))
    with pytest.raises(SchemaMismatch, match="3 features"):
        AttributionSummary.of(np.zeros((1, 2)), NAMES)
    with pytest.raises(SchemaMismatch, match="'squares' does not fit"):
        AttributionSummary.from_json({**one.to_json(), "squares": [1.0]})
    with pytest.raises(SchemaMismatch, match="KeyError"):
        AttributionSummary.from_json({"rows": 1})
