"""What a promotion waits for: figures, holds, the calendar, the registry; silence never passes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from twinscore.rollout.calendar import Freeze
from twinscore.rollout.gate import Gate
from twinscore.rollout.hold import Hold
from twinscore.testing.promotion import SHORT_POLICY, PromotionWorld, settled_world


def hold(found: PromotionWorld, **said: object) -> Hold:
    values: dict[str, object] = {
        "id": "h1", "scope": "loans", "reason": "drift", "owner": "bob", "source": "person",
        "created_at": found.clock.now(),
    }  # fmt: skip
    return Hold(**{**values, **said})  # type: ignore[arg-type]


def test_silence_never_passes() -> None:
    """Without a verdict nothing goes forward; at the deadline it goes back."""
    found = settled_world(verdicts={"2": "inconclusive"})
    found.aliases["champion"] = "2"
    found.run(20)

    assert (0, "shadow") == (
        found.share("2"),
        found.state.rollout and SHORT_POLICY.stages[found.state.rollout.stage].name,
    )
    assert found.state.rollout is not None
    assert "inconclusive" in found.state.rollout.waits
    found.run(20)
    assert ["started", "rolled_back"] == found.kinds()
    assert "the stage shadow was not over within 1m" in found.ledger[1].reason


def test_too_few_requests_never_pass() -> None:
    """Passing gates are not enough without the stage's own requests."""
    found = settled_world(requests_a_tick=0)
    found.aliases["champion"] = "2"
    found.run(10)

    assert found.state.rollout is not None
    assert ("waits for requests: 0 of 100", 0) == (found.state.rollout.waits, found.state.rollout.stage)


def test_a_deadline_may_pause_instead() -> None:
    """A person resumes, with the whole of the stage's time, or ends it."""
    stages = (replace(SHORT_POLICY.stages[0], on_deadline="pause"), *SHORT_POLICY.stages[1:])
    found = settled_world(policy=replace(SHORT_POLICY, stages=stages), verdicts={"2": "inconclusive"})
    found.aliases["champion"] = "2"
    found.run(60)

    assert ["started", "paused"] == found.kinds()
    found.verdicts.clear()
    found.command("resume")
    found.run(40)
    assert ["started", "paused", "resumed", "live"] == found.kinds()


def test_a_hold_stops_going_forward_and_not_going_back() -> None:
    """The weight stays while it is held, without counting to the deadline; a failure still ends the rollout."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.until(500)
    found.holds.append(hold(found))
    found.run(60)

    assert found.state.rollout is not None
    assert (500, "held by bob: drift") == (found.share("2"), found.state.rollout.waits)
    assert "held by bob" in found.tags["2"]["twinscore.rollout"]
    found.verdicts["2"] = "fail"
    found.tick()
    assert (0, ["started", "rolled_back"]) == (found.share("2"), found.kinds())


def test_a_hold_that_ends_lets_it_go_on() -> None:
    """After a hold longer than the deadline the stage has the time that it had before."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.until(500)
    found.holds.append(hold(found, expires=found.clock.now() + timedelta(seconds=600)))
    found.run(299)
    assert (500, ["started"]) == (found.share("2"), found.kinds())
    found.run(30)

    assert ["started", "live"] == found.kinds()


def test_a_freeze_stops_a_start_and_immediate_passes_it() -> None:
    """The calendar is for plans; an emergency goes through, and is recorded as one."""
    freeze = Freeze(name="may", starts="2026-05-01", ends="2026-05-31", reason="no changes in May")
    found = settled_world(policy=replace(SHORT_POLICY, freeze=(freeze,)))
    found.aliases["champion"] = "2"
    found.run(20)

    assert found.state.rollout is not None
    assert "frozen: no changes in May, until 2026-06-01 00:00:00 UTC" == found.state.rollout.waits
    found.command("promote", version="3", immediate=True)
    found.run(4)
    assert ("3", "3") == (found.aliases["serving"], found.aliases["champion"])
    assert ["started", "superseded", "started", "live"] == found.kinds()
    assert found.ledger[2].evidence["kind"] == "immediate"


def test_a_hold_stops_immediate_too() -> None:
    """An emergency needs an override of the hold, by a person who is named."""
    found = settled_world()
    found.holds.append(hold(found))
    found.command("promote", version="3", immediate=True)
    found.run(5)
    assert 0 == found.share("3")
    found.holds.clear()
    found.run(3)

    assert 10_000 == found.share("3")


def test_a_recent_version_skips_the_stages_in_a_hold() -> None:
    """Going back is never stopped, whoever does it by moving the alias."""
    found = settled_world()
    found.command("promote", version="2", immediate=True)
    found.run(4)
    found.holds.append(hold(found))
    found.aliases["champion"] = "1"
    found.run(5)

    assert ("1", ["started", "live", "started", "live"]) == (found.aliases["serving"], found.kinds())
    assert found.ledger[2].evidence["skips_stages"] is True


def test_the_registry_away_stops_only_new_wishes() -> None:
    """The rollout that runs goes on, and what waits is said."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.until(500)
    found.registry_up = False
    found.aliases["champion"] = "3"
    found.run(30)
    assert (10_000, "2", "1") == (found.share("2"), found.state.serving, found.aliases["serving"])
    assert "the registry does not answer" in found.state.waits
    found.registry_up = True
    found.run(40)

    assert ("3", "3") == (found.aliases["serving"], found.aliases["champion"])
    assert "serving_put_back" not in found.kinds()


def test_serving_is_put_back_and_recorded_once() -> None:
    """Only the platform moves it."""
    found = settled_world()
    found.aliases["serving"] = "7"
    found.tick(killed=True)
    found.run(3)
    assert ("1", ["serving_put_back"]) == (found.aliases["serving"], found.kinds())
    del found.aliases["serving"]
    found.run(3)

    assert ("1", ["serving_put_back"] * 2) == (found.aliases["serving"], found.kinds())


def test_gates_that_decide_nothing_hold_nothing_up_and_prove_nothing() -> None:
    """A dry run may fail; a policy is not passed by dry runs alone."""
    gates = (Gate(metric="error_rate", max=0.1), Gate(metric="restarts", max=1, dry_run=True))
    found = settled_world(policy=replace(SHORT_POLICY, gates=gates))
    found.aliases["champion"] = "2"
    found.run(40)

    assert "2" == found.aliases["serving"]


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    """What rests or is waited for begins anew, instead of standing still until the old time is reached."""
    found = settled_world()
    found.aliases |= {"champion": "2", "challenger": "5"}
    found.tick(1.0)
    found.clock.advance(-3_600)
    found.run(3)
    assert ["started", "challenger_set"] == found.kinds()
    found.until(500)
    found.run(1)
    found.clock.advance(-3_600)
    found.run(40)

    assert ["started", "challenger_set", "live"] == found.kinds()


def test_a_clock_that_is_set_back_leaves_the_deadline() -> None:
    """A stage that shows nothing ends within its time from then."""
    found = settled_world(verdicts={"2": "inconclusive"})
    found.aliases["champion"] = "2"
    found.run(5)
    found.clock.advance(-3_600)
    found.run(40)

    assert ["started", "rolled_back"] == found.kinds()
