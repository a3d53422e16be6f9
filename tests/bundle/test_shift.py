"""How far scores moved: PSI, what chance explains, and the words for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.bundle.shift import psi, psi_by_chance, shift_of

counts = st.lists(st.integers(0, 10**9), min_size=2, max_size=30)


@given(counts, st.data())
def test_psi_is_never_negative(first: list[int], data: st.DataObject) -> None:
    """Whatever the counts, and the same seen from either side."""
    second = data.draw(st.lists(st.integers(0, 10**9), min_size=len(first), max_size=len(first)))

    assert psi(first, second) >= 0
    assert psi(first, second) == pytest.approx(psi(second, first), abs=1e-12)


@given(counts, st.integers(1, 1_000))
def test_equal_shares_have_no_shift(reference: list[int], times: int) -> None:
    """A run with the reference's shares has a PSI of 0, whatever its size."""
    assert psi(reference, reference) == 0
    assert psi([count * times for count in reference], reference) == pytest.approx(0, abs=1e-12)


def test_psi_is_the_formula() -> None:
    """Two bins, by hand."""
    expected = (0.6 - 0.5) * math.log(0.6 / 0.5) + (0.4 - 0.5) * math.log(0.4 / 0.5)

    assert expected == pytest.approx(psi([60, 40], [500, 500]), rel=1e-12)


def test_chance_is_what_samples_show() -> None:
    """Of samples drawn from the reference's own shares, about 95 in 100 stay below what chance is said to give."""
    rng = np.random.default_rng(3)
    share = np.full(20, 0.05)
    drawn = [(rng.multinomial(4_000, share).tolist(), rng.multinomial(10_000, share).tolist()) for _ in range(400)]
    below = np.mean([psi(one, other) <= psi_by_chance(4_000, 10_000, 20) for one, other in drawn])

    assert 0.91 < below < 0.99


@pytest.mark.parametrize(
    ("found", "size"),
    [([500, 500], "none"), ([51, 49], "none"), ([550, 450], "small"), ([680, 320], "some"), ([900, 100], "large")],
)
def test_sizes_have_words(found: list[int], size: str) -> None:
    """What chance explains is no shift; then 0.1 and 0.25 part small, some and large."""
    shift = shift_of(found, [50_000, 50_000])

    assert shift is not None
    assert size == shift.size


def test_few_rows_are_no_shift() -> None:
    """Ten rows may lie anywhere: their PSI is large, and chance explains it."""
    shift = shift_of([7, 3], [500, 500])

    assert shift is not None
    assert (shift.psi > 0.1, shift.size) == (True, "none")


def test_largest_difference_has_a_sign_and_a_place() -> None:
    """Above 0 the run has more there."""
    shift = shift_of([10, 60, 30], [30, 40, 30])

    assert shift is not None
    assert (shift.largest_bin, round(abs(shift.largest), 9)) in {(0, 0.2), (1, 0.2)}
    assert (shift.largest > 0) == (shift.largest_bin == 1)


@pytest.mark.parametrize(("found", "reference"), [([0, 0], [1, 1]), ([1, 1], [0, 0]), ([1, 1], [1, 1, 1]), ([], [])])
def test_nothing_to_compare(found: list[int], reference: list[int]) -> None:
    """Without rows, or in other bins, there is no answer rather than a wrong one."""
    assert shift_of(found, reference) is None
