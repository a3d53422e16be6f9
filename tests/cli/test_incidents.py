"""Commands of what is watched, as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from twinscore.cli.main import app
from twinscore.monitoring.order import Order
from twinscore.ports.case_store import AuditCase, HumanAudit
from twinscore.settings import load_settings
from twinscore.wiring import open_rollout_store


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home in which an incident is open, one order failed, one waits, and an audit has two cases."""
    monkeypatch.setenv("TWINSCORE_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    incident = {"id": "i1", "rule": "drift", "severity": "warning", "phase": "open",
                "since": "2026-01-01T10:00:00+00:00", "says": "psi of income is 0.4"}  # fmt: skip
    orders = [
        Order(id=f"i1/{action}/open/1", incident="i1", model="loans", action=action, verb="open", severity="warning",
              title="psi of income is 0.4", body="", details={"rule": "drift"})
        for action in ("ticket", "page")
    ]  # fmt: skip
    case: dict[str, Any] = {"row": 0, "stratum": "sex=F, approve", "version": "3", "features": {"income": 3.5}}
    cases = [AuditCase(request_id=f"r{n}", answer={"score": 0.25}, **case) for n in range(2)]
    with open_rollout_store(load_settings()) as store:
        store.alerts.save("loans", {"open": [incident]}, revision=0, lease=None, orders=orders)
        (page,) = store.orders.take(None, actions=["page"], seconds=60, limit=1)
        store.orders.later(page, "nobody is named", float("inf"))
        store.cases.start(HumanAudit(id="i1", incident="i1", model="loans", title="fpr of sex",
                                     facts={"strata": {"sex=F, approve": [9, 2]}}), cases)  # fmt: skip


def said(*words: str) -> str:
    """Return what a command prints; it must end well."""
    done = CliRunner().invoke(app, ["monitor", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_incidents_and_orders_are_shown() -> None:
    """As a table for people and as JSON for programs."""
    table = said("orders")
    found = {one["id"]: one for one in json.loads(said("orders", "--json"))}

    assert "psi of income is 0.4" in said("incidents")
    assert [("loans", "i1")] == [(one["model"], one["id"]) for one in json.loads(said("incidents", "--json"))]
    assert "nobody is named" in table
    assert ("failed", "waiting") == (found["i1/page/open/1"]["state"], found["i1/ticket/open/1"]["state"])
    assert ["i1/page/open/1"] == [one["id"] for one in json.loads(said("orders", "--state", "failed", "--json"))]
    assert "No incident is open" in said("incidents", "--model", "prices")


def test_an_order_is_tried_again() -> None:
    """One that was given up waits again; a state or an order that there is not is refused with what is near."""
    assert "is tried again" in said("retry", "i1/page/open/1")
    assert [] == json.loads(said("orders", "--state", "failed", "--json"))
    for words in (["orders", "--state", "fialed"], ["retry", "i1/page/open/2"]):
        done = CliRunner().invoke(app, ["monitor", *words])
        assert done.exit_code == 1
        assert ("Did you mean 'failed'" in done.stderr) or ("i1/page/open/1" in done.stderr)


def test_an_audit_is_exported_blind() -> None:
    """What the model made of a case is only told when somebody asks for it."""
    blind = [json.loads(line) for line in said("export", "i1").splitlines()]
    shown = [json.loads(line) for line in said("export", "i1", "--unblind").splitlines()]

    assert "fpr of sex" in said("audits")
    assert [{"request_id": "r0", "row": 0, "version": "3", "features": {"income": 3.5}}] == blind[:1]
    assert [0.25, 0.25] == [one["answer"]["score"] for one in shown]
    assert "There is no ticket" in said("tickets")
