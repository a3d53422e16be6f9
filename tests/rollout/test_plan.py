"""What people write: percentages, versions, and the routings that follow from promoting and going back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from twinscore.errors import SettingsInvalid
from twinscore.rollout.plan import ArmPlan, RoutingPlan, ShadowPlan, as_share, promoted, rolled_back, show_share
from twinscore.rollout.routing import Challenger, Routing, Shadow, Target

ONE, TWO, THREE = (Target(version=str(n), digest=f"{n}" * 64) for n in (1, 2, 3))
CANARY = Challenger(arm="canary", app="m.canary.2", version="2", digest=TWO.digest, mode="canary", share=500)
SHADOW = Shadow(app="m.shadow.3", version="3", digest=THREE.digest)
RUNNING = Routing(model="m", live=ONE, epoch=4, challengers=(CANARY,), shadows=(SHADOW,))


def test_a_plan_is_read_from_yaml() -> None:
    """Versions may be numbers, shares are percentages, the rest has defaults."""
    text = """
    canary: {version: 2, share: 5%}
    ab: {version: "3", share: 0.25%, arm: cheaper}
    shadows: [{version: 4}, {version: 5, sampling: 10%}]
    entity: [customer]
    """
    expected = RoutingPlan(
        canary=ArmPlan(version="2", share=500),
        ab=ArmPlan(version="3", share=25, arm="cheaper"),
        shadows=(ShadowPlan(version="4"), ShadowPlan(version="5", sampling=1_000)),
        entity=("customer",),
    )

    assert expected == RoutingPlan.from_document(yaml.safe_load(text))
    assert ("2", "3", "4", "5") == expected.versions
    assert RoutingPlan() == RoutingPlan.from_document(None)


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ([], "routing"),
        ({"canari": {}}, "canary"),
        ({"canary": {"version": 2}}, "share"),
        ({"canary": {"share": "5%"}}, "version"),
        ({"canary": {"version": 2, "share": 5}}, "percentage"),
        ({"canary": {"version": 2, "share": "105%"}}, "percentage"),
        ({"canary": {"version": 2, "share": "1.234%"}}, "percentage"),
        ({"canary": {"version": True, "share": "5%"}}, "version"),
        ({"canary": 5}, "canary"),
        ({"shadows": {"version": 2}}, "shadows"),
        ({"entity": [1]}, "entity"),
        ({"deadline_ms": "fast"}, "deadline_ms"),
        ({"header_override": 1}, "header_override"),
    ],
)
def test_a_wrong_plan_is_refused(document: Any, word: str) -> None:
    """The message names the key."""
    with pytest.raises(SettingsInvalid, match=word):
        RoutingPlan.from_document(document)


@given(st.integers(0, 10_000))
def test_shares_read_as_they_are_shown(share: int) -> None:
    """A shown share reads back to the same number."""
    assert share == as_share(show_share(share))


def test_promotion_keeps_the_version_before() -> None:
    """The canary becomes live, leaves the challengers, and the old live version stays warm."""
    found = promoted(RUNNING, TWO)

    assert (TWO, ONE, 5, (), (SHADOW,)) == (
        found.live, found.previous, found.epoch, found.challengers, found.shadows
    )  # fmt: skip
    assert ONE == promoted(found, TWO).previous


def test_going_back_swaps_the_two() -> None:
    """Rollback names the kept version, ends canary and shadow and raises the epoch; twice is where it began."""
    after = promoted(RUNNING, TWO)
    back = rolled_back(replace(after, challengers=(replace(CANARY, digest=THREE.digest),)))

    assert (ONE, TWO, 6, ()) == (back.live, back.previous, back.epoch, back.beside)
    assert TWO == rolled_back(back).live
    with pytest.raises(SettingsInvalid, match="no earlier version"):
        rolled_back(RUNNING)
