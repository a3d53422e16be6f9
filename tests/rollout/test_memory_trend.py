"""Growth of memory: the series keeps its whole life in little room, the bounds are Sen's, and warming up is no leak."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from twinscore.rollout.evidence import ArmEvidence, Evidence, Histogram
from twinscore.rollout.gate import Gate
from twinscore.rollout.judge import judge
from twinscore.rollout.memory_trend import (
    BLOCKS,
    MOST_PROCESSES,
    FloorSeries,
    MemoryTrend,
    _critical,
    joined,
    slope_bounds,
)

from .test_judge import BEGAN, SCORE_EDGES

ALPHA = 0.01 / 6 / 12
"""What one gate of twelve has in one of six stages."""
LIMIT = 256.0
DAY_S = 86_400.0
Growth = Callable[[np.ndarray], np.ndarray]

floors = st.lists(st.none() | st.integers(-50, 500).map(float), min_size=BLOCKS, max_size=BLOCKS).map(tuple)
trends = st.builds(MemoryTrend, process=st.text("ab", max_size=4), look=st.integers(1, 9), floors_mb=floors)


def fails_at(growth: Growth, seed: int, hours: float = 6.0) -> float | None:
    """Return after how many seconds a process is proved to grow faster than the limit, None for never.

    It is looked at every 5 s; memory has steps of an allocator and a wobble that lasts some looks.
    """
    rng = np.random.default_rng(seed)
    at_s = np.arange(0.0, 3_600.0 * hours, 5.0)
    wobble = np.zeros(len(at_s))
    for place, shock in enumerate(rng.normal(0.0, 1.5, len(at_s) - 1), start=1):
        wobble[place] = 0.8 * wobble[place - 1] + shock
    jumps = np.cumsum((rng.random(len(at_s)) < 5.0 / 3_600.0) * rng.uniform(2.0, 12.0, len(at_s)))  # 35 MB an hour
    series, known = FloorSeries("p", 0.0), 0
    for second, value in zip(at_s, growth(at_s) + wobble + jumps, strict=True):
        series.add(float(second), float(value))
        if series.newest is not None and series.newest.look > known:
            known = series.newest.look
            if slope_bounds(series.newest, ALPHA)[1] > LIMIT:
                return float(second)
    return None


@pytest.mark.parametrize(
    "growth",
    [
        lambda at_s: 0.0 * at_s,
        lambda at_s: 60.0 * (1.0 - np.exp(-at_s / 20.0)),
        lambda at_s: 150.0 * (1.0 - np.exp(-at_s / 60.0)),
        lambda at_s: 200.0 * (1.0 - np.exp(-at_s / 180.0)),
        lambda at_s: 40.0 * np.log1p(at_s / 10.0),
        lambda at_s: 120.0 * np.minimum(1.0, at_s / 200.0),
        lambda at_s: 80.0 * (at_s > 400.0),
        lambda at_s: 100.0 * at_s / 3_600.0,
    ],
    ids=["flat", "quick", "usual", "slow", "logarithm", "cache that fills", "one jump", "below the limit"],
)  # fmt: skip
def test_a_good_process_is_never_called_a_leak(growth: Growth) -> None:
    """Forty processes that warm up in one way or another, looked at for six hours."""
    assert [None] * 40 == [fails_at(growth, seed) for seed in range(40)]


@pytest.mark.parametrize(("mb_per_h", "minutes"), [(500.0, 65.0), (1_000.0, 33.0), (4_000.0, 9.0)])
def test_a_leak_is_caught_by_its_slope(mb_per_h: float, minutes: float) -> None:
    """Long before it has grown as far as an absolute limit allows, and also behind a usual warm-up."""
    for warm_up in (0.0, 40.0):
        found = [
            fails_at(lambda at_s: mb_per_h * at_s / 3_600.0 + warm_up * (1.0 - np.exp(-at_s / 30.0)), seed)  # noqa: B023
            for seed in range(40)
        ]
        assert all(one is not None and one <= 60.0 * minutes for one in found)


def test_the_level_holds_at_all_looks() -> None:
    """Processes that grow exactly as fast as the limit, in noise, fail with chance alpha at most over all looks."""
    rng, failed = np.random.default_rng(5), 0
    for _ in range(2_000):
        steady = 1_000.0 * np.arange(BLOCKS)
        failed += any(
            slope_bounds(one, 0.05)[1] * one.block_s / 3_600.0 > 1_000.0
            for look in range(1, 6)
            for one in [MemoryTrend(process="p", look=look, floors_mb=tuple(steady + rng.normal(0, 50, BLOCKS)))]
        )  # fmt: skip
    assert failed <= 2_000 * 0.05 + 3 * math.sqrt(2_000 * 0.05 * 0.95)


@pytest.mark.parametrize("n", [2, 5, 8, 12])
@pytest.mark.parametrize("alpha", [0.2, 0.01, 1e-4, 1e-6])
def test_the_critical_value_is_kendalls(n: int, alpha: float) -> None:
    """The least S whose exact chance is alpha at most, as scipy has it."""
    found, pairs = _critical(n, alpha), n * (n - 1) // 2

    def chance(inversions: int) -> float:
        order = next(one for one in orders(n) if swaps(one) == inversions)
        return float(kendalltau(range(n), order, method="exact", alternative="greater").pvalue)

    if found is None:
        assert chance(0) > alpha
        return
    inversions = (pairs - found) // 2
    assert chance(inversions) <= alpha
    assert inversions == pairs or chance(inversions + 1) > alpha


def orders(n: int) -> list[list[int]]:
    """Return one order of n values for each number of pairs out of order."""
    found, order = [list(range(n))], list(range(n))
    for top, at in itertools.product(range(n - 1, 0, -1), range(n - 1)):
        if at < top and order[at] < order[at + 1]:
            order[at], order[at + 1] = order[at + 1], order[at]
            found.append(order.copy())
    return found


def swaps(order: list[int]) -> int:
    return sum(one > other for one, other in itertools.combinations(order, 2))


@given(st.lists(st.tuples(st.floats(0.0, 400.0), st.integers(0, 99)), max_size=60))
def test_a_series_keeps_the_least_of_each_span(steps: list[tuple[float, int]]) -> None:
    """Whatever the times between values: each look is what one has who kept them all."""
    kept: list[tuple[float, float]] = []
    at_s, series = 0.0, FloorSeries("p", 100.0)
    for step, value in steps:
        at_s += step
        before = series.newest
        series.add(100.0 + at_s, float(value))
        if series.newest is not None and series.newest is not before:
            trend = series.newest
            for place, floor in enumerate(trend.floors_mb):
                inside = [one for when, one in kept if place == math.floor(when / trend.block_s)]
                assert floor == min(inside, default=None)
            assert BLOCKS * trend.block_s <= at_s < 2 * BLOCKS * trend.block_s
        kept.append((at_s, float(value)))


@given(st.lists(trends, max_size=30), st.lists(trends, max_size=30), st.lists(trends, max_size=30))
def test_trends_are_joined_in_any_order(
    one: list[MemoryTrend], two: list[MemoryTrend], three: list[MemoryTrend]
) -> None:
    """The newest of each process stays, of so many processes as are kept, whoever is joined first."""
    known = {(trend.process, trend.look): trend for trend in [*one, *two, *three]}
    one, two, three = ([known[trend.process, trend.look] for trend in some] for some in (one, two, three))
    found = joined(one, two, three)

    assert found == joined(joined(three, one), two) == joined(found, found)
    assert len({trend.process for trend in found}) == len(found) <= MOST_PROCESSES


@given(trends, st.sampled_from([1e-2, 1e-4]))
def test_bounds_enclose_the_slope(trend: MemoryTrend, alpha: float) -> None:
    """Whatever was seen; JSON brings a trend back."""
    value, low, high = slope_bounds(trend, alpha)

    assert low <= high
    assert value is None or low <= value <= high
    assert trend == MemoryTrend.from_json(json.loads(json.dumps(trend.to_json())))


def test_the_gate_says_which_process_leaks() -> None:
    """One of two processes fails the version; before the first look it waits, or decides nothing where it may."""
    flat = MemoryTrend(process="a", look=2, floors_mb=(20.0,) * BLOCKS)
    leak = MemoryTrend(process="b", look=1, floors_mb=tuple(10.0 * place for place in range(BLOCKS)))

    def told(*found: MemoryTrend, **more: bool) -> tuple[str, str, bool]:
        arms = [
            ArmEvidence(
                version=version, role=role, calls=9, rows=9, scores=Histogram.empty(SCORE_EDGES), memory_trends=of
            )
            for version, role, of in (("1", "live", (flat,)), ("2", "canary", found))
        ]  # type: ignore[arg-type]
        gate = Gate(metric="memory_mb_per_h", max=LIMIT, **more)
        one = judge([gate], Evidence(arms=tuple(arms), at=BEGAN), "2", "1", since=BEGAN)[0]
        return one.outcome, one.words, one.dry_run

    assert ("pass", "growth of memory 0 MB/h, at most 256 MB/h allowed", False) == told(flat)
    assert ("fail", "growth of memory 1800 MB/h, at most 256 MB/h allowed: proved", False) == told(flat, leak)
    assert ("inconclusive", False) == told()[::2]
    assert ("inconclusive", True) == told(when_given=True)[::2]
