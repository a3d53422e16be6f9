"""The rules of deployments/loans.yaml on the figures that they were written for."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

from twinscore.monitoring.figure import Figure
from twinscore.monitoring.incident import AlertState
from twinscore.monitoring.playbook import rules_of
from twinscore.monitoring.rule import Cadence
from twinscore.monitoring.step import step_all
from twinscore.online.spec import load_serve_spec
from twinscore.testing.alerts import START, figure_at

RULES = rules_of(load_serve_spec(Path(__file__).parents[2] / "deployments" / "loans.yaml").monitor)
TICK = timedelta(seconds=5)


class Loans:
    """The model, all its rules, and what was really asked for."""

    def __init__(self) -> None:
        self.state = AlertState(model="loans")
        self.asked: list[tuple[int, str, str]] = []

    def see(self, figure: Figure, at: int, cadence: Cadence = "window") -> None:
        """Step every rule of the cadence through one figure."""
        self.state, orders = step_all(RULES, self.state, [figure], figure.end, cadence=cadence)
        self.asked += [(at, one.action, one.verb) for one in orders if not one.dry_run]

    def wait(self, milliseconds: list[float]) -> None:
        """Step through one p99 after the other, five seconds apart."""
        for at, value in enumerate(milliseconds):
            self.see(figure_at(at, value, metric="latency_ms_p99", length=TICK), at, "live")


def test_drift_opens_a_ticket_and_holds_rollouts() -> None:
    """At once, once, and until three windows are clear."""
    loans = Loans()
    for at, value in enumerate([0, 1, 1, 0, 0, 0, 0]):
        loans.see(figure_at(at, float(value), metric="feature_drift", subject="income"), at)

    assert loans.asked == [(1, "ticket", "open"), (1, "hold", "open"), (5, "ticket", "close"), (5, "hold", "close")]


def test_a_slow_model_scales_and_then_degrades() -> None:
    """The cheaper way comes only when more replicas did not help, and goes after five minutes below the lower bound."""
    helped, slow = Loans(), Loans()
    helped.wait([300.0] * 10 + [150.0] * 70)
    slow.wait([300.0] * 60 + [150.0] * 70)

    assert helped.asked == [(3, "scale", "open"), (70, "scale", "close")]
    assert slow.asked == [
        (3, "scale", "open"), (27, "degrade", "open"), (120, "scale", "close"), (120, "degrade", "close"),
    ]  # fmt: skip


def test_a_load_at_the_boundary_does_not_flap() -> None:
    """For ten minutes the p99 is now above and now below the SLA: each action at most once, and none taken back."""
    generator = random.Random(7)
    for begun in (0, 4):
        loans = Loans()
        loans.wait([300.0] * begun + [generator.uniform(210.0, 290.0) for _ in range(120)])
        asked = [(action, verb) for _, action, verb in loans.asked]

        assert len(asked) == len(set(asked))
        assert {verb for _, verb in asked} <= {"open"}


def test_an_unequal_rate_starts_an_audit() -> None:
    """The interval has to exclude five points, twice in three windows; a wide one around a large gap says nothing."""
    loans = Loans()
    for at, (low, value) in enumerate([(0.01, 0.12), (0.06, 0.1), (0.02, 0.09), (0.07, 0.1)]):
        figure = figure_at(at, value, low=low, high=0.2, metric="fpr_gap", subject="sex")
        loans.see(figure, at)

    assert loans.asked == [(3, "ticket", "open"), (3, "audit", "open")]
    assert [START + timedelta(hours=1)] == [one.since for _, one in loans.state.open if one.phase == "open"][:1]
