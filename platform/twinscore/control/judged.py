"""What a look at the figures of one model led to, by the rules of its deployment file and the playbook; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinscore.monitoring.playbook import rules_of
from twinscore.monitoring.step import step_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.incident import AlertState
    from twinscore.monitoring.order import Order
    from twinscore.monitoring.spec import MonitorSpec

__all__ = ["Judged", "OpenIncident", "judge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIncident:
    """An incident that is not over, as it is shown."""

    id: str
    rule: str
    severity: str
    phase: str
    since: str
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The next state of a model's rules, and what is to be done."""

    state: AlertState
    orders: tuple[Order, ...] = ()
    open: tuple[OpenIncident, ...] = ()


def judge(
    spec: MonitorSpec, state: AlertState, windows: Sequence[Figure], live: Sequence[Figure], now: datetime
) -> Judged:
    """Return what follows from figures.

    Args:
        state: of the look before.
        windows: figures of windows that are new, or were made anew.
        live: figures of the last seconds.
    """
    rules = rules_of(spec)
    state, orders = step_all(rules, state, windows, now, cadence="window")
    state, more = step_all(rules, state, live, now, cadence="live")
    shown = [
        OpenIncident(
            id=one.id, rule=rule, severity=one.severity, phase=one.phase, since=one.since.isoformat(), says=one.says
        )
        for rule, one in state.open
    ]
    return Judged(state=state, orders=(*orders, *more), open=tuple(shown))
