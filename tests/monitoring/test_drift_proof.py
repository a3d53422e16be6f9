"""Tests of drift: those of scipy on the same tables, and right as often as they say when nothing changed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special, stats

from twinscore.monitoring.drift_counts import counted
from twinscore.monitoring.drift_proof import (
    Floor,
    _signed_root,
    _smaller_tail,
    prove,
    rank_sum,
    same_shape,
    same_share,
)


@st.composite
def tables(draw: st.DrawFn, least: int = 1, most: int = 400) -> np.ndarray:
    """Return two rows of counts in the same cells: (2, n_cells)."""
    size = draw(st.integers(2, 20))
    return np.array([draw(st.lists(st.integers(least, most), min_size=size, max_size=size)) for _ in range(2)])


@given(tables())
def test_shape_is_the_chi_squared_of_scipy(table: np.ndarray) -> None:
    """Statistic and p-value of a table without correction, to 1e-9."""
    expected = stats.chi2_contingency(table, correction=False)
    statistic, freedom, p_value = same_shape(table[0], table[1])

    assert expected.statistic == pytest.approx(float(statistic), rel=1e-9, abs=1e-9)
    assert (expected.pvalue, expected.dof) == pytest.approx((float(p_value), int(freedom)), abs=1e-9)


@given(tables(least=0, most=60))
def test_rank_is_the_mann_whitney_of_scipy(table: np.ndarray) -> None:
    """Effect and p-value with ties and without continuity correction, to 1e-9."""
    rows = [np.repeat(np.arange(table.shape[1]), one) for one in table]
    assume(all(len(one) for one in rows) and len(np.unique(np.concatenate(rows))) > 1)
    expected = stats.mannwhitneyu(*rows, method="asymptotic", use_continuity=False)
    effect, p_value = rank_sum(table[0], table[1])

    assert 2 * expected.statistic / (len(rows[0]) * len(rows[1])) - 1 == pytest.approx(float(effect), abs=1e-9)
    assert expected.pvalue == pytest.approx(float(p_value), abs=1e-9)


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_few_shares_are_fishers_exact_test(rows: int, reference_rows: int, data: st.DataObject) -> None:
    """Twice the smaller of scipy's tails, to 1e-9, where fewer than a hundred rows are expected."""
    count, known = data.draw(st.integers(0, rows)), data.draw(st.integers(0, reference_rows))
    assume((count + known) / (rows + reference_rows) * min(rows, reference_rows) < 100)
    table = [[count, rows - count], [known, reference_rows - known]]
    tails = [stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
    found = same_share(np.array([count]), np.array([rows]), known, reference_rows)

    assert min(1.0, 2 * min(tails)) == pytest.approx(float(found[0]), abs=1e-9)


@given(st.integers(1_000, 10**6), st.integers(1_000, 10**6), st.floats(0.2, 0.8), st.floats(0.9, 1.1))
def test_many_shares_are_the_g_test_of_scipy(rows: int, reference_rows: int, share: float, times: float) -> None:
    """Of a table of four without correction, to 1e-9."""
    count, known = round(rows * share), round(reference_rows * share * times)
    assume((count + known) / (rows + reference_rows) * min(rows, reference_rows) >= 100)
    table = [[count, rows - count], [known, reference_rows - known]]
    expected = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    found = same_share(np.array([count]), np.array([rows]), known, reference_rows)

    # scipy's sum loses digits where nothing changed
    tolerance = 1e-9 if expected.pvalue < 0.9 else 1e-6

    assert expected.pvalue == pytest.approx(float(found[0]), abs=tolerance)


def test_exact_and_signed_root_meet() -> None:
    """At a hundred expected rows, where one takes over, the exact p-value is the larger, by half of it at most."""
    counts = np.array([60, 75, 85, 115, 125, 140, 160])
    root = special.erfc(np.abs(_signed_root(counts, np.full(7, 10_000), 1_000, 100_000)) / np.sqrt(2))
    exact = np.array([2 * _smaller_tail(int(count), 10_000, 1_000, 100_000) for count in counts])

    assert (exact >= root).all()
    assert (exact <= 1.5 * root).all()


@pytest.mark.parametrize("rows", [50, 1_000, 100_000])
def test_p_values_are_uniform_when_nothing_changed(rows: int) -> None:
    """Against fresh references: chi-squared and ranks are uniform, exact shares at most as small as they say."""
    rng = np.random.default_rng(rows)
    shares, found = np.full(12, 1 / 12), []
    for _ in range(1_500):
        reference = rng.multinomial(6_000, shares)
        drawn = rng.multinomial(rows, shares)
        hits, known = rng.binomial(rows, 0.02), int(rng.binomial(6_000, 0.02))
        share = same_share(np.array([hits]), np.array([rows]), known, 6_000)[0]
        found.append((same_shape(drawn, reference)[2], rank_sum(drawn, reference)[1], share))
    shape, rank, share = np.array(found, dtype=float).T

    # Kolmogorov's 1 % bound; at 50 rows chi-squared has few values, and steps of their size
    for p_values in (shape, rank):
        assert stats.kstest(p_values, "uniform").statistic < (0.06 if rows == 50 else 0.042)
    for level in (0.01, 0.05, 0.2):
        assert (share <= level).mean() <= level + 3 * np.sqrt(level / 1_500)


def test_each_kind_of_change_has_its_test() -> None:
    """A direction, a shape, missing cells, a value never seen, a new category: each proved by the test meant for it."""
    even = counted("numeric", np.full(10, 1_000), missing=100)
    constant = counted("numeric", [10_000, 0])
    kinds = counted("categorical", [9_000, 999, 1])
    cases = [
        (even, [70, 75, 85, 95, 100, 100, 105, 115, 125, 130], 10, 0, "rank"),
        (even, [60, 140, 60, 140, 60, 140, 60, 140, 60, 140], 10, 0, "shape"),
        (even, np.full(10, 97), 40, 0, "missing"),
        (constant, [960, 40], 0, 0, "rare"),
        (kinds, [900, 100, 0], 0, 12, "rare"),
        (kinds, [900, 90, 10], 0, 0, "rare"),
    ]
    for reference, counts, missing, new, name in cases:
        window = counted(reference.kind, counts, missing, new)
        proof = prove(window.cells[None, :], np.array([missing]), reference)

        assert proof.p_values[name][0] < 0.001, name
        assert proof.p_value()[0] == len(proof.p_values) * np.min([*proof.p_values.values()])


def test_small_change_is_no_proof_however_many_rows_say_so() -> None:
    """Below the floor a p-value of nothing becomes 1; above it, it stays."""
    reference = counted("numeric", np.full(10, 100_000))
    window = counted("numeric", np.full(10, 100_000) + np.arange(-2_250, 2_251, 500))
    proof = prove(window.cells[None, :], np.array([0]), reference)

    assert proof.p_value()[0] < 1e-9
    assert proof.p_value(Floor())[0] == 1
    assert proof.p_value(Floor(effect=0.001))[0] == proof.p_value()[0]


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_nothing_proves_nothing(kind: str) -> None:
    """No rows with a value, on either side, or one cell only: the p-value is 1 and never NaN."""
    empty, some = counted(kind, [0, 0, 0], missing=50), counted(kind, [10, 20, 30], missing=1)
    single = counted(kind, [0, 40, 0])
    for window, reference in [(empty, empty), (single, single), (counted(kind, [0, 0, 0]), some)]:
        proof = prove(window.cells[None, :], np.array([window.missing]), reference)

        assert proof.p_value(Floor()).tolist() == [1.0]
        assert np.isfinite([*proof.effects.values()]).all()
    assert prove(empty.cells[None, :], np.array([50]), some).p_value()[0] < 1e-9


def test_many_windows_at_once_are_each_by_itself() -> None:
    """What the simulation does with thousands is what is done with one."""
    rng = np.random.default_rng(4)
    for reference in (counted("numeric", np.full(20, 500), 300), counted("categorical", [5_000, 3_000, 40, 3, 0], 0)):
        drawn = rng.multinomial(600, np.full(len(reference.cells) + 1, 1 / (len(reference.cells) + 1)), size=30)
        many = prove(drawn[:, :-1], drawn[:, -1], reference).p_value(Floor())
        single = [prove(row[None, :-1], row[-1:], reference).p_value(Floor())[0] for row in drawn]

        assert single == pytest.approx(many.tolist(), abs=1e-12)
