"""Rows of one entity count as what they tell: the design effect is right, and entities that repeat are no evidence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.rollout.entity_groups import GROUPS, LEAST_GROUPS, EntityGroups
from twinscore.rollout.evidence import ArmEvidence, Evidence, Histogram, Role
from twinscore.rollout.gate import Gate
from twinscore.rollout.judge import judge

from .test_judge import BEGAN, SCORE_EDGES

EDGES = np.array(SCORE_EDGES)
SHIFT = Gate(metric="score_shift", worse_by=0.1)
DECISIONS = Gate(metric="decision_rate", worse_by=0.1)
numbers = st.lists(st.integers(0, 999), min_size=GROUPS, max_size=GROUPS).map(tuple)
groups = st.builds(EntityGroups, numbers, numbers, st.integers(0, 9999))


def counted(scores: np.ndarray, of: np.ndarray) -> EntityGroups:
    """Return the sums of rows with these scores, in these groups."""
    places = np.searchsorted(EDGES, scores)
    n, total = np.bincount(of, minlength=GROUPS), np.bincount(of, places, GROUPS).astype(int)
    return EntityGroups(tuple(n.tolist()), tuple(total.tolist()), int(places @ places))


def arm(version: str, role: Role, scores: np.ndarray, of: np.ndarray | None) -> ArmEvidence:
    """Return what is counted of rows; without groups as where nobody divides entities."""
    n, approved = len(scores), int((scores > 0.6).sum())
    return ArmEvidence(
        version=version, role=role, calls=n, rows=n, scores=Histogram.of(SCORE_EDGES, scores.tolist()),
        decisions={"approve": approved, "refuse": n - approved},
        groups=EntityGroups() if of is None else counted(scores, of),
    )  # fmt: skip


def outcomes(seed: int, *, entities: int, moved: float, known: bool, share: float = 0.05) -> set[str]:
    """Return what score_shift and decision_rate say of a canary at any of eight looks.

    Each entity has a score of its own and asks thirty times on average; a hash gives the canary its share of them.
    """
    rng = np.random.default_rng(seed)
    score, mine, of = rng.random(entities), rng.random(entities) < share, rng.integers(0, GROUPS, entities)
    activity = rng.lognormal(0.0, 0.7, entities)
    upto = np.cumsum(activity)
    who = np.searchsorted(upto, upto[-1] * rng.random(30 * entities)).clip(max=entities - 1)
    found: set[str] = set()
    for end in np.linspace(0, len(who), 9, dtype=int)[1:]:
        canary, live = who[:end][mine[who[:end]]], who[:end][~mine[who[:end]]]
        evidence = Evidence(arms=(
            arm("1", "live", score[live], of[live] if known else None),
            arm("2", "canary", np.minimum(1.0, score[canary] + moved), of[canary] if known else None),
        ), at=BEGAN)  # fmt: skip
        found |= {one.outcome for one in judge([SHIFT, DECISIONS], evidence, "2", "1", since=BEGAN)}
    return found


def test_entities_that_repeat_are_no_evidence() -> None:
    """A good version with 75 entities of 1,500: as independent rows it is called bad, as entities it never is."""
    told = [[outcomes(seed, entities=1_500, moved=0.0, known=known) for seed in range(40)] for known in (False, True)]
    naive, honest = [sum("fail" in one for one in some) for some in told]

    assert naive >= 6
    assert 0 == honest


def test_a_shift_of_many_entities_is_still_proved() -> None:
    """Scores 0.3 higher, with 300 entities in the canary."""
    assert all("fail" in outcomes(seed, entities=6_000, moved=0.3, known=True) for seed in range(6))


@pytest.mark.parametrize(("each", "alike"), [(1, True), (4, True), (4, False), (12, True)])
def test_the_design_effect_is_that_of_the_rows(each: int, alike: bool) -> None:
    """As many as an entity has where its rows are alike, one where they are not."""
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        entities, of = rng.random(1_000), rng.integers(0, GROUPS, 1_000)
        scores = np.repeat(entities, each) if alike else rng.random(1_000 * each)
        effect = counted(scores, np.repeat(of, each)).design_effect
        assert effect is not None
        found.append(effect)

    assert np.mean(found) == pytest.approx(each if alike else 1.07, rel=0.08)  # cut off at 1 below


def test_few_groups_say_nothing_and_one_score_says_one() -> None:
    """With rows in 15 groups nothing is known; scores that are all alike cannot mislead."""
    few = EntityGroups(n=(9,) * (LEAST_GROUPS - 1) + (0,) * (GROUPS - LEAST_GROUPS + 1))

    assert few.design_effect is None
    assert 1.0 == EntityGroups(n=(9,) * GROUPS, total=(18,) * GROUPS, squares=9 * GROUPS * 4).design_effect


@given(groups, groups, groups)
def test_sums_add_up_in_any_order(one: EntityGroups, two: EntityGroups, three: EntityGroups) -> None:
    """Over replicas and looks; what was added can be taken away, and JSON brings it back."""
    whole = one.merged(two).merged(three)

    assert whole == three.merged(one.merged(two))
    assert one == whole.minus(two).minus(three)
    assert whole == EntityGroups.from_json(json.loads(json.dumps(whole.to_json())))


def test_what_may_be_the_choice_of_entities_holds_nothing_up() -> None:
    """A distance of 11 % with 50 entities passes, and the verdict says why; with thousands of them it waits."""

    def told(entities: int, rows: int) -> tuple[str, str]:
        # Of the live version's entities half are below 0.5, of the canary's 61 %.
        mine = np.where(np.arange(entities) < 0.61 * entities, 0.3, 0.7)
        live = np.where(np.arange(20_000) < 10_000, 0.3, 0.7)
        rng = np.random.default_rng(1)
        sides = [
            arm(version, role, np.repeat(scores, each), np.repeat(rng.permutation(len(scores)) % GROUPS, each))
            for version, role, scores, each in (("1", "live", live, 2), ("2", "canary", mine, rows))
        ]  # type: ignore[arg-type]
        one = judge([SHIFT], Evidence(arms=tuple(sides), at=BEGAN), "2", "1", since=BEGAN)[0]
        return one.outcome, one.words

    assert ("pass", True) == (told(50, 40)[0], "may be the choice of entities" in told(50, 40)[1])
    assert "inconclusive" == told(4_000, 2)[0]
