"""How alerts stand, as JSON values: incidents that are not over, orders and what became of them, audits by people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.ports.alert_store import KeptOrder
    from twinscore.ports.case_store import HumanAudit
    from twinscore.ports.rollout_store import ControlStore

__all__ = ["alerts_overview", "audit_document", "dismissed_incidents", "open_incidents", "order_document"]

_RECENT = 100
"""Orders that are shown."""


def alerts_overview(
    store: ControlStore, trouble: Mapping[str, str] | None = None, model: str | None = None
) -> dict[str, Any]:
    """Return how the alerts of every model stand, or of one.

    Args:
        trouble: by model, what went wrong when its figures were last looked at; `*` for what concerns all.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    told = {name: text for name, text in (trouble or {}).items() if text and model in (None, name, "*")}
    return {
        "at": SystemClock().now().isoformat(),
        "incidents": open_incidents(store, model),
        "dismissed": dismissed_incidents(store, model),
        "orders": [order_document(one) for one in store.orders.orders(model, limit=_RECENT)],
        "audits": [audit_document(one) for one in store.cases.audits(model)],
        "trouble": told,
    }


def open_incidents(store: ControlStore, model: str | None = None) -> list[dict[str, Any]]:
    """Return the incidents that are not over, by model; the oldest of each first."""
    return _listed(store, model, "open")


def dismissed_incidents(store: ControlStore, model: str | None = None) -> list[dict[str, Any]]:
    """Return the incidents that a person dismissed and that have not recovered, with who, why and until when."""
    return _listed(store, model, "dismissed")


def _listed(store: ControlStore, model: str | None, which: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in store.alerts.models():
        stored = store.alerts.load(name) if model in (None, name) else None
        found += [{"model": name, **one} for one in (stored.document.get(which) or ())] if stored else []
    return found


def order_document(one: KeptOrder) -> dict[str, Any]:
    """Return an order and what became of it as JSON values."""
    order = one.order
    return {
        "id": order.id,
        "incident": order.incident,
        "model": order.model,
        "action": order.action,
        "verb": order.verb,
        "severity": order.severity,
        "title": order.title,
        "dry_run": order.dry_run,
        "state": one.state,
        "attempts": one.attempts,
        "put_at": one.put_at.isoformat(),
        "next_try": one.next_try.isoformat() if one.state == "waiting" else None,
        "ended_at": None if one.ended_at is None else one.ended_at.isoformat(),
        "result": dict(one.result),
        "trouble": one.trouble,
    }


def audit_document(one: HumanAudit) -> dict[str, Any]:
    """Return an audit by people, without its cases, as JSON values."""
    return {
        "id": one.id,
        "model": one.model,
        "title": one.title,
        "blind": one.blind,
        "started_at": None if one.started_at is None else one.started_at.isoformat(),
        "over_at": None if one.over_at is None else one.over_at.isoformat(),
        "facts": dict(one.facts),
    }
