"""What a rule asks to be done about an incident, once; knows nothing of how it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ACTIONS", "Action", "Order", "Verb"]

Action = Literal["ticket", "hold", "scale", "degrade", "audit", "retrain", "page"]
Verb = Literal["open", "comment", "close"]
"""An incident begins, goes on (at most once per cooldown), or is over."""
ACTIONS: tuple[Action, ...] = ("ticket", "hold", "scale", "degrade", "audit", "retrain", "page")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One thing to do. Orders are kept with the incident in one transaction and executed until they succeed."""

    id: str
    """`<incident>/<action>/<verb>/<number>`: whoever executes it twice does it once, because the id is the same."""
    incident: str
    model: str
    action: Action
    verb: Verb
    severity: Literal["info", "warning", "critical"]
    title: str
    """One line for people."""
    body: str
    """A few lines for people: the rule, the figures, since when, what to do (Markdown)."""
    details: Mapping[str, Any]
    """JSON values: rule, metric, version, role, path, segment, subject, value, low, high, rows, window, options, `key`
    of the incident, since, reopened, dry_run, and `members`: what broke the rule, the worst first, with its figures."""
    dry_run: bool = False
    """It is kept and shown, and must not be executed."""
