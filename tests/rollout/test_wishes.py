"""What people want, by alias and by command: the newest wish wins, and none is lost without a word."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from twinscore.rollout.stage import Stage
from twinscore.testing.promotion import SHORT_POLICY, settled_world


@pytest.mark.parametrize("share", [0, 500, 5_000])
def test_the_newest_wish_wins_and_is_never_overwritten(share: int) -> None:
    """A second move during a rollout ends it; the alias stays where the person put it."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.until(share)
    found.run(2)
    found.verdicts["2"] = "fail"
    found.aliases["champion"] = "3"
    named = []
    for _ in range(50):
        found.tick()
        named.append(found.aliases["champion"])

    assert {"3"} == set(named)
    assert ("3", 0) == (found.aliases["serving"], found.share("2"))


def test_moving_back_ends_a_rollout() -> None:
    """The version was not refused; a person only changed their mind."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.until(500)
    found.aliases["champion"] = "1"
    found.run(5)

    assert ["started", "superseded"] == found.kinds()
    assert (0, {}, "1") == (found.share("2"), found.state.refused, found.aliases["champion"])


def test_a_baking_version_stays_live_when_another_is_asked_for() -> None:
    """It had passed all stages, so the traffic does not go back to what came before."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.until(10_000)
    found.requests_a_tick = 0
    found.aliases["champion"] = "3"
    found.run(4)

    assert ["started", "live", "started"] == found.kinds()
    assert ("2", "2") == (found.state.serving, found.routing.live if found.routing else None)


def test_flapping_ends_on_the_last_one() -> None:
    """A hundred moves in ten seconds change the routing a handful of times."""
    found = settled_world(policy=replace(SHORT_POLICY, stages=()))
    found.changes = 0
    for move in range(100):
        found.aliases["champion"] = str(2 + move % 2)
        found.tick(0.1)
    found.aliases["champion"] = "4"
    found.run(10)

    assert ("4", ["started", "live"]) == (found.aliases["serving"], found.kinds())
    assert found.changes <= 3


def test_immediate_is_live_in_two_steps() -> None:
    """One step to begin, one to check; the third finds it in force."""
    found = settled_world()
    found.command("promote", version="2", immediate=True)
    found.run(2)
    assert 10_000 == found.share("2")
    found.tick()

    assert ["started", "live"] == found.kinds()
    assert ("2", "2") == (found.aliases["champion"], found.aliases["serving"])


def test_immediate_still_needs_a_sound_bundle() -> None:
    """The stages are skipped, the check is not."""
    found = settled_world(unsound={"2": "digest: it is another bundle"})
    found.command("promote", version="2", immediate=True)
    found.run(5)

    assert (0, ["started", "refused"], "1") == (found.share("2"), found.kinds(), found.aliases["champion"])


def test_immediate_hastens_what_runs() -> None:
    """The rollout leaves its stages instead of beginning anew."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.until(500)
    found.command("promote", version="2", immediate=True)
    found.run(3)

    assert ["started", "hastened", "live"] == found.kinds()
    assert "2" == found.aliases["serving"]


def test_going_back_needs_no_registry() -> None:
    """One step with the registry away; the aliases follow when it is back, and the version is not gone back to."""
    found = settled_world()
    found.command("promote", version="2", immediate=True)
    found.run(4)
    found.registry_up = False
    found.command("rollback")
    found.tick()
    assert (10_000, "1") == (found.share("1"), found.live and found.live.version)
    found.run(3)
    assert "2" == found.aliases["champion"]
    found.registry_up = True
    found.run(3)

    assert ("1", "1") == (found.aliases["champion"], found.aliases["serving"])
    assert (["started", "live", "started", "live"], ()) == (found.kinds(), found.state.recent)
    assert "went back to version 1" in found.state.refused["2"]


def test_rollback_during_a_rollout_ends_it() -> None:
    """What was live stays live, and the alias goes back."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.until(10_000)
    found.command("rollback")
    found.tick()

    assert (0, "1", ["started", "rolled_back"]) == (found.share("2"), found.aliases["champion"], found.kinds())
    assert "alice" == found.ledger[1].decided_by


def test_abort_forgets_every_wish() -> None:
    """Also one that the alias made and that was not acted on yet."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.until(500)
    found.aliases["champion"] = "3"
    found.tick(1.0)
    found.command("abort")
    found.run(5)

    assert ("1", ["started", "aborted"], None) == (found.aliases["champion"], found.kinds(), found.state.rollout)


@pytest.mark.parametrize(
    ("name", "version", "why"),
    [
        ("rollback", "", "no version was live before"),
        ("rollback", "7", "version 7 was not live before; versions that were: none"),
        ("abort", "", "nothing is on its way"),
        ("resume", "", "nothing is paused"),
        ("approve", "", "no version waits for an approval"),
    ],
)
def test_what_cannot_be_done_is_recorded(name: str, version: str, why: str) -> None:
    """A command is never lost without a word."""
    found = settled_world()
    found.command(name, version=version)  # type: ignore[arg-type]
    found.tick()

    assert [("command_refused", f"{name} was not done: {why}")] == [(one.kind, one.reason) for one in found.ledger]


def test_a_pause_waits_for_its_person() -> None:
    """Nothing goes forward until somebody resumes."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.until(500)
    found.command("pause", actor="bob")
    found.run(60)
    assert 500 == found.share("2")
    found.command("resume")
    found.run(30)

    assert ["started", "paused", "resumed", "live"] == found.kinds()


def test_a_manual_gate_needs_one_of_its_people() -> None:
    """Weights stay while it waits; it expires."""
    gate = Stage(kind="approve", name="approve", approvers=("carol",), at_most_s=120.0)
    found = settled_world(policy=replace(SHORT_POLICY, stages=(*SHORT_POLICY.stages[:2], gate, SHORT_POLICY.stages[3])))
    found.aliases["champion"] = "2"
    found.run(15)
    assert found.state.rollout is not None
    assert (500, "waits for the approval of carol") == (found.share("2"), found.state.rollout.waits)
    found.command("approve", actor="mallory")
    found.tick()
    assert 500 == found.share("2")
    found.command("approve", actor="carol")
    found.run(10)

    assert ["started", "command_refused", "approved", "live"] == found.kinds()
    found.ledger.clear()
    found.aliases["champion"] = "3"
    found.run(80)
    assert (["started", "rolled_back"], "2") == (found.kinds(), found.aliases["champion"])


def test_removing_champion_ends_what_it_asked_for() -> None:
    """The alias stays removed."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.until(500)
    del found.aliases["champion"]
    found.run(5)

    assert (["started", "aborted"], None) == (found.kinds(), found.aliases.get("champion"))


def test_going_back_from_a_challenger_that_was_promoted() -> None:
    """The version that is left gets no share again because `challenger` still names it, and is no shadow meanwhile."""
    found = settled_world()
    found.aliases |= {"challenger": "2", "shadow": "2"}
    found.run(4)
    found.aliases["champion"] = "2"
    found.run(40)
    found.command("rollback")
    beside = []
    for _ in range(4):
        found.tick()
        assert found.routing is not None
        beside.append((found.routing.live, found.routing.plan.ab, len(found.routing.plan.shadows)))

    assert [("1", None, 0), ("1", None, 1)] == list(dict.fromkeys(beside))


def test_rollback_to_the_version_that_is_on_its_way() -> None:
    """It was live before and is wanted back now, so it leaves its stages behind."""
    found = settled_world(policy=replace(SHORT_POLICY, rollback_window=1))
    for version in ("2", "3"):
        found.aliases["champion"] = version
        found.run(40)
    found.ledger.clear()
    found.aliases["champion"] = "1"
    found.until(500, "1")
    found.command("rollback", version="1")
    found.run(2)
    assert 10_000 == found.share("1")
    found.run(5)

    assert ["started", "superseded", "started", "live"] == found.kinds()
    assert ("1", "1") == (found.aliases["champion"], found.aliases["serving"])


@pytest.mark.parametrize("name", ["promote", "rollback"])
def test_what_bakes_already_cannot_be_hastened(name: Literal["promote", "rollback"]) -> None:
    """It answers everything; that the bake goes on is said."""
    found = settled_world()
    for version in ("2", "1"):
        found.aliases["champion"] = version
        found.run(40)
    found.policy = replace(SHORT_POLICY, rollback_window=0)
    found.aliases["champion"] = "2"
    found.until(10_000)
    found.requests_a_tick = 0
    found.ledger.clear()
    found.command(name, version="2", immediate=name == "promote")
    found.run(4)

    assert ["command_refused"] == found.kinds()
    assert f"{name} was not done: version 2 answers everything already" in found.ledger[0].reason
    assert found.state.rollout is not None
    assert found.state.rollout.takes_all


@pytest.mark.parametrize("commanded", [True, False])
def test_a_wish_for_a_version_that_cannot_be_asked_ends_no_bake(commanded: bool) -> None:
    """What bakes has not proven itself yet, and is not made final for a number that was mistyped."""
    found = settled_world(unsound={"22": "version: there is none"})
    found.aliases["champion"] = "2"
    found.until(10_000)
    found.requests_a_tick = 0
    found.tick()
    if commanded:
        found.command("promote", version="22")
    else:
        found.aliases["champion"] = "22"
    found.run(5)

    assert ["started", "refused"] == found.kinds()
    assert ("22", "2", "version: there is none") == (
        found.ledger[1].from_version, found.ledger[1].to_version, found.ledger[1].reason,
    )  # fmt: skip
    assert ("1", "2", "2") == (found.state.serving, found.state.live, found.aliases["champion"])
    found.verdicts["2"] = "fail"
    found.tick()
    assert ("rolled_back", "1") == (found.kinds()[-1], found.aliases["champion"])


def test_a_bake_goes_on_while_a_newer_version_is_looked_at() -> None:
    """Nothing is known of it as long as the registry is away; once it is found fit, the bake ends for it."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.until(10_000)
    found.requests_a_tick = 0
    found.registry_up = False
    found.command("promote", version="3")
    found.run(5)
    assert ("1", ["started"]) == (found.state.serving, found.kinds())
    found.registry_up = True
    found.run(3)

    assert ["started", "live", "started"] == found.kinds()
