"""Evidence: it adds up in any order, an earlier look can be taken away, and JSON brings it back."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.bundle.profile import bin_counts
from twinscore.errors import SchemaMismatch
from twinscore.rollout.entity_groups import GROUPS, EntityGroups
from twinscore.rollout.evidence import (
    LATENCY_EDGES_MS,
    ArmEvidence,
    Evidence,
    Histogram,
    Labelled,
    Moments,
    PairEvidence,
    Role,
    lacks_members,
)
from twinscore.rollout.memory_trend import BLOCKS, MemoryTrend, joined

EDGES = (0.25, 0.5, 0.75)
counts = st.integers(0, 1000)
words = st.sampled_from(["late", "error", "good", "bad"])
numbers = st.integers(-1000, 1000).map(float)  # sums of whole numbers are exact, so that order can be compared by ==
moments = st.builds(Moments, counts, numbers, numbers.map(abs))
tallies = st.dictionaries(words, st.integers(1, 1000), max_size=3)


def histograms(edges: tuple[float, ...]) -> st.SearchStrategy[Histogram]:
    size = len(edges) + 1
    return st.builds(Histogram, st.just(edges), st.tuples(*[counts] * size), counts)


latencies = st.dictionaries(st.integers(0, len(LATENCY_EDGES_MS)), counts, max_size=3).map(
    lambda found: Histogram(LATENCY_EDGES_MS, tuple(found.get(n, 0) for n in range(len(LATENCY_EDGES_MS) + 1)))
)
labelled = st.builds(
    Labelled, counts, moments, st.dictionaries(words, st.tuples(st.integers(1, 99), counts), max_size=2)
)
sums = st.lists(counts, min_size=GROUPS, max_size=GROUPS).map(tuple)
groups = st.just(EntityGroups()) | st.builds(EntityGroups, sums, sums, counts)
trends = st.builds(
    MemoryTrend, process=words, look=st.integers(1, 9), floors_mb=st.just((None, *range(1, BLOCKS)))
)  # what one process has seen at one look is always the same
arms = st.builds(
    ArmEvidence,
    version=st.sampled_from(["1", "2"]), role=st.sampled_from(cast("list[Role]", ["live", "canary", "shadow"])),
    calls=counts, failed=tallies, rows=counts, refused_rows=counts, latency_ms=latencies, scores=histograms(EDGES),
    score=moments, decisions=tallies, review_rows=counts, width=moments, restarts=counts,
    memory_mb=st.none() | st.integers(0, 99).map(float), labelled=st.none() | labelled, groups=groups,
    memory_trends=st.lists(trends, max_size=3).map(joined),
)  # fmt: skip
pairs = st.builds(
    PairEvidence, version=st.sampled_from(["2", "3"]), n=counts, flips=counts, flips_up=counts, flips_down=counts,
    signed=moments, failed=counts, dropped=counts,
)  # fmt: skip
evidence = st.builds(
    Evidence,
    arms=st.lists(arms, max_size=3, unique_by=lambda arm: (arm.role, arm.version)).map(
        lambda found: tuple(sorted(found, key=lambda arm: (arm.role, arm.version)))
    ),
    pairs=st.lists(pairs, max_size=2, unique_by=lambda pair: pair.version).map(
        lambda found: tuple(sorted(found, key=lambda pair: pair.version))
    ),
    at=st.datetimes(timezones=st.just(UTC)),
    replicas=st.integers(0, 5),
    stale=st.sets(words).map(lambda names: tuple(sorted(names))),
)


@given(evidence, evidence, evidence)
def test_evidence_adds_up_in_any_order(one: Evidence, two: Evidence, three: Evidence) -> None:
    """Replicas may be added as they answer: grouping and order change nothing, and nothing known changes nothing."""
    assert one.merged(two).merged(three) == one.merged(two.merged(three))
    assert one.merged(two) == two.merged(one)
    assert one.merged(Evidence()) == one


@given(evidence)
def test_evidence_survives_json(found: Evidence) -> None:
    """What is saved with a rollout is read back to an equal value."""
    assert Evidence.from_json(json.loads(json.dumps(found.to_json()))) == found


@given(evidence, evidence)
def test_an_earlier_look_can_be_taken_away(first: Evidence, since: Evidence) -> None:
    """What was counted since an earlier look is the later look less the earlier one; of memory all stays."""
    found = first.merged(since).minus(first)

    for arm in since.arms:
        later = found.arm(arm.version, arm.role)
        assert later is not None
        expected = replace(
            arm, memory_mb=later.memory_mb, memory_trends=later.memory_trends, labelled=arm.labelled or later.labelled
        )
        assert later == expected
        assert arm.labelled is not None or later.labelled in (None, Labelled())
    for pair in since.pairs:
        assert found.pair(pair.version) == pair


@given(st.lists(st.floats(-2, 2) | st.just(math.nan)))
def test_bins_are_those_of_the_reference_profile(values: list[float]) -> None:
    """A value on an edge falls below it, as in a bundle's profile, so the two can be compared; NaN is missing."""
    found = Histogram.of(EDGES, values)

    present = np.array([value for value in values if not math.isnan(value)])
    assert list(found.counts) == bin_counts(present, np.array(EDGES)).tolist()
    assert found.missing == len(values) - len(present)


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0, 1))
def test_a_quantile_is_as_near_as_its_bin(values: list[float], q: float) -> None:
    """The quantile of a histogram lies in the bin of the quantile of the values, or at the nearest outer edge."""
    found = Histogram.of(EDGES, values).quantile(q)
    exact = float(np.quantile(values, q, method="inverted_cdf"))

    bins = (EDGES[0], *EDGES, EDGES[-1])
    place = int(np.searchsorted(EDGES, exact, side="left"))
    assert found is not None
    assert bins[place] <= found <= bins[place + 1]


def test_nothing_has_no_quantile_no_mean_and_no_variance() -> None:
    """Where nothing was counted the answer is None, never a number."""
    assert Histogram.empty(EDGES).quantile(0.5) is None
    assert Moments().mean is None
    assert Moments(1, 2.0, 4.0).variance is None


@given(st.lists(st.floats(0, 1)), st.sets(st.sampled_from(EDGES)))
def test_fewer_bins_count_the_same(values: list[float], chosen: set[float]) -> None:
    """Counts brought to a part of their edges are those that the part alone would have taken."""
    edges = tuple(sorted(chosen))

    assert Histogram.of(EDGES, values).coarsened(edges) == Histogram.of(edges, values)


def test_other_bins_are_refused() -> None:
    """Counts with other edges are neither added nor divided where they were not counted."""
    found = Histogram.of(EDGES, [0.1])
    with pytest.raises(SchemaMismatch, match="3 and 1 edges"):
        found.merged(Histogram.empty((0.5,)))
    with pytest.raises(SchemaMismatch, match=r"divided at 0\.3"):
        found.coarsened((0.3,))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"call": 3}, "unknown member 'call'. Did you mean 'calls'?"),
        ({"role": "green"}, "must be one of live, canary, ab, shadow, got 'green'"),
        ({"scores": {"edges": []}}, "'scores' that cannot be read"),
    ],
)
def test_a_document_of_another_form_is_refused(change: dict[str, Any], words: str) -> None:
    """A member that is unknown or cannot be read is named."""
    document = ArmEvidence(version="2", role="canary", scores=Histogram.empty(EDGES)).to_json() | change
    with pytest.raises(SchemaMismatch) as refused:
        ArmEvidence.from_json(document)
    assert words in refused.value.message


def test_a_lacking_member_is_named() -> None:
    """A document of another release is not read as if the rest were nothing."""
    document = Evidence(at=datetime(2026, 1, 1, tzinfo=UTC)).to_json()
    del document["stale"]
    with pytest.raises(SchemaMismatch, match="lacks 'stale'"):
        Evidence.from_json(document)


@given(evidence, st.sets(st.sampled_from(["groups", "memory_trends"]), min_size=1))
def test_what_an_earlier_build_did_not_count_is_nothing(found: Evidence, lacking: set[str]) -> None:
    """Kept evidence without members that are counted since is read as if nothing had been counted of them."""
    document = json.loads(json.dumps(found.to_json()))
    for arm in document["arms"]:
        for name in lacking:
            del arm[name]
    empty: dict[str, Any] = {"groups": EntityGroups(), "memory_trends": ()}
    nothing = {name: empty[name] for name in lacking}

    assert Evidence.from_json(document) == replace(found, arms=tuple([replace(arm, **nothing) for arm in found.arms]))
    assert (bool(found.arms), False) == (lacks_members(document), lacks_members(found.to_json()))


@pytest.mark.parametrize(
    ("change", "words"),
    [({"rings": 1}, "unknown member 'rings'"), ({"calls": None}, "lacks 'calls'")],
)
def test_what_is_read_leniently_is_named_one_by_one(change: dict[str, Any], words: str) -> None:
    """Of kept evidence, too, what a newer build added or what was always there is never guessed."""
    arm = ArmEvidence(version="2", role="canary", scores=Histogram.empty(EDGES)).to_json() | change
    kept = {name: value for name, value in arm.items() if value is not None or name not in change}
    with pytest.raises(SchemaMismatch, match=words):
        Evidence.from_json(Evidence(at=datetime(2026, 1, 1, tzinfo=UTC)).to_json() | {"arms": [kept]})


def test_a_replica_of_another_build_is_not_understood() -> None:
    """Only what was kept may be of an earlier build: a replica that does not count all is named as stale instead."""
    document = ArmEvidence(version="2", role="canary", scores=Histogram.empty(EDGES)).to_json()
    del document["groups"]
    with pytest.raises(SchemaMismatch, match="lacks 'groups'"):
        ArmEvidence.from_json(document)
