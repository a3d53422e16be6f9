"""Tells trackers and people of an incident; each receiver once for an order, one that fails stops no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from twinscore.control.outcome import Outcome, options_of
from twinscore.errors import SettingsInvalid, StoreUnavailable, near
from twinscore.monitoring.receivers import TicketsSpec
from twinscore.ports.ticket_store import Message, Ticket
from twinscore.wiring import messenger, ticket_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twinscore.monitoring.receivers import NotifySpec
    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.ports.alert_store import KeptOrder
    from twinscore.ports.rollout_store import ControlStore
    from twinscore.settings import Settings

__all__ = ["page_people", "tell_trackers"]

_SEVERITIES = ("info", "warning", "critical")
_KINDS = {"open": "ticket_opened", "comment": "ticket_commented", "close": "ticket_closed"}
_Receiver = TypeVar("_Receiver", "TicketsSpec", "NotifySpec")


def tell_trackers(settings: Settings, store: ControlStore, spec: MonitorSpec, taken: KeptOrder) -> Outcome:
    """Open, comment or close the incident's ticket in each tracker.

    Raises:
        StoreUnavailable: one of them does not take it; the others have it.
        SettingsInvalid: the rule names a tracker that there is not.
    """
    order = taken.order
    chosen = _chosen(spec.tickets or (TicketsSpec(),), options_of(order).get("to") or (), "tickets")
    known = _tickets(store, order.incident)
    message = _message(taken)

    def act(one: TicketsSpec) -> Any:
        tracker = ticket_store(settings, one, store)
        ticket = known.get(one.called)
        if order.verb == "open":
            made: Ticket | None = tracker.open(message)
        elif order.verb == "comment":
            made = tracker.comment(ticket, message)
        else:
            made = tracker.close(ticket, message)
        return None if made is None else [made.name, made.url]

    found = _each(store, taken, {one.called: one for one in chosen}, act)
    return Outcome(result={"tickets": found}, kind=_KINDS[order.verb])


def page_people(store: ControlStore, spec: MonitorSpec, taken: KeptOrder) -> Outcome:
    """Tell everybody who is told of alerts of this severity; of what goes on they are not told again.

    Raises:
        StoreUnavailable: somebody could not be told; the others were.
        SettingsInvalid: nobody is named, or the rule names somebody whom there is not.
    """
    order = taken.order
    if not spec.notify:
        message = "The rule pages, and monitor.notify names nobody. Name somebody, or leave the action out."
        raise SettingsInvalid(message, key="monitor.notify")
    chosen = _chosen(spec.notify, options_of(order).get("to") or (), "notify")
    least = _SEVERITIES.index(order.severity)
    told = {one.called: one for one in chosen if _SEVERITIES.index(one.severity) <= least}
    said = _message(taken)
    found = _each(store, taken, told, lambda one: messenger(one).send(said))
    return Outcome(result={"told": found}, kind="page_sent")


def _each(
    store: ControlStore, taken: KeptOrder, receivers: Mapping[str, _Receiver], act: Callable[[_Receiver], Any]
) -> dict[str, Any]:
    """Do something with each receiver that it was not done with yet, and note it at once."""
    found = {name: value for name, value in taken.progress.items() if name in receivers}
    failures: list[StoreUnavailable] = []
    for name, receiver in receivers.items():
        if name in found:
            continue
        try:
            found[name] = act(receiver)
        except StoreUnavailable as error:
            failures.append(error)
            continue
        if len(receivers) > 1 and not store.orders.remember(taken, found):
            message = f"The order {taken.order.id} is carried out by somebody else now."
            raise StoreUnavailable(message, order=taken.order.id)
    if failures:
        waits = [one.fields["after_s"] for one in failures if one.fields.get("after_s") is not None]
        raise StoreUnavailable(" ".join([one.message for one in failures]), after_s=max(waits, default=None))
    return found


def _chosen(receivers: Sequence[_Receiver], names: Sequence[str], key: str) -> list[_Receiver]:
    known = {one.called: one for one in receivers}
    unknown = [name for name in names if name not in known]
    if unknown:
        message = f"The rule names {unknown[0]!r}, which monitor.{key} does not have. {near(unknown[0], known)}"
        raise SettingsInvalid(message, key=f"monitor.{key}")
    return [known[name] for name in names] if names else list(known.values())


def _tickets(store: ControlStore, incident: str) -> dict[str, Ticket]:
    """Return the tickets of an incident that are known, by tracker."""
    found: dict[str, Ticket] = {}
    for one in store.orders.orders(incident=incident, states=["done"]):
        if one.order.action == "ticket":
            made = (one.result.get("tickets") or {}).items()
            found |= {name: Ticket(*ticket) for name, ticket in made if ticket is not None}
    return found


def _message(taken: KeptOrder) -> Message:
    order = taken.order
    return Message(
        id=order.id, incident=order.incident, model=order.model, severity=order.severity, title=order.title,
        body=order.body, since=taken.put_at, labels=tuple(options_of(order).get("labels") or ()),
        reopened=bool(order.details.get("reopened")) and order.verb == "open", repeated=taken.attempts > 1,
    )  # fmt: skip
