"""What came of carrying out an order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.monitoring.order import Order

__all__ = ["Outcome", "options_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An order that was carried out, or one that goes on."""

    result: Mapping[str, Any] = field(default_factory=dict)
    """JSON values, such as the ticket's name."""
    kind: str = ""
    """Of the entry in the ledger; empty where none is needed, because what was done has one of its own."""
    wait_s: float | None = None
    """In how many seconds to look again; None when it is done."""
    says: str = ""
    """Of one that goes on: what is waited for."""


def options_of(order: Order) -> Mapping[str, Any]:
    """Return the options that the rule gives its action."""
    found: Mapping[str, Any] = order.details.get("options") or {}
    return found
