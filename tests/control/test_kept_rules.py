"""What is kept of rules between looks: only what changed is written, and an earlier version's state goes on."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from twinscore.control.incidents import open_incidents

from .alert_world import MODEL, AlertWorld
from .conftest import AlertsOf

RULES = """model: loans
monitor:
  playbook: false
  rules:
    - {name: income drifts, metric: psi, subject: income, when: value > 0.2, windows: 2 of 3}
    - {name: slow, metric: latency_ms_p99, when: value > 250, windows: 2 of 3}
"""


@pytest.fixture
def alerts(alerts_of: AlertsOf) -> AlertWorld:
    """Two rules, and a store of their own."""
    return alerts_of(RULES)


def test_a_look_writes_only_the_rules_that_it_changed(alerts: AlertWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is read once, and again when somebody else saved; after a restart it is the same."""
    states = alerts.store.alerts
    written: list[set[str]] = []
    read: list[str] = []
    save, parts = states.save, states.parts

    def saving(*given: Any, **more: Any) -> Any:
        written.append(set(more.get("parts") or {}))
        return save(*given, **more)

    def reading(model: str) -> Any:
        read.append(model)
        return parts(model)

    monkeypatch.setattr(states, "save", saving)
    monkeypatch.setattr(states, "parts", reading)
    alerts.hour("psi", 0.4, subject="income")
    alerts.hour("latency_ms_p99", 300.0)
    alerts.hour("latency_ms_p99", 300.0)
    alone = read[:]
    known = states.load(MODEL)
    assert known is not None
    save(MODEL, known.document, revision=known.revision, lease=None)
    alerts.hour("psi", 0.5, subject="income")
    others = read[:]
    before = parts(MODEL)
    alerts.restart()
    alerts.alerts.turn(alerts.lease)

    both = {"rule/income drifts", "rule/slow", "stamps"}
    assert [both, both - {"rule/income drifts"}, both - {"rule/income drifts"}, both - {"rule/slow"}] == written
    assert ([], [MODEL]) == (alone, others)
    assert [MODEL, MODEL] == read
    assert before == parts(MODEL)
    assert {"incident_opened": 2} == Counter(alerts.kinds())


def test_a_state_that_was_kept_whole_is_taken_apart(alerts: AlertWorld) -> None:
    """One of an earlier version goes on where it was: the incident stays the one that it is."""
    for _ in range(3):
        alerts.hour("psi", 0.4, subject="income")
    (incident,) = open_incidents(alerts.store)
    stored = alerts.store.alerts.load(MODEL)
    assert stored is not None
    parts = alerts.store.alerts.parts(MODEL)
    state = {"model": MODEL, "rules": [part for name, part in parts.items() if name.startswith("rule/")]}
    whole = {**stored.document, "state": state, "stamps": parts["stamps"]}
    alerts.store.alerts.save(MODEL, whole, revision=stored.revision, lease=None, parts=dict.fromkeys(parts))
    alerts.restart()
    alerts.hour("psi", 0.4, subject="income")
    after = alerts.store.alerts.load(MODEL)

    assert after is not None
    assert "state" not in after.document
    assert parts.keys() == alerts.store.alerts.parts(MODEL).keys()
    assert [incident["id"]] == [one["id"] for one in open_incidents(alerts.store)]
    assert {"incident_opened": 1} == Counter(alerts.kinds())
