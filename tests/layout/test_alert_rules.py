"""Alert rules in the repository: those of every deployment file are sound, and the example has the three promised."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinscore.monitoring.playbook import rules_of
from twinscore.monitoring.rule_file import read_rule, rule_document
from twinscore.online.spec import load_serve_spec

FOLDER = Path(__file__).resolve().parents[2] / "deployments"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_rules_are_sound(path: Path) -> None:
    """Each file can be read strictly, and each of its rules, the playbook's too, says what it means."""
    rules = rules_of(load_serve_spec(path).monitor)

    assert list(rules) == [read_rule(rule_document(rule)) for rule in rules]


def test_the_example_acts_on_drift_latency_and_fairness() -> None:
    """The model of the demonstration has the three rules of the how-to."""
    rules = load_serve_spec(FOLDER / "loans.yaml").monitor.rules

    assert [
        ("feature_drift", ["ticket", "hold"]),
        ("latency_ms_p99", ["scale", "degrade", "ticket"]),
        ("fpr_gap", ["ticket", "audit"]),
    ] == [(rule.metric, [wish.action for wish in rule.do]) for rule in rules]
