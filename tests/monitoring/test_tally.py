"""Tallies: any split of the rows, merged in any order, is what one pass gives, to the bit."""

from __future__ import annotations

import json
import math
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from twinscore.bundle.profile import bin_counts
from twinscore.contract.moments import Moments
from twinscore.errors import SchemaMismatch
from twinscore.monitoring.block import Block, Codes
from twinscore.monitoring.durations import Durations, bin_starts
from twinscore.monitoring.exact import moments_of
from twinscore.monitoring.plan import FeaturePlan, Plan
from twinscore.monitoring.tally import WindowTally
from twinscore.monitoring.tally_features import FeatureTally
from twinscore.monitoring.tally_service import Requests, ServiceTally

EDGES = (-1.0, 0.0, 0.5, 2.0)
SCORE_EDGES = (0.25, 0.5, 0.75)
PLAN = Plan(
    bundle_digest="d" * 64,
    features=(
        FeaturePlan("income", "numeric", EDGES, (), (1, 1, 1, 1, 1), 0),
        FeaturePlan("plan", "categorical", (), ("a", "b", "c"), (1, 1, 1), 0),
        FeaturePlan("flat", "numeric", (), (), (5,), 0),
    ),
    score_edges=SCORE_EDGES,
    task="classification",
    classes=("no", "yes"),
    positive="yes",
    profile={"rows": 5},
)


def make_block(seed: int, rows: int) -> Block:
    """Rows with everything that may be missing, missing somewhere."""
    draw = np.random.default_rng(seed)
    codes = draw.integers(-2, 3, rows)
    unseen = codes == -2
    income = np.where(draw.random(rows) < 0.2, np.nan, draw.normal(size=rows))
    income = np.where(draw.random(rows) < 0.1, draw.choice([math.inf, -math.inf, 0.5, -1.0]), income)
    features = np.stack([income, np.where(codes < 0, np.nan, codes), draw.normal(size=rows)], axis=1)
    width = np.where(draw.random(rows) < 0.3, np.nan, draw.exponential(size=rows) * 10.0 ** draw.integers(-9, 9, rows))
    return Block(
        features=features.astype(np.float32),
        unseen={"plan": unseen},
        score=draw.random(rows).astype(np.float32).astype(np.float64),
        decision=Codes(draw.integers(-1, 2, rows), ("no", "yes")),
        lower=np.zeros(rows),
        upper=width,
        set_size=draw.integers(-1, 3, rows),
        review=draw.random(rows) < 0.1,
        groups={"plan": Codes(draw.integers(-1, 2, rows), ("a", "b"))},
    )


def pieces(block: Block, cuts: np.ndarray) -> list[Block]:
    """The rows by the number that each was given."""
    return [block.where(cuts == number) for number in np.unique(cuts)]


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 60), parts=st.integers(1, 6), data=st.data())
def test_any_split_in_any_order_is_one_pass(seed: int, rows: int, parts: int, data: Any) -> None:
    """Rows are cut at random, an empty part among them, and merged in a random order through JSON."""
    block = make_block(seed, rows)
    cuts = np.random.default_rng(seed + 1).integers(0, parts, rows)
    tallies = [WindowTally.of(one, PLAN) for one in [*pieces(block, cuts), block.where(np.zeros(rows, bool))]]
    shuffled = data.draw(st.permutations(tallies))
    through = [WindowTally.from_json(json.loads(json.dumps(one.to_json(), allow_nan=False))) for one in shuffled]

    assert WindowTally.of(block, PLAN) == reduce(WindowTally.merge, through)


@given(seed=st.integers(0, 2**32 - 1))
def test_merging_is_associative(seed: int) -> None:
    """Three parts give the same whichever two come first, and an empty tally changes nothing."""
    a, b, c = (WindowTally.of(make_block(seed + at, 7), PLAN) for at in range(3))

    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a == a.merge(WindowTally())


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 80))
def test_counts_are_those_of_the_profile(seed: int, rows: int) -> None:
    """Bins, missing and unseen rows of each feature are what the profile's own functions say."""
    block = make_block(seed, rows)
    found = WindowTally.of(block, PLAN)
    if not rows:
        assert found.features.counts == {}
        return
    income = block.features[:, 0].astype(np.float64)
    known = income[~np.isnan(income)]
    assert found.features.counts["income"].bins == tuple(bin_counts(known, np.array(EDGES)).tolist())
    assert found.features.counts["income"].missing == rows - len(known)
    codes = block.features[:, 1]
    plan = found.features.counts["plan"]
    assert plan.bins == tuple(int((codes == code).sum()) for code in range(3))
    assert plan.unseen == int(block.unseen["plan"].sum())
    assert found.features.counts["flat"].bins == (rows,)
    assert {one.rows for one in found.features.counts.values()} == {rows}
    assert found.score.bins == tuple(bin_counts(block.score, np.array(SCORE_EDGES)).tolist())
    assert found.score.moments.mean == math.fsum(block.score) / rows


@given(
    arrays(np.float64, st.integers(0, 40), elements=st.floats(allow_nan=False, allow_subnormal=True)),
)
def test_fast_moments_are_the_exact_ones(values: np.ndarray) -> None:
    """The compiled loop gives the very sums that `Moments.of` gives, of any float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        assert moments_of(values) == Moments.of(values)


@given(
    st.lists(st.integers(0, 10**11), max_size=60),
    st.lists(st.integers(0, 10**6), max_size=60),
    st.sampled_from([0.5, 0.95, 0.99]),
)
def test_quantiles_of_lengths_are_within_a_per_cent(some: list[int], more: list[int], share: float) -> None:
    """Merged histograms are those of all times, and a quantile is within half a bin of the true one."""
    times = np.array(some + more, dtype=np.int64)
    merged = Durations.of(np.array(some, dtype=np.int64)).merge(Durations.of(np.array(more, dtype=np.int64)))
    assert Durations.from_json(json.loads(json.dumps(merged.to_json()))) == merged == Durations.of(times)
    found = merged.quantile(share)
    if not len(times):
        assert found is None
        return
    true = min(float(np.quantile(times, share, method="inverted_cdf")), float(bin_starts()[-1]))
    assert found is not None
    assert abs(found - true) <= max(0.005 * true, 0.5)


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 40))
def test_requests_are_counted_in_any_split(seed: int, rows: int) -> None:
    """Failed, shed and latency of two halves are those of the whole; a shed request has no latency."""
    draw = np.random.default_rng(seed)
    status, took = draw.choice([200, 422, 429, 500, 502, 503], rows), draw.integers(0, 10**7, rows)
    half, full = draw.random(rows) < 0.5, (status == 503) & (draw.random(rows) < 0.5)
    parts = []
    for at, mask in enumerate((half, ~half)):
        asked = Requests(
            status=status[mask], shed=full[mask], took_us=took[mask], answered=at, refused=at, cached=1, degraded=2
        )
        parts.append(ServiceTally.of(asked))
    asked = Requests(status=status, shed=full, took_us=took, answered=1, refused=1, cached=2, degraded=4)
    whole = ServiceTally.of(asked)

    assert parts[1].merge(parts[0]) == whole == ServiceTally.from_json(json.loads(json.dumps(whole.to_json())))
    assert whole.latency.n == rows - whole.shed
    assert whole.failed == int(((status >= 500) & ~full).sum())


def test_counts_of_other_bins_are_not_added_up() -> None:
    """Two versions with other edges are named as such, instead of giving a wrong sum."""
    other = Plan(
        bundle_digest="e" * 64, features=(FeaturePlan("income", "numeric", (0.0,), (), (1, 1), 0),), score_edges=(),
        task="classification", classes=("no", "yes"), positive="yes", profile={"rows": 2},
    )  # fmt: skip
    block = make_block(1, 5)
    narrow = Block(
        features=block.features[:, :1], score=block.score, decision=block.decision, lower=block.lower,
        upper=block.upper, set_size=block.set_size, review=block.review,
    )  # fmt: skip

    with pytest.raises(SchemaMismatch, match="'income' in 5 bins cannot be added to counts in 2"):
        FeatureTally.of(block, PLAN).merge(FeatureTally.of(narrow, other))


def test_a_feature_that_is_not_known_is_not_missing() -> None:
    """What the log hashes is left out of the counts, and counted where another part has it."""
    block = make_block(3, 6)
    hidden = Block(
        features=block.features, absent=frozenset({"plan"}), score=block.score, decision=block.decision,
        lower=block.lower, upper=block.upper, set_size=block.set_size, review=block.review,
    )  # fmt: skip
    found = FeatureTally.of(hidden, PLAN)

    assert sorted(found.counts) == ["flat", "income"]
    assert found.merge(FeatureTally.of(block, PLAN)).counts["plan"].rows == 6
