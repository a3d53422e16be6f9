"""The remembered state: JSON and back, strictly, and what of it is shown to the registry and the routing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from twinscore.errors import SettingsInvalid
from twinscore.rollout.plan import ArmPlan, ShadowPlan
from twinscore.rollout.seen import Command
from twinscore.rollout.stage import Stage
from twinscore.rollout.state import ModelState
from twinscore.rollout.turn import kept
from twinscore.rollout.wanted import Move, wanted_aliases, wanted_checks, wanted_moves, wanted_plan, wanted_tags
from twinscore.testing.promotion import SHORT_POLICY, PromotionWorld, digest_for, settled_world

SINCE = "2026-05-04T12:00:00+00:00"


def running() -> PromotionWorld:
    """Return a world in which version 2 is a canary, with everything else beside it."""
    found = settled_world()
    found.aliases |= {"champion": "2", "challenger": "5", "shadow": "6"}
    found.until(500)
    found.aliases |= {"champion": "3", "shadow": "7"}
    found.tick(0.5)
    return found


def test_the_state_survives_json_with_its_keys_sorted() -> None:
    """Whoever reads it back goes on from the same value."""
    state = running().state
    text = json.dumps(state.to_json(), sort_keys=True, allow_nan=False)

    assert state.rollout is not None
    assert state.settling is not None
    assert ({"shadow"}, state) == (set(state.asked), ModelState.from_json(json.loads(text)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"servin": "1"}, "Did you mean 'serving'"),
        ({"model": 5}, "must be text"),
        ({"rollout": {"id": "1"}}, "The rollout of loans lacks version"),
        ({"settling": {"version": "1", "by": "x", "since": SINCE, "kind": "fast"}}, "one of policy"),
    ],
)  # fmt: skip
def test_a_state_that_is_none_is_refused(changes: dict[str, Any], words: str) -> None:
    """A member that this version does not know is no reason to guess."""
    with pytest.raises(SettingsInvalid, match=words):
        ModelState.from_json({**ModelState(model="loans").to_json(), **changes})


def test_who_is_asked_follows_from_the_state() -> None:
    """Canary, challenger and shadow, each in its place; a newer wish is not there before it has rested."""
    found = wanted_plan(running().state, SHORT_POLICY)

    assert ("1", digest_for("1")) == (found.live, found.digest)
    assert (ArmPlan(version="2", share=500), ArmPlan(version="5", share=1_000)) == (found.plan.canary, found.plan.ab)
    assert ((ShadowPlan(version="6"),), 250, False) == (
        found.plan.shadows, found.plan.deadline_ms, found.plan.header_override,
    )  # fmt: skip


def test_each_rollout_has_a_salt_of_its_own() -> None:
    """Unless an A/B test runs, whose people would be divided anew; it lasts as long as the canary."""
    salts: list[str | None] = []
    for _ in range(2):
        found = settled_world()
        found.clock.advance(len(salts))
        found.aliases["champion"] = "2"
        found.until(500)
        assert found.routing is not None
        salts.append(found.routing.plan.salt)
        found.until(5_000)
        assert found.routing.plan.salt == salts[-1]

    assert [True, True] == [bool(salt) for salt in salts]
    assert salts[0] != salts[1]


def test_who_must_approve_changes_no_traffic() -> None:
    """The plan is that of the stage before; a first stage asks nobody."""
    gate = Stage(kind="approve", name="approve")
    for stages, share in (((*SHORT_POLICY.stages[:2], gate), 500), ((gate, *SHORT_POLICY.stages), None)):
        found = settled_world(replace(SHORT_POLICY, stages=stages))
        found.aliases["champion"] = "2"
        found.run(20)
        assert found.state.rollout is not None
        assert "waits for the approval of a person" == found.state.rollout.waits
        canary = wanted_plan(found.state, found.policy).plan.canary
        assert share == (None if canary is None else canary.share)


def test_versions_are_checked_before_they_are_asked() -> None:
    """The candidate as long as it is unknown, and what challenger and shadow are to name."""
    found = settled_world()
    found.aliases |= {"champion": "2", "challenger": "5"}
    found.run(1)
    assert ("5",) == wanted_checks(found.state)
    found.run(2)

    assert ("2",) == wanted_checks(found.state)


def test_champion_is_moved_over_what_is_known_only() -> None:
    """What a person put there in the meantime stays."""
    found = settled_world(verdicts={"2": "fail"})
    found.aliases["champion"] = "2"
    while found.state.put_back is None:
        found.tick(killed=found.state.rollout is not None and found.state.rollout.status == "running")
    state = found.state

    assert {"serving": "1", "champion": "1"} == wanted_aliases(state)
    assert (Move(alias="champion", version="1", expected="2"),) == wanted_moves(
        state, {"serving": "1", "champion": "2"}
    )
    assert () == wanted_moves(state, {"serving": "1", "champion": "3"})
    assert (Move(alias="serving", version="1", expected=None),) == wanted_moves(state, {"champion": "1"})


def test_tags_tell_what_is_done_with_each_version() -> None:
    """In words that change with the stage, not with every look."""
    found = running()
    found.aliases["champion"] = "2"
    found.tick()
    tags = {version: said["twinscore.rollout"] for version, said in wanted_tags(found.state).items()}

    assert {
        "1": "live",
        "2": "canary 5%, stage 2 of 4, answers 5%",
        "5": "challenger, compared with the live version",
        "6": "shadow, its answers reach nobody",
    } == tags
    found.until(9_000)
    assert ("kept warm, to go back to", "bake, stage 4 of 4, answers everything") == (
        found.tags["1"]["twinscore.rollout"], found.tags["2"]["twinscore.rollout"],
    )  # fmt: skip
    found.run(10)
    assert "live" == found.tags["2"]["twinscore.rollout"]
    assert found.tags["1"]["twinscore.rollout"].startswith("live until 2026-05-04 12:")


def test_only_the_newest_versions_are_remembered() -> None:
    """A model with a thousand refused versions has a document of bounded size."""
    found: dict[str, str] = {}
    for version in range(1, 200):
        found = kept(found, str(version), "why")

    assert [str(version) for version in range(150, 200)] == sorted(found, key=int)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"name": "abort", "actor": " "}, "the name of the person"),
        ({"name": "promote", "actor": "alice"}, "the version that shall go live"),
        ({"name": "abort", "actor": "alice", "immediate": True}, "Only promote can be immediate"),
        ({"name": "abbort", "actor": "alice"}, "Did you mean 'abort'"),
        ({"name": "abort", "actor": "alice", "versio": "1"}, "Did you mean 'version'"),
    ],
)
def test_a_command_that_is_none_is_refused(said: dict[str, Any], words: str) -> None:
    """Before it is put where the control finds it."""
    with pytest.raises(SettingsInvalid, match=words):
        Command.from_json(said)


def test_a_command_survives_json() -> None:
    """It reads back to an equal value."""
    command = Command(name="promote", actor="alice", reason="why", version="3", immediate=True)

    assert command == Command.from_json(json.loads(json.dumps(command.to_json())))
