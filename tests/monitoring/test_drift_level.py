"""The level: windows without drift as they are drawn, corrected p-values, and few false alarms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_windows_have_the_shares_of_the_reference() -> None:
    """Missing rows among them; each has as many rows as it is asked for."""
    drawn, missing = draw_windows(counted("categorical", [600, 300, 0], 100), 50, 20_000, np.random.default_rng(8))

    assert (drawn.sum(axis=1) + missing == 50).all()
    assert drawn.mean(axis=0) == pytest.approx([30, 15, 0, 0], rel=0.01)
    assert drawn[:, 0].var() == pytest.approx(50 * 0.6 * 0.4, rel=0.05)
    assert missing.mean() == pytest.approx(5, rel=0.02)


@pytest.mark.parametrize("rows", [60, 2_000, 50_000])
def test_a_thousand_categories_leave_the_level_what_it_is(rows: int) -> None:
    """Most are rare, many are not in the reference at all; p-values without drift are not small for that."""
    share = 1 / np.arange(1, 1_001) ** 1.2
    known = counted("categorical", np.random.default_rng(1).multinomial(10_000, share / share.sum()))
    found = null_p_values({"kind": known}, rows, None, windows=1_000)

    for level in (0.01, 0.05):
        assert (found <= level).mean() <= level + 3 * np.sqrt(level / 1_000)


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
