"""Intervals of drift: those of scipy and of the literature, and as often right as they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from twinscore.bundle.shift import psi
from twinscore.monitoring.drift_effect import cramers_v, js_distance, ks_distance
from twinscore.monitoring.drift_interval import distances_between, ks_between, share_difference
from twinscore.monitoring.intervals import wilson


@given(st.integers(1, 100_000), st.data())
def test_share_has_the_interval_of_scipy(rows: int, data: st.DataObject) -> None:
    """Wilson's, to 1e-9, at the ends too."""
    count = data.draw(st.integers(0, rows))
    expected = stats.binomtest(count, rows).proportion_ci(0.95, method="wilson")

    assert (expected.low, expected.high) == pytest.approx(wilson(count, rows), abs=1e-9)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((6, 7, 2, 7), (0.0582, 0.8062)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
        ((0, 10, 0, 20), (-0.1611, 0.2775)),
        ((10, 10, 0, 10), (0.6075, 1.0000)),
    ],
)
def test_difference_of_shares_is_as_published(counts: tuple[int, int, int, int], expected: tuple[float, float]) -> None:
    """Newcombe (1998), table II, method 10, to the four digits printed there."""
    assert expected == pytest.approx(share_difference(*counts), abs=6e-5)


@pytest.mark.parametrize("moved", [0.0, 0.2, 0.5, 1.0])
def test_intervals_hold_what_is_true(moved: float) -> None:
    """In at least 93 of 100 draws each holds the population's own distance, for no change, small and large ones."""
    rng = np.random.default_rng(17)
    share = np.full(10, 0.1)
    later = np.diff(stats.norm.cdf(stats.norm.ppf(np.linspace(0, 1, 11)), loc=moved))
    scale = 10**9
    true_later, true_share = np.round(later * scale).astype(int), np.round(share * scale).astype(int)
    truth = (
        psi(true_later.tolist(), true_share.tolist()), js_distance(true_later, true_share),
        cramers_v(true_later, true_share), ks_distance(true_later, true_share),
    )  # fmt: skip
    held = np.zeros(4)
    for _ in range(400):
        a, r = rng.multinomial(2_000, later), rng.multinomial(5_000, share)
        between = distances_between(a, r)
        assert between is not None
        ends = (*between, ks_between(ks_distance(a, r), 2_000, 5_000))
        held += [low <= true + 1e-9 and true - 1e-9 <= high for (low, high), true in zip(ends, truth, strict=True)]

    assert (held / 400 >= 0.93).all(), held / 400


@given(st.lists(st.tuples(st.integers(5, 9_000), st.integers(5, 9_000)), min_size=2, max_size=25))
def test_figure_is_within_its_interval(cells: list[tuple[int, int]]) -> None:
    """However far apart the two are, up to what is not a number at all."""
    a, r = np.array(cells).T
    between = distances_between(a, r)
    assert between is not None

    for (low, high), found in zip(
        between, (psi(a.tolist(), r.tolist()), js_distance(a, r), cramers_v(a, r)), strict=True
    ):
        assert 0 <= low <= found + 1e-9
        assert found - 1e-9 <= high < np.inf


def test_few_rows_have_no_interval() -> None:
    """A cell with fewer than five rows on either side, or a single cell."""
    assert distances_between(np.array([4, 100]), np.array([50, 50])) is None
    assert distances_between(np.array([40, 100]), np.array([50, 0])) is None
    assert distances_between(np.array([400]), np.array([50])) is None
