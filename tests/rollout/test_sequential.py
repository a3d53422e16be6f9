"""Evidence that may be looked at all the time: seldom wrong over all looks together, and quick when something is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.rollout.sequential import (
    log_above,
    log_below,
    log_deficit,
    log_excess,
    mean_interval,
    rate_interval,
    rate_radius,
)

ALPHA = 0.05
RUNS = 100
LOOKS = 200
"""Each adds some outcomes and looks again."""
ENOUGH = math.log(1 / ALPHA)
counts = st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def seen(rate: float, calls: int, seed: int) -> np.ndarray:
    """Return the hits known at each look of each run: (runs, looks)."""
    return np.random.default_rng(seed).binomial(calls, rate, (RUNS, LOOKS)).cumsum(axis=1)


@pytest.mark.parametrize(("rate", "live"), [(0.01, 0.01), (0.5, 0.5), (0.03, 0.02), (0.95, 0.95)])
def test_a_claim_that_is_true_is_seldom_refuted_over_all_looks(rate: float, live: float) -> None:
    """Two versions alike, or exactly at the limit apart, with a small share and a look after every few calls."""
    mine, its = seen(rate, 3, seed=1), seen(live, 57, seed=2)
    wrong = sum(
        any(
            log_excess(mine[run, look], 3 * (look + 1), its[run, look], 57 * (look + 1), by=rate - live) >= ENOUGH
            for look in range(LOOKS)
        )
        for run in range(RUNS)
    )

    assert wrong <= ALPHA * RUNS


def test_outcomes_that_hang_together_count_as_one() -> None:
    """Ten calls at a time fail together: divided by ten the test stays seldom wrong, undivided it would not."""
    mine, its = 10 * seen(0.1, 1, seed=3), 10 * seen(0.1, 19, seed=4)

    def wrong(m: int) -> int:
        return sum(
            any(
                log_excess(mine[run, look] / m, 10 * (look + 1) / m, its[run, look] / m, 190 * (look + 1) / m) >= ENOUGH
                for look in range(LOOKS)
            )
            for run in range(RUNS)
        )

    assert wrong(10) <= ALPHA * RUNS
    assert wrong(1) > ALPHA * RUNS


@pytest.mark.parametrize("rate", [0.002, 0.1, 0.5])
def test_the_interval_of_a_rate_holds_it_at_all_looks(rate: float) -> None:
    """In nearly all runs the true rate is never refuted, which is what leaves the interval; nor passes the radius."""
    hits = seen(rate, 5, seed=5)
    calls = 5 * np.arange(1, LOOKS + 1)
    missed = sum(
        any(
            max(log_above(hits[run, look], calls[look], rate), log_below(hits[run, look], calls[look], rate)) > ENOUGH
            for look in range(LOOKS)
        )
        for run in range(RUNS)
    )
    radius = np.array([rate_radius(n, ALPHA) for n in calls])

    assert missed <= ALPHA * RUNS
    assert (np.abs(hits / calls - rate) > radius).any(axis=1).sum() <= ALPHA * RUNS


def test_the_interval_of_a_mean_holds_it_at_all_looks_after_the_first_hundred() -> None:
    """Of values with a long tail, whose variance is itself only seen."""
    values = np.random.default_rng(6).lognormal(0.0, 0.5, (RUNS, 2_000))
    truth, missed = math.exp(0.125), 0
    for row in values:
        totals, squares = row.cumsum(), (row * row).cumsum()
        for n in range(100, len(row), 10):
            mean = totals[n - 1] / n
            low, high = mean_interval(n, mean, (squares[n - 1] - n * mean * mean) / (n - 1), ALPHA)
            if not low <= truth <= high:
                missed += 1
                break

    assert missed <= ALPHA * RUNS


@given(mine=counts, its=counts, by=st.floats(0, 0.5), times=st.floats(0, 3))
def test_at_most_one_side_of_a_limit_is_refuted(
    mine: tuple[int, int], its: tuple[int, int], by: float, times: float
) -> None:
    """What speaks for being above a limit never speaks for being below it too, and a wider limit is harder to pass."""
    above = log_excess(*mine, *its, times=times, by=by)
    below = log_deficit(*mine, *its, times=times, by=by)

    assert not (above > 0 and below > 0)
    assert not math.isnan(above + below)
    assert log_excess(*mine, *its, times=times, by=by + 0.1) <= max(0.0, above) + 1e-6


@given(mine=counts, its=counts, more=st.integers(1, 1_000))
def test_more_hits_are_more_evidence(mine: tuple[int, int], its: tuple[int, int], more: int) -> None:
    """Once something speaks against a rate, more hits among as many calls speak louder; more live hits less."""
    hits, n = mine
    live_hits, live_n = its
    now = log_excess(hits, n, live_hits, live_n)

    if now > 0:
        assert log_excess(min(n, hits + more), n, live_hits, live_n) >= now - 1e-6
        assert log_excess(hits, n, min(live_n, live_hits + more), live_n) <= now + 1e-6


@given(mine=counts, limit=st.floats(0.001, 0.999))
def test_one_rate_against_a_limit_agrees_with_its_interval(mine: tuple[int, int], limit: float) -> None:
    """A limit is refuted exactly when the interval does not hold it."""
    low, high = rate_interval(*mine, ALPHA)
    refuted = max(log_above(*mine, limit), log_below(*mine, limit))

    if abs(refuted - ENOUGH) > 1e-3:
        assert (refuted > ENOUGH) == (not low <= limit <= high)


@given(mine=counts, alpha=st.floats(1e-9, 0.4))
def test_an_interval_holds_what_was_seen_and_shrinks_with_more_of_it(mine: tuple[int, int], alpha: float) -> None:
    """It lies within 0 and 1, around the observed rate."""
    hits, n = mine
    low, high = rate_interval(hits, n, alpha)
    less = rate_interval(hits / 2, n / 2, alpha)

    assert 0.0 <= low <= hits / n <= high <= 1.0
    assert less[0] <= low + 1e-9
    assert high <= less[1] + 1e-9


@pytest.mark.parametrize("hits", [-1.0, 6.0])
def test_counts_that_cannot_be_are_taken_for_the_nearest_that_can(hits: float) -> None:
    """Counters read at different moments may disagree by a few."""
    assert math.isfinite(log_excess(hits, 5.0, hits, 5.0, by=0.1))
    assert 0.0 <= rate_interval(hits, 5.0, ALPHA)[0] <= rate_interval(hits, 5.0, ALPHA)[1] <= 1.0


def test_a_slow_version_is_seen_with_five_calls() -> None:
    """All of five calls slow, none of 95 of the live version: proved at one in a million."""
    assert log_excess(5, 5, 0, 95) > math.log(1e6)
