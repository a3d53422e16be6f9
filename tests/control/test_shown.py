"""Incidents as a report shows them: what is wrong, since when, and what was done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from twinscore.api import monitor_report
from twinscore.control.monitor_specs import MonitorSpecs
from twinscore.control.shown import Shown
from twinscore.settings import load_settings
from twinscore.wiring import open_rollout_store

from .alert_world import MODEL, START, AlertWorld

FILE = f"""
model: {MODEL}
monitor:
  playbook: false
  tickets: {{kind: file, folder: tickets}}
  rules:
    - name: drift
      metric: psi
      when: value > 0.2
      windows: 2 of 3
      clear: value < 0.1
      do: [ticket, {{hold: {{expires: 48h}}}}]
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AlertWorld]:
    """A model with one rule."""
    (tmp_path / "deployments").mkdir()
    (tmp_path / "deployments" / f"{MODEL}.yaml").write_text(FILE)
    settings = load_settings(home=tmp_path / "home", deployments=tmp_path / "deployments")
    with open_rollout_store(settings) as store:
        made = AlertWorld(settings, store, taken_s=1.0)
        yield made
        made.courier.close()


def test_an_incident_is_shown_with_what_was_done(world: AlertWorld) -> None:
    """While it lasts and when it is over, with its ticket and its place in time; the rule's limit is drawn."""
    shown = Shown(world.store, MonitorSpecs(world.settings.deployments).spec_of)
    for value in (0.05, 0.4, 0.5):
        world.hour("psi", value, subject="income")
        world.deliver()
    (during,) = shown.incidents()[MODEL]
    page = monitor_report(MODEL, settings=world.settings).page.read_text(encoding="utf-8")
    world.hour("psi", 0.01, hours=4, subject="income")
    world.deliver()
    (after,) = shown.incidents()[MODEL]

    assert ("open", "closed") == (during.state, after.state)
    assert ("drift", "psi", "income", "online") == (during.rule, during.metric, during.subject, during.path)
    assert {"ticket opened", "rollouts held"} == set(during.done)
    assert during.ticket
    assert START < during.since < (after.until or START)
    assert {"psi": 0.2} == shown.limits(MODEL)
    assert "rollouts held" in page


def test_a_file_that_is_wrong_hides_no_incident(world: AlertWorld) -> None:
    """What is open is shown all the same; only the limit is not known."""
    for value in (0.4, 0.5):
        world.hour("psi", value, subject="income")
    (world.settings.deployments / f"{MODEL}.yaml").write_text("model: loans\nmonitor: {rules: [{nam: x}]}\n")
    shown = Shown(world.store, MonitorSpecs(world.settings.deployments).spec_of)

    assert ["open"] == [one.state for one in shown.incidents()[MODEL]]
    assert {} == shown.limits(MODEL)
