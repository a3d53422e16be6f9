"""Where tickets are, one for each incident; knows no tracker.

Whoever calls may have been killed between a call and noting that it was made, and calls again: nothing is opened, said
or closed twice because of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["Message", "Messenger", "Ticket", "TicketDesk", "TicketStore", "marker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is said about an incident, once."""

    id: str
    """Of the order."""
    incident: str
    model: str
    severity: str
    title: str
    body: str
    """Markdown."""
    since: datetime
    """When the order was put; of `open`, the incident is no older than the rule's windows before."""
    labels: tuple[str, ...] = ()
    """Of the ticket, where the tracker has them."""
    reopened: bool = False
    """Of `open`: whether the incident was over, and a ticket that was closed is to be opened again."""
    repeated: bool = False
    """Whether it may have been said before."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket as its tracker names it."""

    name: str
    url: str = ""


class TicketStore(Protocol):
    """One tracker."""

    def open(self, message: Message) -> Ticket:
        """Return the ticket of an incident: the one that is there, opened again where it was closed, else a new one.

        Raises:
            StoreUnavailable: the tracker does not answer, or does not take it; the field `after_s` says when it may
                be asked again, where it said so.
        """
        ...

    def comment(self, ticket: Ticket | None, message: Message) -> Ticket | None:
        """Say something on a ticket; None for one that is not known leads to the incident's, where there is one.

        Raises:
            StoreUnavailable: as `open`.
        """
        ...

    def close(self, ticket: Ticket | None, message: Message) -> Ticket | None:
        """Say why, and close a ticket; as `comment`."""
        ...


class TicketDesk(TicketStore, Protocol):
    """A tracker of our own, whose tickets can be read."""

    def tickets(self, model: str | None = None) -> tuple[Mapping[str, Any], ...]:
        """Return every ticket as JSON values, with what was said on it; the oldest first."""
        ...


class Messenger(Protocol):
    """Tells people."""

    def send(self, message: Message) -> str:
        """Tell them, and return what was not as it should be, such as a reader who is not known; empty is well.

        Raises:
            StoreUnavailable: it was not taken, or nobody knows whether it was.
        """
        ...


def marker(id_: str) -> str:
    """Return what is written into a text so that it is found again: a comment of HTML, which no reader sees.

    >>> marker("loans-drift-1")
    '<!-- twinscore:loans-drift-1 -->'
    """
    return f"<!-- twinscore:{id_} -->"
