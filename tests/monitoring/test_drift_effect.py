"""Effect sizes: those of scipy, the same seen from either side, and smaller when cells are put together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from twinscore.bundle.shift import psi
from twinscore.monitoring.drift_effect import cramers_v, js_distance, ks_distance, psi_of_shift, rank_of_shift

Effect = Callable[[np.ndarray, np.ndarray], float]
EFFECTS: list[Effect] = [js_distance, ks_distance, cramers_v]


@st.composite
def pairs(draw: st.DrawFn, least: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return two windows in the same cells, each with a row at least."""
    size = draw(st.integers(2, 25))
    first, second = (draw(st.lists(st.integers(least, 5_000), min_size=size, max_size=size)) for _ in range(2))
    first[0], second[-1] = max(first[0], 1), max(second[-1], 1)
    return np.array(first), np.array(second)


@given(pairs())
def test_jensen_shannon_is_that_of_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """To 1e-9 of its square, the divergence, of which both take a root; empty cells included."""
    assert jensenshannon(*pair, base=2) ** 2 == pytest.approx(js_distance(*pair) ** 2, abs=1e-9)


@given(pairs(least=2))
def test_ks_is_that_of_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """The statistic of the two-sample test on the numbers of the bins."""
    rows = [np.repeat(np.arange(len(one)), np.minimum(one, 60)) for one in pair]
    counts = [np.bincount(one, minlength=len(pair[0])) for one in rows]
    expected = stats.ks_2samp(*rows, method="asymp").statistic

    assert expected == pytest.approx(ks_distance(*counts), abs=1e-9)


@given(pairs())
def test_cramers_v_is_that_of_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """On a table in which both sides have as many rows."""
    first, second = pair[0] * pair[1].sum(), pair[1] * pair[0].sum()
    held = (first + second) > 0
    if held.sum() > 1:
        table = np.array([first[held], second[held]])
        expected = stats.contingency.association(table, method="cramer", correction=False)

        assert expected == pytest.approx(cramers_v(*pair), abs=1e-9)


@pytest.mark.parametrize("effect", EFFECTS)
@given(pair=pairs())
def test_effect_is_symmetric_and_between_0_and_1(effect: Effect, pair: tuple[np.ndarray, np.ndarray]) -> None:
    """Which side is called the reference does not matter."""
    found = effect(*pair)

    assert 0 <= found <= 1
    assert found == pytest.approx(effect(pair[1], pair[0]), abs=1e-9)


@pytest.mark.parametrize("effect", EFFECTS)
@given(pair=pairs(), times=st.integers(1, 500))
def test_effect_does_not_know_how_many_rows_there_are(
    effect: Effect, pair: tuple[np.ndarray, np.ndarray], times: int
) -> None:
    """A window of the same shares says the same at any size, and nothing of a window like the reference."""
    assert effect(*pair) == pytest.approx(effect(pair[0] * times, pair[1]), abs=1e-9)
    assert effect(pair[0] * times, pair[0]) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("effect", [js_distance, cramers_v, lambda a, r: psi(a.tolist(), r.tolist())])
@given(pair=pairs(least=5))
def test_fewer_cells_tell_less(effect: Effect, pair: tuple[np.ndarray, np.ndarray]) -> None:
    """Putting two cells together never makes a distance larger."""
    joined = [np.append(one[2:], one[0] + one[1]) for one in pair]

    assert effect(*joined) <= effect(*pair) + 1e-9


@given(pairs(least=5))
def test_psi_is_nothing_only_for_the_same_shares(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """Where no cell is as good as empty, PSI is 0 exactly when the shares are equal."""
    first, second = pair
    same = bool(np.array_equal(first * second.sum(), second * first.sum()))

    assert (psi(first.tolist(), second.tolist()) < 1e-15) == same


def test_parts_are_added_up() -> None:
    """Counts of parts, added in any order, say what the counts of all rows say."""
    rng = np.random.default_rng(5)
    reference, parts = rng.multinomial(3_000, np.full(9, 1 / 9)), rng.multinomial(200, np.full(9, 1 / 9), size=7)

    for effect in EFFECTS:
        assert effect(parts.sum(axis=0), reference) == effect(parts[::-1].cumsum(axis=0)[-1], reference)


def test_moved_normal_number_has_the_effects_that_are_promised() -> None:
    """Half a standard deviation, by sums over four thousand narrow bins."""
    edges = np.linspace(-8, 8, 4_001)
    first, second = (np.diff(stats.norm.cdf(edges, loc=loc)) for loc in (0.0, 0.5))
    some = (first > 1e-300) & (second > 1e-300)
    index = float(np.sum((second - first)[some] * np.log(second[some] / first[some])))
    above = float(np.sum(second * (np.cumsum(first) - first / 2)))

    assert index == pytest.approx(psi_of_shift(0.5), rel=1e-3)
    assert 2 * above - 1 == pytest.approx(rank_of_shift(0.5), abs=1e-6)


def test_no_rows_have_no_shares() -> None:
    """Asked all the same, it is an error and no zero."""
    with pytest.raises(ValueError, match="not defined"):
        js_distance(np.zeros(3, int), np.ones(3, int))
