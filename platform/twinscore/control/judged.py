"""What a look at the figures of one model led to, by the rules of its deployment file and the playbook; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twinscore.monitoring.incident import AlertState
from twinscore.monitoring.playbook import rules_of
from twinscore.monitoring.step import step_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from twinscore.monitoring.figure import Figure
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
    """The next state of a model's rules, as JSON values, and what is to be done."""

    document: Mapping[str, Any]
    orders: tuple[Order, ...] = ()
    open: tuple[OpenIncident, ...] = ()


def judge(
    model: str, spec: MonitorSpec, document: Mapping[str, Any] | None, windows: Sequence[Figure],
    live: Sequence[Figure], now: datetime,
) -> Judged:  # fmt: skip
    """Return what follows from figures.

    Args:
        document: of the look before; None at the first.
        windows: figures of windows that are new, or were made anew.
        live: figures of the last seconds.
    """
    state = AlertState(model=model) if document is None else AlertState.from_json(document)
    rules = rules_of(spec)
    state, orders = step_all(rules, state, windows, now, cadence="window")
    state, more = step_all(rules, state, live, now, cadence="live")
    shown = [
        OpenIncident(
            id=one.id, rule=rule, severity=one.severity, phase=one.phase, since=one.since.isoformat(), says=one.says
        )
        for rule, one in state.open
    ]
    return Judged(document=state.to_json(), orders=(*orders, *more), open=tuple(shown))
