"""The control store, one body for SQLite and a real PostgreSQL: states, ledger, holds and commands."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from twinscore.errors import SettingsInvalid, StoreConflict
from twinscore.ports.rollout_store import ControlStore, Stored
from twinscore.rollout.hold import covering
from twinscore.rollout.ledger import EMPTY, Draft, verify_chain
from twinscore.settings import Settings
from twinscore.wiring import open_rollout_store


def draft(model: str = "loans", reason: str = "", **evidence: object) -> Draft:
    """Return something to enter."""
    return Draft(model=model, kind="started", to_version="2", reason=reason, evidence=evidence)


def test_a_state_is_kept(control: ControlStore, control_settings: Settings) -> None:
    """What was saved is loaded, by another process as well, with a revision that counts the saves."""
    document = {"serving": "1", "note": "é\x00\ud800", "figure": 0.1, "list": [1, None, {"deep": True}]}
    first = control.rollouts.save("loans", document, revision=0, lease=None)
    second = control.rollouts.save("loans", {**document, "serving": "2"}, revision=first.revision, lease=None)
    with open_rollout_store(control_settings) as another:
        found = another.rollouts.load("loans")

    assert Stored(1, document) == first
    assert Stored(2, {**document, "serving": "2"}) == second == found
    assert control.rollouts.load("prices") is None
    assert control.rollouts.models() == ("loans",)


def test_a_figure_that_is_no_number_is_kept(control: ControlStore) -> None:
    """A state never fails to be saved because some figure in it is NaN."""
    control.rollouts.save("loans", {"low": math.nan, "high": math.inf}, revision=0, lease=None)
    found = control.rollouts.load("loans")

    assert found is not None
    assert math.isnan(found.document["low"])
    assert math.inf == found.document["high"]


@pytest.mark.parametrize("revision", [0, 2])
def test_a_stale_revision_changes_nothing(control: ControlStore, revision: int) -> None:
    """State, ledger and commands are as before when somebody else saved first."""
    control.rollouts.save("loans", {"serving": "1"}, revision=0, lease=None)
    command = control.commands.put("loans", {"do": "pause"}, command_id="c1")
    with pytest.raises(StoreConflict, match="revision 1") as caught:
        control.rollouts.save(
            "loans", {"serving": "9"}, revision=revision, lease=None, drafts=[draft()], done={"c1": "paused"}
        )

    assert caught.value.fields["stale"] == "revision"
    assert Stored(1, {"serving": "1"}) == control.rollouts.load("loans")
    assert control.ledger.entries("loans") == ()
    assert control.commands.take("loans") == (command,)


def test_a_state_goes_with_its_entries_and_commands(control: ControlStore) -> None:
    """One save keeps all three, in the order that was given; numbers and digests go on from save to save."""
    control.commands.put("loans", {"do": "promote", "version": "2"}, command_id="c1")
    control.rollouts.save("loans", {}, revision=0, lease=None, drafts=[draft(reason="a", p=0.5), draft(reason="b")])
    control.rollouts.save("loans", {}, revision=1, lease=None, drafts=[draft(reason="c")], done={"c1": "started"})
    control.rollouts.save("prices", {}, revision=0, lease=None, drafts=[draft("prices", "other")])
    entries = control.ledger.entries("loans")

    assert [("a", 1), ("b", 2), ("c", 3)] == [(entry.reason, entry.number) for entry in entries]
    assert {"p": 0.5} == entries[0].evidence
    assert control.ledger.entries("loans", after=2) == entries[2:]
    assert entries[-1].head == control.ledger.head("loans")
    assert verify_chain(entries, known=control.ledger.head("loans")) is None
    assert control.ledger.head("nothing") == EMPTY
    assert control.ledger.chains() == ("loans", "prices")
    assert ((), "started") == (control.commands.take("loans"), control.commands.outcome("c1"))
    assert abs(entries[0].at - datetime.now(UTC)) < timedelta(minutes=5)


def test_entries_of_another_model_are_refused(control: ControlStore) -> None:
    """A state cannot write into a chain that is not its own."""
    with pytest.raises(SettingsInvalid, match="prices"):
        control.rollouts.save("loans", {}, revision=0, lease=None, drafts=[draft("prices")])

    assert control.rollouts.load("loans") is None


def test_text_that_databases_refuse_is_entered(control: ControlStore) -> None:
    """A reason that came from anywhere never stops a save."""
    reason = "a\x00b\ud800'; drop table twinscore_ledger; -- 漢 {} %s :x"
    control.rollouts.save("loans", {}, revision=0, lease=None, drafts=[draft(reason=reason)])
    (entry,) = control.ledger.entries("loans")

    assert reason.replace("\x00", "\ufffd").replace("\ud800", "\ufffd") == entry.reason
    assert verify_chain([entry]) is None


def test_a_hold_lives_in_store_and_ledger(control: ControlStore, control_settings: Settings) -> None:
    """Placed, overridden and released: each survives the process and is one entry of the right chain."""
    now = datetime.now(UTC)
    one = control.holds.place("loans", reason="drift", owner="ann", source="drift")
    every = control.holds.place("*", reason="freeze", owner="bob", source="person", expires=now + timedelta(days=1))
    with open_rollout_store(control_settings) as another:
        assert another.holds.held() == (one, every)
        assert covering(another.holds.held(), "loans", now + timedelta(hours=1)) == (one, every)
        another.holds.override(every.id, model="loans", by="cia", reason="urgent fix")
        another.holds.release(one.id, by="ann", reason="income is back")

    assert covering(control.holds.held(), "loans", now + timedelta(hours=1)) == ()
    assert [hold.id for hold in covering(control.holds.held(), "prices", now + timedelta(hours=1))] == [every.id]
    assert [hold.id for hold in control.holds.held(over=True)] == [one.id, every.id]
    assert [("hold_placed", "ann"), ("hold_overridden", "cia"), ("hold_released", "ann")] == [
        (entry.kind, entry.requested_by) for entry in control.ledger.entries("loans")
    ]
    assert ["hold_placed"] == [entry.kind for entry in control.ledger.entries("*")]


def test_an_expired_hold_is_over(control: ControlStore) -> None:
    """The store's clock decides; who looks back still sees it."""
    now = datetime.now(UTC)
    soon = control.holds.place(
        "loans", reason="short", owner="ann", source="person", expires=now + timedelta(seconds=0.3)
    )
    while control.holds.held():
        pass

    assert control.holds.held(over=True) == (soon,)


def test_a_refused_change_of_a_hold_leaves_no_trace(control: ControlStore) -> None:
    """No entry for what did not happen; an unknown id is answered with the ids there are."""
    hold = control.holds.place("loans", reason="drift", owner="ann", source="drift")
    before = control.ledger.entries("loans")
    with pytest.raises(SettingsInvalid, match="only"):
        control.holds.override(hold.id, model="loans", by="twinscore", reason="why not")
    with pytest.raises(SettingsInvalid, match="prices"):
        control.holds.override(hold.id, model="prices", by="ann", reason="why not")
    with pytest.raises(SettingsInvalid, match=hold.id):
        control.holds.release(hold.id[:-1], by="ann", reason="typing")

    assert control.holds.held() == (hold,)
    assert control.ledger.entries("loans") == before


def test_a_command_waits_until_it_is_acted_on(control: ControlStore) -> None:
    """Commands keep their order; asking again changes nothing; only a save ends them, once."""
    first = control.commands.put("loans", {"do": "pause", "actor": "ann"}, command_id="c1")
    second = control.commands.put("loans", {"do": "resume", "actor": "ann"}, command_id="c2")
    again = control.commands.put("loans", {"actor": "ann", "do": "pause"}, command_id="c1")
    with pytest.raises(StoreConflict, match="c1"):
        control.commands.put("loans", {"do": "abort", "actor": "ann"}, command_id="c1")

    assert first == again
    assert control.commands.take("loans") == control.commands.take("loans") == (first, second)
    assert control.commands.take("prices") == ()
    control.rollouts.save("loans", {}, revision=0, lease=None, done={"c1": "paused"})
    control.rollouts.save("loans", {}, revision=1, lease=None, done={"c1": "again", "c2": "resumed"})
    assert ("paused", "resumed") == (control.commands.outcome("c1"), control.commands.outcome("c2"))
    with pytest.raises(SettingsInvalid, match="c3"):
        control.commands.outcome("c3")


def test_two_writers_make_one_chain(control: ControlStore, control_settings: Settings) -> None:
    """Savers and holders of one model, at once, each several times: every entry is there, in one whole chain."""
    from concurrent.futures import ThreadPoolExecutor

    def place(number: int) -> str:
        with open_rollout_store(control_settings) as store:
            return store.holds.place("loans", reason=f"reason {number}", owner="ann", source="person").id

    def save(_: int) -> None:
        with open_rollout_store(control_settings) as store:
            while True:
                stored = store.rollouts.load("loans")
                try:
                    revision = 0 if stored is None else stored.revision
                    store.rollouts.save("loans", {}, revision=revision, lease=None, drafts=[draft()])
                    return
                except StoreConflict:
                    continue

    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(place if number % 2 else save, number) for number in range(16)]
        for job in jobs:
            job.result()
    entries = control.ledger.entries("loans")

    assert {"hold_placed": 8, "started": 8} == {
        kind: [entry.kind for entry in entries].count(kind) for kind in ("hold_placed", "started")
    }
    assert verify_chain(entries, known=control.ledger.head("loans")) is None
    stored = control.rollouts.load("loans")
    assert stored is not None
    assert stored.revision == 8
