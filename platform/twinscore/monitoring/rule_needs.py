"""Whether what the rules ask for is set up in the same file: receivers, people to page, a training job."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from twinscore.errors import SettingsInvalid, near

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.monitoring.wish import Wish

__all__ = ["check_needs", "first_asking"]

_OWN_TICKETS = "sql"
"""What the control store's own tickets are called where no other place is set up."""


def check_needs(spec: MonitorSpec) -> None:
    """Refuse a rule that asks for what could never be done.

    Raises:
        SettingsInvalid: a receiver is unknown, nobody is there to page, or no training job is named; `key` names where.
    """
    trackers = [one.called for one in spec.tickets] or [_OWN_TICKETS]
    people = [one.called for one in spec.notify]
    for at, rule in enumerate(spec.rules):
        for place, wish in enumerate(rule.do):
            key = f"rules[{at}].do[{place}]"
            if wish.action == "ticket":
                _known(wish, trackers, "monitor.tickets", key)
            if wish.action == "page":
                if not people:
                    _refuse(key, "have somebody to page: name somebody under monitor.notify", rule.name)
                _known(wish, people, "monitor.notify", key)
            if wish.action == "retrain" and spec.retrain is None and not wish.options.get("spec"):
                _refuse(key, "have a spec to train by: under monitor.retrain, or as its option spec", rule.name)


def first_asking(spec: MonitorSpec, action: str) -> str | None:
    """Return the key in the file of the first rule that asks for an action; None when no rule does."""
    keys = [
        f"monitor.rules[{at}].do[{place}]"
        for at, rule in enumerate(spec.rules)
        for place, wish in enumerate(rule.do)
        if wish.action == action
    ]
    return keys[0] if keys else None


def _known(wish: Wish, names: Sequence[str], where: str, key: str) -> None:
    for name in wish.options.get("to", ()):
        if name not in names:
            _refuse(f"{key}.{wish.action}.to", f"name what is under {where}", name, near(name, names))


def _refuse(key: str, expected: str, got: str, hint: str = "") -> NoReturn:
    message = f"A rule must {expected}, got {got[:80]!r}. {hint}".rstrip()
    raise SettingsInvalid(message, key=key)
