"""Evidence of a rollout that is under way over an upgrade: what an earlier build kept is read, and proves nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twinscore.control.stage_evidence import StageEvidence, _joined
from twinscore.rollout.counts import LATENCY_EDGES_MS
from twinscore.rollout.entity_groups import GROUPS, EntityGroups
from twinscore.rollout.evidence import ArmEvidence, Evidence, Histogram, Role
from twinscore.rollout.memory_trend import BLOCKS, MemoryTrend
from twinscore.rollout.policy import Policy
from twinscore.rollout.routing import Routing, Target
from twinscore.rollout.state import Rollout
from twinscore.settings import load_settings
from twinscore.wiring import open_rollout_store

KEPT = Path(__file__).parent / "evidence_of_an_earlier_build.json"
"""A canary at 25 % after three looks, as the build of commit 43c521b kept it: without entities and slopes of memory."""
EDGES = (0.25, 0.5, 0.75)
START = datetime(2026, 3, 1, 10, tzinfo=UTC)
POLICY = Policy.default("loans")
ROLLOUT = Rollout(
    id="r1", version="2", was="1", requested_by="anna", policy_digest=POLICY.digest, policy=POLICY.to_json(),
    status="running", stage=3, started_at=START, stage_at=START,
)  # fmt: skip
ROUTING = Routing(model="loans", live=Target(version="1", digest="1" * 64))


class Replicas:
    """Replicas of this build: every look finds 600 more calls of the live version and 200 of the candidate."""

    def __init__(self, known: Evidence) -> None:
        self.evidence = known
        self._looks = 0

    def look(self, routing: Routing) -> Evidence:
        """Add what was asked since the look before."""
        self._looks += 1
        arms = (arm_of("1", "live", 600, self._looks), arm_of("2", "canary", 200, self._looks + 100))
        at = START + timedelta(minutes=10, seconds=30 * self._looks)
        self.evidence = replace(self.evidence.merged(Evidence(arms=arms)), at=at, replicas=2)
        return self.evidence

    def close(self) -> None:
        """Nothing is held."""


def arm_of(version: str, role: Role, n: int, seed: int) -> ArmEvidence:
    """Return calls of one row each, everyone of an entity of its own, by a process that lives for ten minutes."""
    rng = np.random.default_rng(seed)
    scores, groups = rng.random(n), rng.integers(0, GROUPS, n)
    places = np.searchsorted(EDGES, scores)
    return ArmEvidence(
        version=version, role=role, calls=n, rows=n, scores=Histogram.of(EDGES, scores.tolist()), memory_mb=3.0,
        decisions={"approve": int((scores > 0.5).sum()), "refuse": int((scores <= 0.5).sum())},
        latency_ms=Histogram.of(LATENCY_EDGES_MS, np.exp(rng.normal(1.6, 0.3, n)).tolist()),
        memory_trends=(MemoryTrend(process=f"{role}-1", look=1, floors_mb=(1.0,) * BLOCKS),),
        groups=EntityGroups(
            tuple(np.bincount(groups, minlength=GROUPS).tolist()),
            tuple(np.bincount(groups, places, GROUPS).astype(int).tolist()), int((places * places).sum()),
        ),
    )  # fmt: skip


def kept(place: Path, evidence: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return evidence as the control's own store gives it back."""
    with open_rollout_store(load_settings(home=place)) as store:
        store.rollouts.save("loans", {"state": {}, "evidence": evidence}, revision=0, lease=None)
        found = store.rollouts.load("loans")
    assert found is not None
    return dict(found.document["evidence"])


def looks(known: Mapping[str, Any], rollout: Rollout, n: int) -> list[tuple[dict[str, str], int]]:
    """Return what each look says of each gate, and of the requests of the stage."""
    watch = StageEvidence(rollout, Replicas(Evidence.from_json(known["all"])), known)
    found = [watch.look(rollout, POLICY, ROUTING) for _ in range(n)]
    return [({one.gate: one.outcome for one in verdicts}, requests) for verdicts, requests in found]


def test_what_an_earlier_build_kept_is_read_and_proves_nothing(tmp_path: Path) -> None:
    """The stage counts anew: no gate passes on rows whose entities nobody knows, and all do on what came since."""
    known = kept(tmp_path, json.loads(KEPT.read_text()))
    earlier = Evidence.from_json(known["all"])
    (first, none), (_, some), *_, (last, requests) = looks(known, ROLLOUT, 6)

    assert {"groups", "memory_trends"}.isdisjoint(known["all"]["arms"][0])
    assert [(EntityGroups(), ()), (EntityGroups(), ())] == [(arm.groups, arm.memory_trends) for arm in earlier.arms]
    assert (600, 1_800) == tuple(arm.calls for arm in earlier.arms)
    assert "pass" not in {first[gate] for gate in first if gate not in ("restarts", "memory_mb", "memory_mb_per_h")}
    assert (0, 200, 1_000) == (none, some, requests)
    assert {"pass"} == {outcome for gate, outcome in last.items() if gate != "decision_flips"}


def test_what_this_build_kept_is_gone_on_with(tmp_path: Path) -> None:
    """A control that is followed by another one of its build loses no request of the stage."""
    watch = StageEvidence(ROLLOUT, Replicas(Evidence()))
    for _ in range(4):
        watch.look(ROLLOUT, POLICY, ROUTING)
    known = kept(tmp_path, watch.to_json())

    assert [800, 1_000] == [requests for _, requests in looks(known, ROLLOUT, 2)]


@pytest.mark.parametrize("status", ["running", "baking"])
def test_the_stage_that_ended_with_the_upgrade_is_the_one_before(tmp_path: Path, status: str) -> None:
    """What it showed is not lost, though it was counted by an earlier build; the bake compares with it."""
    known = kept(tmp_path, json.loads(KEPT.read_text()))
    rollout = replace(ROLLOUT, stage=4, status=status)  # type: ignore[arg-type]
    watch = StageEvidence(rollout, Replicas(Evidence.from_json(known["all"])), known)
    watch.look(rollout, POLICY, ROUTING)
    before = Evidence.from_json(watch.to_json()["before"])

    assert [400, 1_200] == [arm.calls for arm in before.arms]


def test_a_bake_is_compared_with_all_stages_before_it() -> None:
    """What the version before showed in each of them, a control that was followed by another one included."""
    replicas = Replicas(Evidence())
    watch = StageEvidence(replace(ROLLOUT, stage=0), replicas)
    for stage, n_looks in ((0, 4), (1, 3), (2, 2)):
        rollout = replace(ROLLOUT, stage=stage)
        for _ in range(n_looks):
            watch.look(rollout, POLICY, ROUTING)
        watch = StageEvidence(rollout, replicas, json.loads(json.dumps(watch.to_json())))
    baking = replace(ROLLOUT, stage=3, status="baking")
    watch.look(baking, POLICY, ROUTING)
    known = watch.to_json()
    before = Evidence.from_json(known["before"])

    # The first look of a stage is where its counting begins.
    assert [200 * (3 + 2 + 1), 600 * (3 + 2 + 1)] == [arm.calls for arm in before.arms if arm.calls]
    assert known["before_span"][0] < known["before_span"][1] <= known["since"]


def test_restarts_before_a_bake_are_those_of_the_last_stage() -> None:
    """A version that was restarted for days does not excuse the one that follows it."""
    first, last = (Evidence(arms=(replace(arm_of("1", "live", 50, 1), restarts=n),)) for n in (7, 2))
    (joined,) = _joined(_joined(None, first), last).arms
    (gone,) = _joined(first, Evidence()).arms

    assert (100, 2) == (joined.rows, joined.restarts)
    assert (50, 0) == (gone.rows, gone.restarts)
