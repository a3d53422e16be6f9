"""The level: windows without drift as they are drawn, corrected p-values, and few false alarms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from twinscore.bundle.profile import bin_counts, bin_edges
from twinscore.monitoring.drift_counts import Reference, counted
from twinscore.monitoring.drift_level import adjusted, draw_windows, grid_rows, level_of, null_p_values, simes
from twinscore.monitoring.drift_proof import Floor

FEATURES = {
    **{f"number_{place}": counted("numeric", np.full(20, 150), missing=place) for place in range(12)},
    **{f"kind_{place}": counted("categorical", [2_000, 700, 250, 40, 9, 1, 0]) for place in range(4)},
}
REFERENCE = Reference(digest="a test's", features=FEATURES, score=counted("numeric", np.full(20, 150)))

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def test_corrected_as_in_the_paper() -> None:
    """Benjamini and Hochberg (1995), section 3.2: four of fifteen are rejected at 0.05."""
    raw = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
           0.7590, 1.0000]  # fmt: skip

    assert int((adjusted(np.array(raw)) <= 0.05).sum()) == 4


@given(p_values)
def test_corrected_by_hand(raw: list[float]) -> None:
    """Sorted, times their number over their rank, and never less than a larger one."""
    order = np.argsort(raw, kind="stable")
    stepped = np.array(raw)[order] * len(raw) / np.arange(1, len(raw) + 1)
    expected = np.empty(len(raw))
    expected[order] = np.minimum(np.minimum.accumulate(stepped[::-1])[::-1], 1)

    assert expected == pytest.approx(adjusted(np.array(raw)), abs=1e-12)
    assert min(expected) == pytest.approx(min(1.0, float(simes(np.array([raw]))[0])), abs=1e-12)


def test_windows_fall_as_new_rows_do() -> None:
    """Into bins made of a reference's own quantiles: mean and variance of a bin's rows, over many references."""
    rng = np.random.default_rng(8)
    truly = []
    for _ in range(4_000):
        edges = bin_edges(rng.standard_normal(200), 10)
        truly.append(bin_counts(rng.standard_normal(500), edges)[4])
    drawn, missing = draw_windows(counted("numeric", np.full(10, 20)), 500, 40_000, rng)
    law = stats.dirichlet_multinomial(np.append(np.full(10, 20), 0) + 5 / 11, 500)

    assert drawn[:, 4].mean() == pytest.approx(law.mean()[4], rel=0.01)
    assert drawn[:, 4].var() == pytest.approx(law.var()[4], rel=0.05)
    assert np.mean(truly) == pytest.approx(50, rel=0.02)
    assert np.var(truly) == pytest.approx(law.var()[4], rel=0.1)
    assert (drawn.sum(axis=1) + missing == 500).all()


@pytest.mark.parametrize("rows", [50, 3_000])
def test_windows_without_drift_seldom_alarm(rows: int) -> None:
    """Drawn with another seed than the level was chosen with: at most one in a hundred."""
    level = level_of(REFERENCE, rows, alarms=0.01, floor=Floor())
    fresh = simes(null_p_values(FEATURES, rows, Floor(), windows=4_000, seed=99))

    assert 0 < level <= 0.01
    assert (fresh <= level).mean() <= 0.01


def test_level_is_kept() -> None:
    """Per reference and rounded number of rows: the same number again, another for the scores alone."""
    first = level_of(REFERENCE, 500, alarms=0.01, floor=Floor())

    assert first == level_of(REFERENCE, 470, alarms=0.01, floor=Floor())
    assert 0 < level_of(REFERENCE, 500, alarms=0.01, floor=Floor(), scores=True) <= 0.01
    assert level_of(Reference(digest="none", features={}), 50, alarms=0.01, floor=Floor()) == 0


@given(st.integers(1, 10**9))
def test_rows_are_rounded_by_a_fifth_at_most(rows: int) -> None:
    """Steps of six per decade, so a size uses what was calibrated for a neighbour; few rows are exact."""
    assert abs(np.log10(grid_rows(rows) / rows)) <= 1 / 12 + 0.001
    assert grid_rows(min(rows, 120)) == min(rows, 120)
