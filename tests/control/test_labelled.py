"""Outcomes of watched windows as evidence of a rollout: late, revised, and only of the time asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from tests.monitoring.scored import View, block_of

from twinscore.control.labelled import WindowLabels
from twinscore.control.stage_evidence import StageEvidence
from twinscore.monitoring.block import Codes
from twinscore.monitoring.group_tally import GroupTally
from twinscore.monitoring.outcomes import OutcomeTally
from twinscore.monitoring.tally import WindowTally
from twinscore.monitoring.window_key import WindowKey
from twinscore.ports.window_store import Counted
from twinscore.rollout.evidence import ArmEvidence, Evidence, Histogram
from twinscore.rollout.gate import Gate
from twinscore.rollout.policy import Policy
from twinscore.rollout.routing import Routing, Target
from twinscore.rollout.state import Rollout
from twinscore.settings import Settings
from twinscore.wiring import window_store

START = datetime(2026, 3, 1, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
ROWS = 2_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home of its own."""
    return Settings(home=tmp_path)


def put(settings: Settings, version: str, role: str, hour: int, *, right: float, labelled: bool = True) -> None:
    """Count a window of a version that is right in a share of its rows."""
    rng = np.random.default_rng(hour)
    label = (rng.random(ROWS) < 0.5).astype(np.float64)
    answered = np.where(rng.random(ROWS) < right, label, 1 - label)
    score = np.where(answered > 0, 0.9, 0.1)
    groups = {"sex": Codes(rng.integers(0, 2, ROWS), ("f", "m"))}
    block = block_of(score, label=label if labelled else None, groups=groups)
    start = START + hour * HOUR
    key = WindowKey(model="loans", version=version, bundle_digest=version * 64, role=role, path="online", segment="",
                    start=start, end=start + HOUR)  # fmt: skip
    parts = {"outcomes": OutcomeTally.of(block, View()), "groups": GroupTally.of(block, View())}
    tally = WindowTally(parts=parts).to_json()
    window_store(settings.lake, "loans").put(Counted(f"{version}-{role}-{hour}", {}, ((key, tally),)))


def test_outcomes_are_those_of_the_windows_inside(settings: Settings) -> None:
    """A window that began before, or ends after, is left out; what is counted anew replaces what was there."""
    for hour in range(4):
        put(settings, "2", "canary", hour, right=0.9, labelled=hour > 0)
    labels = WindowLabels(settings, "loans", every_s=0.0)
    first = labels.between(START + 0.5 * HOUR)["2", "canary"]
    some = labels.between(START, START + 2 * HOUR)["2", "canary"]
    put(settings, "2", "canary", 0, right=0.9)

    assert (3 * ROWS, 3 * ROWS) == (first.n, first.loss.n)
    assert (ROWS, 2 * ROWS) == (some.n, sum(n for n, _ in some.groups.values()))
    assert {"sex=f", "sex=m"} == set(some.groups)
    assert 4 * ROWS == labels.between(START)["2", "canary"].n
    assert {} == labels.between(START + 9 * HOUR)


class Counts:
    """Replicas that were asked, and know no outcomes."""

    def __init__(self) -> None:
        self.evidence = Evidence(at=START)

    def look(self, routing: Routing) -> Evidence:
        """Add calls of both versions."""
        arms = [
            ArmEvidence(version=version, role=role, calls=ROWS, rows=ROWS, scores=Histogram.empty((0.5,)))
            for version, role in (("1", "live"), ("2", "canary"))
        ]
        self.evidence = self.evidence.merged(Evidence(arms=tuple(arms), at=START, replicas=1))
        return self.evidence

    def close(self) -> None:
        """Hold nothing."""


@pytest.mark.parametrize(("right", "outcome"), [(0.9, "pass"), (0.7, "fail")])
def test_a_gate_on_the_loss_decides_once_outcomes_are_known(settings: Settings, right: float, outcome: str) -> None:
    """Until then it is inconclusive; a canary that is wrong more often than the live version fails it."""
    policy = Policy(model="loans", gates=(Gate(metric="loss", worse_by=0.1),))
    rollout = Rollout(
        id="r1", version="2", was="1", digest="b" * 64, requested_by="ada", status="running",
        policy_digest=policy.digest, policy=policy.to_json(), started_at=START, stage_at=START,
    )  # fmt: skip
    routing = Routing(model="loans", live=Target(version="1", digest="a" * 64))
    watch = StageEvidence(rollout, Counts(), labels=WindowLabels(settings, "loans", every_s=0.0))
    (before,) = watch.look(rollout, policy, routing)[0]
    for hour in range(1, 4):
        put(settings, "1", "live", hour, right=0.9)
        put(settings, "2", "canary", hour, right=right)
    (after,) = watch.look(rollout, policy, routing)[0]

    assert ("inconclusive", outcome) == (before.outcome, after.outcome)
