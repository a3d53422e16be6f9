"""When a replica leaves full service and comes back: every load, the boundary, and a model of a replica in a loop."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.online.ladder import CALM_S, EVERY, SETTLE_S, LadderRules, LadderState, Seen, is_over, step

RULES = LadderRules(p99_ms=50, after_s=5, scale_s=60, leave_s=60)
OVER = Seen(answered_s=100, p99_ms=80, busy=0.9)
CALM = Seen(answered_s=10, p99_ms=5, busy=0.09)
TEN_MINUTES = 600

seen_ones = st.builds(
    Seen,
    answered_s=st.floats(0, 1000),
    p99_ms=st.floats(0, 200),
    busy=st.floats(0, 1),
    shed_s=st.sampled_from([0.0, 0.0, 0.0, 5.0]),
    cheap_s=st.floats(0, 500),
    crowded=st.booleans(),
    at_most=st.booleans(),
    ordered=st.just(False),
)
runs = st.lists(st.tuples(seen_ones, st.integers(1, 90)), min_size=1, max_size=12)


def climb(
    seconds: Iterable[Seen], rules: LadderRules = RULES, state: LadderState | None = None, at: int = 0
) -> Iterator[LadderState]:
    """Yield the state after each second."""
    state = state or LadderState()
    for now, seen in enumerate(seconds, at):
        state = step(state, rules, seen, float(now))
        yield state


def spread(parts: list[tuple[Seen, int]]) -> list[Seen]:
    return [seen for seen, seconds in parts for _ in range(seconds)]


@settings(max_examples=40, deadline=None)
@given(runs, st.floats(1, 120), st.booleans())
def test_any_load_at_all_changes_the_share_a_few_times_in_ten_minutes(
    parts: list[tuple[Seen, int]], leave_s: float, at_once: bool
) -> None:
    """A step down takes twice as long each time that one was wrong, and three steps up are the most between two."""
    rules = LadderRules(p99_ms=50, leave_s=leave_s, at_once=at_once)
    states = list(climb(spread(parts), rules))
    changed = [now for now, (old, new) in enumerate(zip([LadderState(), *states], states, strict=False))
               if old.share != new.share]  # fmt: skip

    # Each regret needs a step down before it: waits of 1, 2, 4, .. leave_s; a window may see the end of one series
    # and, after calm, the beginning of another.
    regrets = 2 * (math.log2(TEN_MINUTES / leave_s + 1) + 1)
    most = (len(rules.steps) + 1) * 2 * regrets
    for first in changed:
        assert len([at for at in changed if first <= at < first + TEN_MINUTES]) <= most


@settings(max_examples=40, deadline=None)
@given(runs)
def test_calm_always_ends_it(parts: list[tuple[Seen, int]]) -> None:
    """Whatever came before, full service is back once the load has been away for as long as a step down may take."""
    before = list(climb(spread(parts)))
    after = list(climb([Seen()] * int(CALM_S + 2 * SETTLE_S + 2), state=before[-1], at=len(before)))

    assert ("normal", 0) == (after[-1].level, after[-1].share)


@settings(max_examples=40, deadline=None)
@given(runs)
def test_nobody_degrades_while_more_replicas_may_still_help(parts: list[tuple[Seen, int]]) -> None:
    """The first step up follows `after_s` over the bound with all replicas there are, or `scale_s` without them."""
    seconds = spread(parts)
    states = list(climb(seconds))
    for now in range(1, len(states)):
        if states[now].share and not states[now - 1].share:
            over = all(is_over(RULES, seen) for seen in seconds[max(0, now - 5) : now + 1])
            most = all(seen.at_most for seen in seconds[max(0, now - 5) : now + 1])
            long = now >= 60 and all(is_over(RULES, seen) for seen in seconds[now - 60 : now + 1])
            assert now >= 5
            assert over
            assert most or long


@settings(max_examples=40, deadline=None)
@given(runs)
def test_a_step_is_one_step_and_levels_say_what_is(parts: list[tuple[Seen, int]]) -> None:
    """Shares are those of the rules, the count of changes is right, and only a share above none is called degraded."""
    before = LadderState()
    for state in climb(spread(parts)):
        assert state.share in (0, *RULES.steps)
        assert state.changes - before.changes == (state.share != before.share)
        assert (state.share > 0) == (state.level in ("degraded", "recovering"))
        before = state


def test_a_heavier_load_never_has_a_smaller_share() -> None:
    """At every second, of replicas whose load is the same all the time."""
    loads = [200 * part / 10 for part in range(1, 31)]
    shares = [[state.share for state in looped(steady(load), 300)] for load in loads]

    for lighter, heavier in pairwise(shares):
        assert all(one <= other for one, other in zip(lighter, heavier, strict=True))
    assert 0 == max(shares[0])
    assert EVERY == shares[-1][-1]


@pytest.mark.parametrize("around", [0.9, 1.0, 1.1, 1.3])
def test_a_load_at_the_boundary_does_not_flap(around: float) -> None:
    """Ten minutes of a noisy load around the capacity of full service: up to the share that is needed, never back."""
    for seed in range(20):
        states = list(looped(noisy(100 * around, seed), TEN_MINUTES))
        assert 1 <= states[-1].changes <= len(RULES.steps)
        assert all(old.share <= new.share for old, new in pairwise(states))


def test_a_wave_through_the_boundary_takes_longer_each_time() -> None:
    """A load that rises and falls every two minutes is followed a few times only."""
    states = list(looped(lambda now: 130.0 if now % 120 < 60 else 40.0, 3600, rules=LadderRules(p99_ms=50, leave_s=20)))
    left = [now for now, (old, new) in enumerate(pairwise(states)) if old.share and not new.share]

    for first in left:
        assert len([at for at in left if first <= at < first + TEN_MINUTES]) <= 5
    assert len(left) < 10


def test_a_step_of_load_is_answered_in_time_and_left_afterwards() -> None:
    """Twice the capacity for a minute: at most 20 s until nothing is over any more, then full service again."""
    trace: list[Seen] = []
    seconds = list(looped(lambda now: 200.0 if 10 <= now < 70 else 30.0, 200, trace))
    over = [now for now, seen in enumerate(trace) if is_over(RULES, seen)]

    assert max(over) <= 10 + 20
    assert {"scaling", "degraded", "recovering"} < {state.level for state in seconds}
    assert ("normal", 0) == (seconds[-1].level, seconds[-1].share)
    assert 70 + 55 <= max(now for now, state in enumerate(seconds) if state.share) <= 70 + 75


def test_an_order_degrades_at_once_and_its_end_goes_the_usual_way_back() -> None:
    """While it stands a calm load does not end it; afterwards the load has been small for `leave_s`."""
    ordered = list(climb([CALM._replace(ordered=True)] * 100))
    after = list(climb([CALM] * 70, state=ordered[-1], at=100))

    assert {2_500} == {state.share for state in ordered}
    assert 2_500 == after[10].share
    assert 0 == after[-1].share


def test_what_is_known_is_tried_again_after_calm() -> None:
    """A replica that was slow for another reason, and whose load stays, finds back although the load says it cannot."""
    slow = [OVER] * 7
    steady = [Seen(answered_s=100, p99_ms=9, busy=0.3, cheap_s=25)] * int(CALM_S + 20)
    states = list(climb(slow + steady))

    assert 2_500 == states[20].share
    assert 2_500 == states[int(CALM_S) - 10].share
    assert 0 == states[-1].share


def test_slowness_that_is_no_load_changes_nothing() -> None:
    """A replica that is idle and slow waits for something else: cheaper answers would not help."""
    idle = Seen(answered_s=100, p99_ms=500, busy=0.1)

    assert {("normal", 0)} == {(state.level, state.share) for state in climb([idle] * 120)}


def steady(load: float) -> Callable[[int], float]:
    return lambda _: load


def noisy(load: float, seed: int) -> Callable[[int], float]:
    chance = random.Random(seed)
    return lambda _: load * chance.gauss(1.0, 0.05)


def looped(
    load: Callable[[int], float], seconds: int, trace: list[Seen] | None = None, *, rules: LadderRules = RULES
) -> Iterator[LadderState]:
    """Yield the states of a replica that can answer 100 full requests a second, or 400 cheap ones."""
    full_s, cheap_s = 0.01, 0.0025
    window: deque[tuple[float, float, float, float]] = deque(maxlen=3)
    state = LadderState()
    for now in range(seconds):
        asked, share = load(now), state.share / EVERY
        each_s = (1 - share) * full_s + share * cheap_s
        answered = min(asked, 1 / each_s)
        used = asked * each_s
        slow_ms = 400.0 if used >= 1 else 20 / (1 - used)
        window.append((answered, min(used, 1.0), answered * share, slow_ms))
        means = [sum(part) / len(window) for part in zip(*window, strict=True)]
        seen = Seen(answered_s=means[0], p99_ms=max(one[3] for one in window), busy=means[1], cheap_s=means[2])
        if trace is not None:
            trace.append(seen)
        state = step(state, rules, seen, float(now))
        yield state
