"""What a model's report shows of its alerts: incidents with what was done about them, and the limits of its rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.control.kept_rules import read_rules
from twinscore.errors import SettingsInvalid
from twinscore.monitoring.condition import Comparison
from twinscore.monitoring.playbook import rules_of
from twinscore.monitoring.selector import DIMENSIONS
from twinscore.monitoring.shown import ShownIncident

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twinscore.monitoring.incident import Incident
    from twinscore.monitoring.rule import Rule
    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.ports.alert_store import KeptOrder
    from twinscore.ports.rollout_store import ControlStore

__all__ = ["Shown"]

_MOST_SUBJECTS = 3
_PHRASES = {
    "ticket": "ticket opened",
    "hold": "rollouts held",
    "scale": "more replicas asked for",
    "degrade": "cheaper answers asked for",
    "audit": "audit by people started",
    "retrain": "retraining asked for",
    "page": "somebody called",
}


class Shown:
    """Reads alerts as reports show them.

    Args:
        store: of states and orders.
        spec_of: returns how a model is watched; a file that is wrong marks no chart and draws no limit.
    """

    def __init__(self, store: ControlStore, spec_of: Callable[[str], MonitorSpec]) -> None:
        self._store = store
        self._spec_of = spec_of

    def incidents(self) -> dict[str, list[ShownIncident]]:
        """Return the incidents of every model, those that are over too as long as they are kept.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        found: dict[str, list[ShownIncident]] = {}
        for model in self._store.alerts.models():
            kept = read_rules(self._store.alerts, model, self._store.alerts.load(model))
            about = {rule.name: rule.metric for rule in self._rules(model)}
            found[model] = [
                _shown(name, one, about.get(name, ""), self._store.orders.orders(model, incident=one.id))
                for name, state in kept.state.rules.items()
                for one in state.incidents.values()
            ]
        return found

    def limits(self, model: str) -> dict[str, float]:
        """Return by metric the number that a rule holds its figures against; of several the model's own, the first."""
        found: dict[str, float] = {}
        for rule in self._rules(model):
            if isinstance(rule.when, Comparison) and rule.when.term in ("value", "low", "high"):
                found.setdefault(rule.metric, rule.when.number)
        return found

    def _rules(self, model: str) -> tuple[Rule, ...]:
        try:
            return rules_of(self._spec_of(model))
        except SettingsInvalid:
            return ()


def _shown(rule: str, one: Incident, metric: str, orders: Sequence[KeptOrder]) -> ShownIncident:
    parts = [sorted({member[place] for member in one.members if member[place]}) for place in range(len(DIMENSIONS))]
    shared = {name: values[0] if len(values) == 1 else "" for name, values in zip(DIMENSIONS, parts, strict=True)}
    subjects = parts[DIMENSIONS.index("subject")]
    more = f" and {len(subjects) - _MOST_SUBJECTS} more" if len(subjects) > _MOST_SUBJECTS else ""
    done = [f"{_PHRASES[action]} (dry run)" if one.done[action].dry_run else _PHRASES[action] for action in one.done]
    if one.dismissed_by:
        done.append(f"dismissed by {one.dismissed_by}: {one.dismissed_because}")
    failed = [order.order.action for order in orders if order.state == "failed"]
    done += [f"{action} failed: see the orders" for action in dict.fromkeys(failed)]
    return ShownIncident(
        rule=rule,
        subject=", ".join(subjects[:_MOST_SUBJECTS]) + more,
        severity=one.severity,
        since=one.since,
        state="closed" if one.phase == "closed" else "open",
        says=one.says,
        until=one.closed_at,
        metric=metric,
        path=shared["path"],
        version=shared["version"],
        segment=shared["segment"],
        ticket=_ticket(orders),
        done=tuple(done),
    )


def _ticket(orders: Sequence[KeptOrder]) -> str:
    """Return the address of the newest ticket, or its name."""
    for order in reversed(orders):
        for made in (order.result.get("tickets") or {}).values():
            if made:
                return str(made[1] or made[0])
    return ""
