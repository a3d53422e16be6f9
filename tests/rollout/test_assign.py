"""Arms by hash: an entity sticks, a raised share only takes, shares are honoured, salts are independent."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.rollout.assign import BUCKETS, arm_of, bucket_of, entity_id, sampled
from twinscore.rollout.routing import Challenger, Routing, Target

DIGEST = "a" * 64
shares = st.integers(0, BUCKETS)
values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.dates())


def challenger(mode: Literal["canary", "ab"], share: int) -> Challenger:
    return Challenger(arm=mode, app=f"m.{mode}.2", version="2", digest=DIGEST, mode=mode, share=share)


def routing(canary: int = 0, ab: int = 0, salt: str = "0") -> Routing:
    found = (challenger("canary", canary), challenger("ab", ab))
    return Routing(model="m", live=Target(version="1", digest=DIGEST), challengers=found, salt=salt)


def arm(entity: bytes, of: Routing) -> str:
    found = arm_of(bucket_of(entity, of.salt), of)
    return "live" if found is None else found.arm


def within(count: int, n: int, share: float) -> bool:
    """Tell whether a count lies inside the two-sided 99.9 % bounds of a binomial; 3.2905 is its normal quantile."""
    return abs(count - n * share) <= 3.2905 * math.sqrt(n * share * (1 - share)) + 0.5


@given(st.lists(values, min_size=1, max_size=3), st.text(min_size=1, max_size=16), shares)
def test_an_entity_sticks(entity: list[object], salt: str, share: int) -> None:
    """The same values and salt give the same bucket and arm, whenever they are asked for."""
    first = bucket_of(entity_id(entity), salt)

    assert first == bucket_of(entity_id(list(entity)), salt)
    assert 0 <= first < BUCKETS
    assert arm(entity_id(entity), routing(share, salt=salt)) == arm(entity_id(entity), routing(share, salt=salt))


@given(st.binary(min_size=1, max_size=40), shares, shares, shares)
def test_a_raised_share_only_takes(entity: bytes, low: int, high: int, other: int) -> None:
    """Raising the canary moves an entity into the canary or nowhere; the A/B arm is never touched, and the reverse."""
    low, high = sorted((low, high))
    other = min(other, BUCKETS - high)
    before, after = arm(entity, routing(low, other)), arm(entity, routing(high, other))
    assert after in {before, "canary"}
    assert before != "ab" or after == "ab"

    before, after = arm(entity, routing(other, low)), arm(entity, routing(other, high))
    assert after in {before, "ab"}
    assert before != "canary" or after == "canary"


@pytest.mark.parametrize("share", [25, 500, 1_000, 5_000, 9_000])
def test_shares_are_honoured(share: int) -> None:
    """Of 20,000 entities in order, the observed share lies inside the 99.9 % bounds of chance."""
    found = routing(share, min(share, BUCKETS - share))
    arms = [arm(entity_id([f"customer-{number}"]), found) for number in range(20_000)]

    assert within(arms.count("canary"), len(arms), share / BUCKETS)
    assert within(arms.count("ab"), len(arms), min(share, BUCKETS - share) / BUCKETS)


def test_all_and_nothing() -> None:
    """0 and 10,000 mean nobody and everybody."""
    entities = [entity_id([number]) for number in range(2_000)]

    assert {"live"} == {arm(entity, routing(0, 0)) for entity in entities}
    assert {"canary"} == {arm(entity, routing(BUCKETS, 0)) for entity in entities}
    assert {"ab"} == {arm(entity, routing(0, BUCKETS)) for entity in entities}


def test_salts_divide_independently() -> None:
    """Who is in the canary under one salt says nothing about another: a chi-square of the buckets' deciles."""
    entities = [entity_id([f"customer-{number}"]) for number in range(20_000)]
    one = np.array([bucket_of(entity, "spring") // 1_000 for entity in entities])
    other = np.array([bucket_of(entity, "summer") // 1_000 for entity in entities])
    table = np.histogram2d(one, other, bins=10)[0]
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())

    assert statistic < 126.1  # the 99.9 % quantile of chi-square with 81 degrees of freedom


def test_shadows_sample_independently_of_arms() -> None:
    """A half-sampled shadow sees about half of the canary and half of everybody else."""
    entities = [entity_id([f"customer-{number}"]) for number in range(20_000)]
    found = routing(2_000)
    canary = [entity for entity in entities if arm(entity, found) == "canary"]
    rest = [entity for entity in entities if arm(entity, found) == "live"]
    for group in (canary, rest):
        seen = sum(sampled(entity, found.salt, "m.shadow.3", 5_000) for entity in group)
        assert within(seen, len(group), 0.5)
    assert all(sampled(entity, found.salt, "m.shadow.3", BUCKETS) for entity in entities)
    assert not any(sampled(entity, found.salt, "m.shadow.3", 0) for entity in entities)


@given(st.lists(values, max_size=3), st.lists(values, max_size=3))
def test_no_two_identities_are_alike(one: list[object], other: list[object]) -> None:
    """Different values give different identities, whatever they hold; 1, 1.0, True and "1" are four entities."""
    alike = [(type(value), str(value)) for value in one] == [(type(value), str(value)) for value in other]

    assert alike == (entity_id(one) == entity_id(other))


def test_times_have_identities() -> None:
    """Instants and days count by their ISO form."""
    found = {entity_id([value]) for value in (datetime(2026, 1, 2, tzinfo=UTC), date(2026, 1, 2), "2026-01-02")}

    assert 3 == len(found)
