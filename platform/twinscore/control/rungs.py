"""Asks a model's ladder for more replicas or the cheaper way, as long as an incident wants it.

What is asked of the ladder ends by itself after some minutes, so that it ends although nobody is left to end it. While
an incident is open it is asked for again before that; several incidents may want the same.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, cast

from twinscore.clock import SystemClock
from twinscore.control.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection

    from twinscore.clock import Clock
    from twinscore.monitoring.order import Order
    from twinscore.ports.load_ladder import LoadLadder, Rung
    from twinscore.ports.rollout_store import ControlStore

__all__ = ["Rungs"]

_FOR = timedelta(minutes=10)
_AGAIN_S = 180.0


class Rungs:
    """What incidents ask of the ladders of all models.

    Args:
        store: orders, and which incidents are open.
        ladder: is asked.
        clock: tells the time.
    """

    def __init__(self, store: ControlStore, ladder: LoadLadder, clock: Clock | None = None) -> None:
        self._store = store
        self._ladder = ladder
        self._clock = clock or SystemClock()
        self._asked_s: dict[tuple[str, Rung], float] = {}
        """When it was last asked for, by the monotonic clock."""

    def carry_out(self, order: Order) -> Outcome:
        """Ask for a rung, or take that back where no other open incident wants it.

        Raises:
            ModelNotReady: the model is not served.
            SettingsInvalid: its deployment file has no such rung.
        """
        rung = cast("Rung", order.action)
        if order.verb == "comment":
            return Outcome()
        if order.verb == "open":
            return Outcome(result={"ladder": self._ask(order.model, rung, order.title)}, kind=f"{rung}_asked")
        if rung not in self._wanted(order.model, {order.incident}):
            return Outcome(result={"ladder": "nothing was asked for"})
        wants = self._wanted(order.model, self._open(order.model) - {order.incident})
        if rung in wants:
            return Outcome(result={"ladder": "stays: another incident wants it"}, kind=f"{rung}_ended")
        self._asked_s.pop((order.model, rung), None)
        said = self._ladder.set(order.model, rung, False, order.title)
        return Outcome(result={"ladder": said}, kind=f"{rung}_ended")

    def keep_up(self, model: str, incidents: Collection[str]) -> None:
        """Ask again, before it ends, for what open incidents want; raises as `carry_out`."""
        if not incidents:
            return
        for rung, reason in self._wanted(model, set(incidents)).items():
            last_s = self._asked_s.get((model, rung))
            if last_s is None or self._clock.monotonic_s() - last_s >= _AGAIN_S:
                self._ask(model, rung, reason)

    def _ask(self, model: str, rung: Rung, reason: str) -> str:
        said = self._ladder.set(model, rung, True, reason, until=self._clock.now() + _FOR)
        self._asked_s[model, rung] = self._clock.monotonic_s()
        return said

    def _wanted(self, model: str, incidents: Collection[str]) -> dict[Rung, str]:
        """Return the rungs that were asked for in these incidents and not taken back, with the reason."""
        found: dict[tuple[str, Rung], str] = {}
        for one in self._store.orders.orders(model, states=["done"]):
            order = one.order
            if order.action not in ("scale", "degrade") or order.incident not in incidents or order.dry_run:
                continue
            key = (order.incident, order.action)
            if order.verb == "open":
                found[key] = order.title
            elif order.verb == "close":
                found.pop(key, None)
        return {rung: reason for (_, rung), reason in found.items()}

    def _open(self, model: str) -> set[str]:
        stored = self._store.alerts.load(model)
        return set() if stored is None else {one["id"] for one in stored.document.get("open") or ()}
