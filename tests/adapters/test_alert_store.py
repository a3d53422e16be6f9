"""Alerts in the control store, one body for SQLite and a real PostgreSQL: states, orders, tickets, audits and cases."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from twinscore.adapters.sql_rollouts import SqlRollouts
from twinscore.control.dismiss import dismiss_incident
from twinscore.control.incidents import dismissed_incidents, open_incidents
from twinscore.control.judged import shown_of
from twinscore.control.kept_rules import KeptRules, changed_parts, read_rules
from twinscore.errors import ModelNotFound, SettingsInvalid, StoreConflict
from twinscore.monitoring.incident import AlertState
from twinscore.monitoring.order import Order
from twinscore.ports.alert_store import KeptOrder
from twinscore.ports.case_store import AuditCase, HumanAudit
from twinscore.ports.rollout_store import ControlStore, Stored
from twinscore.ports.ticket_store import Message, Ticket
from twinscore.rollout.ledger import Draft, verify_chain
from twinscore.settings import Settings
from twinscore.testing.alerts import Watched
from twinscore.wiring import open_rollout_store

ALL = ("ticket", "hold", "scale", "degrade", "audit", "retrain", "page")


def order(
    incident: str = "i1", action: Any = "ticket", verb: Any = "open", number: int = 1, model: str = "loans"
) -> Order:
    """Return an order as a rule gives it."""
    return Order(
        id=f"{incident}/{action}/{verb}/{number}", incident=incident, model=model, action=action, verb=verb,
        severity="warning", title="psi of income is 0.4", body="**Since** Monday.",
        details={"value": 0.4, "low": math.inf, "options": {"expires": "48h"}},
    )  # fmt: skip


def given(control: ControlStore, *orders: Order) -> None:
    """Put orders of one model."""
    found = control.alerts.load(orders[0].model)
    revision = 0 if found is None else found.revision
    control.alerts.save(orders[0].model, {}, revision=revision, lease=None, orders=orders)


def taken(control: ControlStore, limit: int = 10, **more: Any) -> list[KeptOrder]:
    """Take what is due."""
    return list(control.orders.take(None, actions=ALL, seconds=60.0, limit=limit, **more))


def ids(orders: Any) -> list[str]:
    """Return the ids."""
    return [one.order.id for one in orders]


def draft(kind: str = "ticket_opened", model: str = "loans") -> Draft:
    """Return something to enter."""
    return Draft(model=model, kind=kind, decided_by="psi")


def message(order_id: str = "i1/ticket/open/1", body: str = "why") -> Message:
    """Return what is said on a ticket."""
    return Message(
        id=order_id, incident="i1", model="loans", severity="warning", title="psi of income", body=body,
        since=datetime(2026, 5, 4, tzinfo=UTC),
    )  # fmt: skip


def test_a_state_goes_with_its_orders_and_entries(control: ControlStore, control_settings: Settings) -> None:
    """One save keeps all three, for another process as well; an order that is there already is left as it is."""
    lease = control.leases.take("control", "a", 60)
    control.alerts.save(
        "loans", {"rules": {"psi": math.nan}}, revision=0, lease=lease, orders=[order(), order(action="hold")],
        drafts=[draft("incident_opened")],
    )  # fmt: skip
    stored = control.alerts.save("loans", {"rules": {}}, revision=1, lease=lease, orders=[order()])
    with open_rollout_store(control_settings) as another:
        assert Stored(2, {"rules": {}}) == stored == another.alerts.load("loans")
        assert [order(), order(action="hold")] == [one.order for one in another.orders.orders("loans")]
        assert another.alerts.models() == ("loans",)

    assert ["incident_opened"] == [entry.kind for entry in control.ledger.entries("loans")]
    assert control.alerts.load("prices") is None


def test_only_parts_that_changed_are_written(control: ControlStore) -> None:
    """The others stay as they are, one may go, and those of another model are not touched."""
    control.alerts.save("prices", {}, revision=0, lease=None, parts={"rule/a": {"n": 9}})
    control.alerts.save("loans", {}, revision=0, lease=None, parts={"rule/a": {"n": math.inf}, "rule/b": {"n": 1}})
    control.alerts.save("loans", {}, revision=1, lease=None, parts={"rule/a": {"n": 2}, "rule/b": None, "rule/c": {}})
    with pytest.raises(StoreConflict):
        control.alerts.save("loans", {}, revision=1, lease=None, parts={"rule/a": {"n": 3}})

    assert {"rule/a": {"n": 2}, "rule/c": {}} == control.alerts.parts("loans")
    assert {"rule/a": {"n": 9}} == control.alerts.parts("prices")
    assert {} == control.alerts.parts("adult")


def test_an_incident_is_dismissed_once(control: ControlStore) -> None:
    """Of several people who end it at once one does; state, orders and ledger say the same."""
    watched = Watched.of(when="value > 0.25", do=["ticket", "hold"])
    watched.values([0.3])
    (incident,) = watched.state.open
    before, state = AlertState(model="loans"), AlertState(model="loans", rules={"drift": watched.state})
    parts = changed_parts(KeptRules(state=before), state, {})
    control.alerts.save("loans", shown_of(state), revision=0, lease=None, orders=watched.orders, parts=parts)

    def ended(by: str) -> str:
        try:
            return dismiss_incident(control, incident.id, by=by, reason="known").dismissed_by
        except ModelNotFound:
            return "too late"

    with ThreadPoolExecutor(3) as pool:
        came = sorted(pool.map(ended, ["ann", "bob", "cai"]))
    (entry,) = control.ledger.entries("loans")

    assert ["too late", "too late"] == came[1:]
    assert ("incident_dismissed", came[0], "known") == (entry.kind, entry.decided_by, entry.reason)
    assert ["open", "open", "close", "close"] == [one.order.verb for one in control.orders.orders("loans")]
    assert [] == open_incidents(control)
    assert [(incident.id, came[0])] == [(one["id"], one["by"]) for one in dismissed_incidents(control)]
    (kept,) = read_rules(control.alerts, "loans", control.alerts.load("loans")).state.dismissed
    assert came[0] == kept[1].dismissed_by


@pytest.mark.parametrize("stale", ["revision", "lease"])
def test_a_stale_save_changes_nothing(control: ControlStore, stale: str) -> None:
    """Neither state nor orders nor ledger, when somebody else saved or acts since."""
    lease = control.leases.take("control", "a", 60)
    control.alerts.save("loans", {"n": 1}, revision=0, lease=lease)
    if stale == "lease":
        control.leases.take("control", "a", 60)
    with pytest.raises(StoreConflict) as caught:
        control.alerts.save(
            "loans", {"n": 2}, revision=1 if stale == "lease" else 0, lease=lease, orders=[order()], drafts=[draft()]
        )

    assert stale == caught.value.fields["stale"]
    assert Stored(1, {"n": 1}) == control.alerts.load("loans")
    assert control.orders.orders() == ()
    assert control.ledger.entries("loans") == ()


def test_orders_of_another_model_are_refused(control: ControlStore) -> None:
    """A state puts only what its own rules ask for."""
    with pytest.raises(SettingsInvalid, match="prices"):
        control.alerts.save("loans", {}, revision=0, lease=None, orders=[order(model="prices")])


def test_no_order_overtakes_another(control: ControlStore) -> None:
    """Of one incident and action the oldest is given; of a model and action one at a time; and each to one taker."""
    given(control, order(), order(verb="comment"), order("i2"), order(action="hold"))
    first = taken(control)
    again = taken(control, busy=[("loans", "ticket")])
    assert control.orders.done(first[0], {"ticket": "7"}, [draft()])
    second, third = taken(control), taken(control)

    assert ["i1/ticket/open/1", "i1/hold/open/1"] == ids(first)
    assert again == []
    assert (["i1/ticket/comment/1"], ["i2/ticket/open/1"]) == (ids(second), ids(third))
    assert [("ticket_opened", "psi")] == [(one.kind, one.decided_by) for one in control.ledger.entries("loans")]


def test_an_order_is_tried_again_and_given_up(control: ControlStore) -> None:
    """It waits as long as it was told to, says why, counts its attempts, and a person can have it tried at once."""
    given(control, order())
    (one,) = taken(control)
    assert control.orders.later(one, "the tracker is away", 0.0) == "waiting"
    (two,) = taken(control)
    assert control.orders.remember(two, {"slack": True})
    assert control.orders.later(two, "away", 3600.0) == "waiting"
    waits = taken(control)
    control.orders.again(two.order.id)
    (three,) = taken(control)
    assert control.orders.later(three, "nobody knows it", math.inf, [draft("action_failed")]) == "failed"
    (kept,) = control.orders.orders("loans", states=["failed"])
    with pytest.raises(SettingsInvalid, match="i1/ticket/open/1"):
        control.orders.again("i1/ticket/open/2")

    assert (waits, [1, 2, 3]) == ([], [one.attempts, two.attempts, three.attempts])
    assert ("nobody knows it", {"slack": True}, 3) == (kept.trouble, kept.progress, kept.attempts)
    assert ["action_failed"] == [entry.kind for entry in control.ledger.entries("loans")]
    assert kept.ended_at is not None


def test_who_was_overtaken_ends_nothing(control: ControlStore) -> None:
    """A worker that was stopped past its time cannot end, or enter into the ledger, what another does now."""
    given(control, order())
    (stopped,) = control.orders.take(None, actions=ALL, seconds=0.0, limit=1)
    (now,) = taken(control)

    assert not control.orders.done(stopped, {}, [draft()])
    assert not control.orders.remember(stopped, {"a": 1})
    assert control.orders.later(stopped, "late", math.inf) == "waiting"
    assert control.orders.done(now, {"ticket": "1"})
    assert control.ledger.entries("loans") == ()


def test_only_the_holder_of_the_lease_takes_orders(control: ControlStore) -> None:
    """A control that was replaced gets none."""
    given(control, order())
    old = control.leases.take("control", "a", 60)
    control.leases.take("control", "a", 60)
    with pytest.raises(StoreConflict, match="epoch"):
        control.orders.take(old, actions=ALL, seconds=60, limit=1)


def test_a_ticket_of_our_own(control: ControlStore) -> None:
    """One for an incident however often it is opened, one note for an order, closed once."""
    desk = control.tickets
    ticket = desk.open(message())
    assert ticket == desk.open(message(body="again"))
    for _ in range(2):
        desk.comment(None, message("i1/ticket/comment/1", "worse"))
        desk.close(ticket, message("i1/ticket/close/1", "over"))
    (found,) = desk.tickets("loans")
    again = replace(message("i1/ticket/open/2", "again"), reopened=True)
    assert ticket == desk.open(again) == desk.open(again)
    (reopened,) = desk.tickets("loans")
    assert (None, 3) == (reopened["closed_at"], len(reopened["notes"]))

    assert Ticket("1") == ticket
    assert ("why", ["worse", "over"]) == (found["body"], [note["body"] for note in found["notes"]])
    assert found["closed_at"] is not None
    assert desk.tickets("prices") == ()
    other = Message(id="i9/ticket/comment/1", incident="i9", model="loans", severity="info", title="", body="",
                    since=datetime(2026, 5, 4, tzinfo=UTC))  # fmt: skip
    assert (None, None) == (desk.comment(None, other), desk.close(None, other))


def test_an_audit_keeps_its_cases(control: ControlStore) -> None:
    """Started once with what was drawn first, in order; over once the incident is."""
    case = AuditCase(
        request_id="r1", row=0, stratum="sex=F, approve", version="3", features={"income": 3.5, "sex": "F"},
        answer={"score": 0.25, "decision": "approve"},
    )  # fmt: skip
    other = AuditCase(request_id="r2", row=4, stratum="sex=M, decline", version="3", features={}, answer={})
    audit = HumanAudit(id="i1", incident="i1", model="loans", title="fpr of sex", facts={"seed": 7})
    started = control.cases.start(audit, [case, other])
    again = control.cases.start(audit, [other])
    ended = control.cases.finish("i1")

    assert started == again
    assert (case, other) == control.cases.cases("i1")
    assert ended is not None
    assert ended.over_at is not None
    assert (ended,) == control.cases.audits("loans")
    assert {"seed": 7} == ended.facts
    assert control.cases.finish("i2") is None
    with pytest.raises(SettingsInvalid, match="i1"):
        control.cases.cases("i2")


def test_a_hold_is_placed_once_for_an_id(control: ControlStore) -> None:
    """Whoever was killed before noting it places it again, and it is the same; the ledger has it once."""
    first = control.holds.place("loans", reason="drift", owner="ann", source="psi", hold_id="abc")
    again = control.holds.place("loans", reason="drift, again", owner="ann", source="psi", hold_id="abc")

    assert (first, "abc") == (again, first.id)
    assert ["hold_placed"] == [entry.kind for entry in control.ledger.entries("loans")]
    assert verify_chain(control.ledger.entries("loans")) is None


def test_a_store_of_the_version_before_is_brought_up_to_date(control_settings: Settings) -> None:
    """Rollouts, ledger and holds stay as they were, and alerts are kept beside them."""
    from alembic import command
    from alembic.config import Config

    from twinscore.adapters import sql_control

    class Before(sql_control.ControlDatabase):
        """Makes the tables as they were before there were alerts."""

        def _migrate(self, connection: Connection, current: str | None) -> None:
            del current
            config = Config()
            config.set_main_option("script_location", str(Path(sql_control.__file__).with_name("migrations")))
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")

    before = Before(control_settings.control_store_uri, control_settings.home.resolve())
    SqlRollouts(before).save("loans", {"serving": "1"}, revision=0, lease=None, drafts=[draft("started")])
    before.close()
    with open_rollout_store(control_settings) as control:
        given(control, order())

        assert Stored(1, {"serving": "1"}) == control.rollouts.load("loans")
        assert ["started"] == [entry.kind for entry in control.ledger.entries("loans")]
        assert ["i1/ticket/open/1"] == ids(taken(control))
