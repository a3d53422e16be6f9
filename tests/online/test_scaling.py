"""The number of replicas that a load needs: between what is too few and what is too many, and never to and fro."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.online.scaling import STATS, ListenerPolicy, ReplicaLoad, Targets, loads_of, replicas_wanted

TARGETS = Targets(ongoing=16, busy=0.7, p99_ms=50)
LOADS = st.lists(
    st.builds(
        ReplicaLoad, st.floats(0, 500), st.floats(0, 10_000), st.floats(0, 5_000), st.floats(0, 1), st.floats(0, 5_000)
    ),
    max_size=8,
)


@given(LOADS, st.integers(1, 16))
def test_a_load_never_needs_less_than_one_replica(loads: list[ReplicaLoad], replicas: int) -> None:
    """Nor more than the work in it would fill, but for one more where replicas are strained."""
    wanted = replicas_wanted(loads, replicas, TARGETS)
    need = max(sum(load.ongoing for load in loads) / 16, sum(load.busy for load in loads) / 0.7, 1)

    assert 1 <= wanted <= max(math.ceil(need), replicas, len(loads) + 1)


@given(LOADS.filter(bool), st.integers(1, 16), st.integers(0, 7), st.floats(0, 100), st.floats(0, 1))
def test_more_load_never_needs_fewer(
    loads: list[ReplicaLoad], replicas: int, place: int, ongoing: float, busy: float
) -> None:
    """Whichever replica has it."""
    before = loads[place % len(loads)]
    more = ReplicaLoad(
        before.ongoing + ongoing, before.answered_s, before.p99_ms, min(1, before.busy + busy), before.shed_s
    )
    heavier = [more if load is before else load for load in loads]

    assert replicas_wanted(loads, replicas, TARGETS) <= replicas_wanted(heavier, replicas, TARGETS)


@given(st.floats(0, 400), st.floats(0, 8), st.integers(1, 16))
def test_a_load_that_stays_the_same_moves_the_number_once(ongoing: float, busy: float, replicas: int) -> None:
    """What is wanted after the change is what was wanted before it, from above and from below."""

    def wanted(now: int) -> int:
        spread = [ReplicaLoad(ongoing / now, 100, 1, min(1, busy / now)) for _ in range(now)]
        return replicas_wanted(spread, now, TARGETS)

    seen = [replicas]
    for _ in range(30):  # a loop that is always at work hides how much more there is, so it takes some steps
        seen.append(wanted(seen[-1]))
    settled = seen[-1]

    assert settled == seen[-2] == seen[-3]
    assert seen == sorted(seen) or seen == sorted(seen, reverse=True)


@pytest.mark.parametrize(("loads", "replicas", "wanted"), [
    ([], 3, 3),
    ([ReplicaLoad()] * 3, 3, 1),
    ([ReplicaLoad(ongoing=16)] * 2, 2, 2),
    ([ReplicaLoad(ongoing=17)] * 2, 2, 3),
    ([ReplicaLoad(busy=0.71)], 1, 2),
    ([ReplicaLoad(busy=1.0)] * 4, 4, 6),
    ([ReplicaLoad(busy=0.35), ReplicaLoad(busy=0.34)], 2, 2),
    ([ReplicaLoad(busy=0.28), ReplicaLoad(busy=0.27)], 2, 1),
    ([ReplicaLoad(busy=0.2, shed_s=1)], 1, 2),
    ([ReplicaLoad(answered_s=100, p99_ms=51, busy=0.5)], 1, 2),
    ([ReplicaLoad(answered_s=100, p99_ms=49, busy=0.5)], 1, 1),
    ([ReplicaLoad(answered_s=1, p99_ms=900, busy=0.5)], 1, 1),
    ([ReplicaLoad(answered_s=100, p99_ms=900, busy=0.1)], 1, 1),
    ([ReplicaLoad(busy=1.0)], 2, 2),
])  # fmt: skip
def test_what_is_wanted(loads: list[ReplicaLoad], replicas: int, wanted: int) -> None:
    """Idle, at the target, above it, refusing, slow with work and slow without, and one replica still starting."""
    assert wanted == replicas_wanted(loads, replicas, TARGETS)


def test_without_a_limit_slow_answers_need_nobody() -> None:
    """The limit is the deployment's choice."""
    assert 1 == replicas_wanted([ReplicaLoad(answered_s=100, p99_ms=900, busy=0.5)], 1, Targets(16, 0.7))


def test_half_a_report_is_none() -> None:
    """A replica of another code says other numbers; it is not taken for idle."""
    metrics: dict[str, dict[Any, float]] = {name: {"a": 1.0, "b": 0.5} for name in STATS}
    del metrics["listener_busy"]["b"]

    assert [ReplicaLoad(1, 1, 1, 1, 1)] == loads_of(metrics)
    assert [] == loads_of({})


def test_the_controller_gets_the_decision_as_ray_asks_for_it() -> None:
    """By value, as Serve sends it; with numbers by replica, and before the first report."""
    from ray.serve.config import AutoscalingPolicy

    make: Any = AutoscalingPolicy
    sent = make(policy_function="twinscore.online.scaling:ListenerPolicy")
    policy = sent.get_policy()(ongoing=16.0, busy=0.7, p99_ms=None)
    metrics = {name: {"one": 20.0 if name == "listener_ongoing" else 0.0} for name in STATS}
    asked = SimpleNamespace(aggregated_metrics=metrics, target_num_replicas=1)

    assert (2, {}) == policy(asked) == ListenerPolicy(16.0, 0.7)(asked)
    assert (3, {}) == policy(SimpleNamespace(aggregated_metrics=None, target_num_replicas=3))
