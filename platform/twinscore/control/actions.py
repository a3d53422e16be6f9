"""What each order of an alert means: which receiver, hold, ladder, audit or job it leads to; holds no thread."""

from __future__ import annotations

import hashlib
import math
from datetime import timedelta
from typing import TYPE_CHECKING

from twinscore.clock import SystemClock
from twinscore.control.outcome import Outcome, options_of
from twinscore.control.retrain import retrain
from twinscore.control.start_audit import start_audit
from twinscore.control.tell import page_people, tell_trackers
from twinscore.errors import SettingsInvalid, StoreConflict
from twinscore.rollout.hold import PLATFORM
from twinscore.rollout.ledger import Draft

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twinscore.clock import Clock
    from twinscore.control.rungs import Rungs
    from twinscore.monitoring.order import Order
    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.ports.alert_store import KeptOrder
    from twinscore.ports.rollout_store import ControlStore
    from twinscore.settings import Settings

__all__ = ["Actions", "entry_of", "hold_id"]


class Actions:
    """Carries out orders, each as often as it is told to: doing one twice is doing it once.

    Args:
        settings: home, registry and stack.
        store: holds, tickets, audits and what became of earlier orders.
        spec_of: what is watched of a model.
        rungs: what `scale` and `degrade` ask; None has neither.
        clock: tells the time.
    """

    def __init__(
        self, settings: Settings, store: ControlStore, spec_of: Callable[[str], MonitorSpec], *,
        rungs: Rungs | None = None, clock: Clock | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._store = store
        self._spec_of = spec_of
        self._rungs = rungs
        self._clock = clock or SystemClock()

    def carry_out(self, taken: KeptOrder) -> Outcome:
        """Do what an order says.

        Raises:
            StoreUnavailable: it cannot be done now; the field `after_s` may say when to try again.
            SettingsInvalid: it can never be done as it is; somebody must change something.
        """
        order = taken.order
        if order.dry_run:
            return Outcome(result={"dry_run": True})
        if order.action == "ticket":
            return tell_trackers(self._settings, self._store, self._spec_of(order.model), taken)
        if order.action == "page":
            return page_people(self._store, self._spec_of(order.model), taken)
        if order.action == "hold":
            return self._hold(order)
        if order.action == "audit":
            return start_audit(self._settings, self._store, order, self._clock.now(), self._spec_of(order.model))
        if order.action == "retrain":
            return retrain(self._settings, self._spec_of(order.model), taken)
        if self._rungs is None:
            message = f"Nothing here can {order.action} {order.model}; the action of the rule is not carried out."
            raise SettingsInvalid(message, action=order.action)
        return self._rungs.carry_out(order)

    def _hold(self, order: Order) -> Outcome:
        """Hold the model's automated steps; end the hold again only where the rule says so."""
        holds, given = self._store.holds, options_of(order)
        rule = str(order.details.get("rule", order.incident))
        if order.verb == "open":
            expires_s = given.get("expires_s")
            hold = holds.place(
                order.model, reason=order.title, owner=f"rule {rule}", source=rule, hold_id=hold_id(order),
                expires=None if expires_s is None else self._clock.now() + timedelta(seconds=expires_s),
            )  # fmt: skip
            return Outcome(result={"hold": hold.id})
        dismissed_by = str(order.details.get("dismissed_by") or "")
        ends = given.get("release") in ("on_recovery", True) or bool(dismissed_by)
        if order.verb == "comment" or not ends:
            return Outcome(result={"hold": "stays until somebody releases it, or it expires"})
        mine = {hold_id(one.order) for one in self._opened(order)}
        ended: list[str] = []
        for hold in holds.held():
            if hold.id in mine:
                try:
                    holds.release(hold.id, by=dismissed_by or PLATFORM, reason=_why_over(order))
                except StoreConflict:
                    continue  # somebody released it meanwhile, or it has expired
                ended.append(hold.id)
        return Outcome(result={"released": ended})

    def _opened(self, order: Order) -> list[KeptOrder]:
        found = self._store.orders.orders(incident=order.incident)
        return [one for one in found if (one.order.action, one.order.verb) == (order.action, "open")]


def _why_over(order: Order) -> str:
    because = str(order.details.get("dismissed_because") or "")
    return f"{order.incident} was dismissed: {because}" if because else f"{order.incident} is over"


def hold_id(order: Order) -> str:
    """Return the id of the hold that an order places: the same whenever it is carried out."""
    return hashlib.sha256(order.id.encode()).hexdigest()[:10]


def entry_of(order: Order, kind: str, result: Mapping[str, object]) -> Draft:
    """Return what the ledger says of an order."""
    said = {name: value for name, value in result.items() if name != "log"}
    return Draft(
        model=order.model, kind=kind, requested_by=f"rule {order.details.get('rule', '')}".strip(),
        decided_by=PLATFORM, reason=order.title,
        evidence={
            "order": order.id, "incident": order.incident, "severity": order.severity, **said, **_figure(order),
        },
    )  # fmt: skip


def _figure(order: Order) -> dict[str, object]:
    """Return the figure that an order is about, as far as it is a number."""
    found: dict[str, object] = {}
    for name in ("metric", "subject", "value", "low", "high"):
        value = order.details.get(name)
        if value is not None and not (isinstance(value, float) and math.isnan(value)):
            found[name] = value
    return found
