"""What a look at the figures of one model led to, by the rules of its deployment file and the playbook; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.monitoring.playbook import rules_of
from twinscore.monitoring.step import step_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.incident import AlertState, Incident
    from twinscore.monitoring.order import Order
    from twinscore.monitoring.spec import MonitorSpec

__all__ = ["judge", "shown_of"]


def judge(
    spec: MonitorSpec, state: AlertState, windows: Sequence[Figure], live: Sequence[Figure], now: datetime
) -> tuple[AlertState, tuple[Order, ...]]:
    """Return the next state of a model's rules, and what is to be done.

    Args:
        state: of the look before.
        windows: figures of windows that are new, or were made anew.
        live: figures of the last seconds.
    """
    rules = rules_of(spec)
    state, orders = step_all(rules, state, windows, now, cadence="window")
    state, more = step_all(rules, state, live, now, cadence="live")
    return state, (*orders, *more)


def shown_of(state: AlertState) -> dict[str, list[dict[str, str]]]:
    """Return the document that every reader asks for: incidents that are open, and those that a person dismissed."""
    found = {"open": [_shown(rule, one) for rule, one in state.open]}
    dismissed = [
        {
            **_shown(rule, one), "phase": "dismissed", "by": one.dismissed_by, "because": one.dismissed_because,
            "until": "" if one.dismissed_until is None else one.dismissed_until.isoformat(),
        }
        for rule, one in state.dismissed
    ]  # fmt: skip
    return {**found, "dismissed": dismissed} if dismissed else found


def _shown(rule: str, one: Incident) -> dict[str, str]:
    return {
        "id": one.id, "rule": rule, "severity": one.severity, "phase": one.phase, "since": one.since.isoformat(),
        "says": one.says,
    }  # fmt: skip
