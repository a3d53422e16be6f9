"""The playbook: something on every metric, rules that are sound, and what a deployment file makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinscore.monitoring.metric import METRICS
from twinscore.monitoring.playbook import advice_on, playbook, rules_of
from twinscore.monitoring.playbook_page import playbook_page
from twinscore.monitoring.rule_file import read_monitor
from twinscore.monitoring.spec import MonitorSpec
from twinscore.testing.alerts import Watched, figure_at

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "playbook.md"


def test_every_metric_is_in_the_playbook() -> None:
    """Each says why it is watched and what to do first, and has either a rule or the reason why not."""
    assert set(METRICS) == set(playbook())
    assert [] == [one.metric for one in playbook().values() if not (one.why and one.first)]


def test_the_page_is_the_playbook() -> None:
    """`twinscore monitor playbook > docs/reference/playbook.md` mends it."""
    assert playbook_page() == PAGE.read_text(encoding="utf-8")


def test_the_playbook_only_opens_tickets() -> None:
    """What changes serving or asks people for time is for the one who writes the file."""
    rules = [one.rule for one in playbook().values() if one.rule is not None]

    assert {("ticket",)} == {tuple([wish.action for wish in rule.do]) for rule in rules}


@pytest.mark.parametrize(("said", "dry"), [({}, {True}), ({"playbook": True}, {False}), ({"playbook": False}, set())])
def test_a_file_says_what_becomes_of_it(said: dict[str, bool], dry: set[bool]) -> None:
    """Nothing said is a dry run, true opens tickets, false leaves the rules out."""
    spec = read_monitor(said, source="The file")

    assert dry == {rule.dry_run for rule in rules_of(spec)}


def test_a_rule_of_ones_own_stands_in_for_the_playbooks() -> None:
    """One on the same metric; one about missing figures leaves the playbook's where it is."""
    own = {"name": "slow", "metric": "latency_ms_p99", "when": "value > 250ms"}
    spec = read_monitor(
        {"rules": [own, {"name": "deaf", "metric": "auc", "when": "missing for 1d"}]}, source="The file"
    )
    names = [rule.name for rule in rules_of(spec)]

    assert len(rules_of(MonitorSpec())) + 1 == len(names)
    assert ["slow", "deaf"] == names[:2]
    assert "playbook latency_ms_p99" not in names
    assert "playbook auc" in names


def test_a_ticket_says_why_and_what_to_do_first() -> None:
    """The text of the playbook is part of every ticket about the metric."""
    (order,) = Watched.of(when="value > 0.25").see([figure_at(0, 0.3)])

    assert f"**Why.** {advice_on('psi').why}" in order.body
    assert f"**First.** {advice_on('psi').first}" in order.body
