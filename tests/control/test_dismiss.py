"""An incident that a person dismisses, end to end: ticket, hold, ledger, pages, and what comes afterwards."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from twinscore.cli.main import app
from twinscore.control.dismiss import dismiss_incident
from twinscore.control.incident_page import incident_page
from twinscore.control.incidents import alerts_overview, open_incidents
from twinscore.control.monitor_specs import MonitorSpecs
from twinscore.control.shown import Shown
from twinscore.errors import ModelNotFound
from twinscore.rollout.ledger import verify_chain

from .alert_world import MODEL, AlertWorld
from .conftest import AlertsOf

RULES = """model: loans
monitor:
  playbook: false
  rules:
    - name: income drifts
      metric: psi
      subject: income
      when: value > 0.2
      windows: 2 of 3
      cooldown: 4h
      do: [ticket, {hold: {expires: 48h}}]
"""


@pytest.fixture
def alerts(alerts_of: AlertsOf) -> AlertWorld:
    """An incident that is open, with its ticket and its hold."""
    made = alerts_of(RULES)
    made.hour("psi", 0.4, subject="income")
    made.hour("psi", 0.4, subject="income")
    made.deliver()
    return made


def test_ticket_and_hold_end_with_the_reason_and_nothing_comes_back(alerts: AlertWorld) -> None:
    """Also a hold that recovery would not lift; the ledger names the person; after recovery it is a new incident."""
    (incident,) = open_incidents(alerts.store)
    held = alerts.store.holds.held()
    dismiss_incident(alerts.store, incident["id"], by="ann", reason="a campaign", clock=alerts.clock)
    alerts.deliver()
    for _ in range(10):
        alerts.hour("psi", 0.4, subject="income")
        alerts.deliver()
    quiet = alerts.store.tickets.tickets(MODEL)
    overview = alerts_overview(alerts.store)
    (shown,) = Shown(alerts.store, MonitorSpecs(alerts.settings.deployments).spec_of).incidents()[MODEL]
    for value in (0.1, 0.1, 0.1, 0.4, 0.4):
        alerts.hour("psi", value, subject="income")
    alerts.deliver()
    tickets = alerts.store.tickets.tickets(MODEL)
    ledger = alerts.store.ledger.entries(MODEL)
    (dismissed,) = [entry for entry in ledger if entry.kind == "incident_dismissed"]
    (released,) = [entry for entry in ledger if entry.kind == "hold_released"]

    assert [1, 1, 2] == [len(one) for one in (held, quiet, tickets)]
    assert quiet[0]["closed_at"] is not None
    assert "Dismissed by ann: a campaign" in str(quiet[0])
    assert ([], "a campaign") == (overview["incidents"], overview["dismissed"][0]["because"])
    assert "a campaign" in incident_page({**overview, "watching": []})
    assert "dismissed by ann: a campaign" in shown.done
    assert ("ann", "a campaign") == (dismissed.decided_by, dismissed.reason)
    assert "ann" in (released.decided_by, released.requested_by)
    assert 1 == len(alerts.store.holds.held())
    assert {"incident_opened": 2, "incident_dismissed": 1} == {
        kind: number for kind, number in Counter(alerts.kinds()).items() if kind.startswith("incident")
    }
    assert verify_chain(ledger) is None


def test_the_control_goes_on_from_what_a_person_did_meanwhile(alerts: AlertWorld) -> None:
    """A look that had read the state before does not bring the incident back."""
    (incident,) = open_incidents(alerts.store)
    stale = alerts.alerts
    dismiss_incident(
        alerts.store, incident["id"], by="ann", reason="known", lasting=timedelta(hours=3), clock=alerts.clock
    )
    stale.turn(alerts.lease)
    quiet = open_incidents(alerts.store)
    for _ in range(3):
        alerts.hour("psi", 0.4, subject="income")
    (later,) = open_incidents(alerts.store)

    assert [] == quiet
    assert later["id"] != incident["id"]
    with pytest.raises(ModelNotFound, match="see `twinscore monitor incidents`"):
        dismiss_incident(alerts.store, incident["id"], by="ann", reason="again", clock=alerts.clock)


def test_the_command(alerts: AlertWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what was dismissed and until when; both lists show the difference."""
    monkeypatch.setenv("TWINSCORE_HOME", str(alerts.settings.home))
    (incident,) = open_incidents(alerts.store)
    run = CliRunner().invoke
    done = run(app, ["monitor", "dismiss", incident["id"], "--reason", "known", "--by", "ann", "--for", "7d"])
    again = run(app, ["monitor", "dismiss", incident["id"], "--reason", "known", "--by", "ann"])
    long = run(app, ["monitor", "dismiss", incident["id"], "--reason", "known", "--by", "ann", "--for", "1000d"])
    listed = run(app, ["monitor", "incidents", "--dismissed", "--json"])

    assert 0 == done.exit_code, done.output
    assert f"Dismissed {incident['id']}: " in done.stdout
    assert (1, 1) == (again.exit_code, long.exit_code)
    assert "is open; see" in again.stderr
    assert '"by": "ann"' in listed.stdout
    assert "No incident is open." in run(app, ["monitor", "incidents"]).stdout
