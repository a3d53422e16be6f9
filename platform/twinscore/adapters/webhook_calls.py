"""Alerts as JSON to an address of the operator's own: tickets and messages, each signed and with a key of its own.

The receiver keeps one of those with the same `Idempotency-Key`: a call that was not answered is made again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any, Literal

from twinscore.adapters.http_calls import Caller
from twinscore.ports.ticket_store import Ticket

if TYPE_CHECKING:
    from twinscore.ports.ticket_store import Message

__all__ = ["WebhookMessenger", "WebhookTickets"]

_Event = Literal["open", "comment", "close", "notify"]


class WebhookTickets:
    """A tracker behind one address; what it answers as `ticket` and `url` names the ticket.

    Args:
        url: is sent each event.
        secret: that calls are signed with; empty signs none.
        private: whether it may be an address that is not public.
    """

    def __init__(self, url: str, secret: str = "", *, private: bool = False) -> None:
        self._send = _Sender(url, secret, private)

    def open(self, message: Message) -> Ticket:
        """Ask for a ticket of the incident."""
        return self._send("open", message, None)

    def comment(self, ticket: Ticket | None, message: Message) -> Ticket | None:
        """Ask for a comment."""
        return self._send("comment", message, ticket)

    def close(self, ticket: Ticket | None, message: Message) -> Ticket | None:
        """Ask for the end of the ticket."""
        return self._send("close", message, ticket)


class WebhookMessenger:
    """People behind one address; arguments as of `WebhookTickets`."""

    def __init__(self, url: str, secret: str = "", *, private: bool = False) -> None:
        self._send = _Sender(url, secret, private)

    def send(self, message: Message) -> str:
        """Tell them."""
        self._send("notify", message, None)
        return ""


class _Sender:
    def __init__(self, url: str, secret: str, private: bool) -> None:
        self._url = url
        self._secret = secret
        self._caller = Caller("The webhook", private=private, secret=url)

    def __call__(self, event: _Event, message: Message, ticket: Ticket | None) -> Ticket:
        content = json.dumps(
            {
                "event": event, "id": message.id, "incident": message.incident, "model": message.model,
                "severity": message.severity, "title": message.title, "body": message.body,
                "reopened": message.reopened, "ticket": None if ticket is None else ticket.name,
            },
            sort_keys=True,
        ).encode()  # fmt: skip
        headers = {"content-type": "application/json", "idempotency-key": message.id}
        if self._secret:
            signed = hmac.new(self._secret.encode(), content, hashlib.sha256).hexdigest()
            headers["x-twinscore-signature"] = f"sha256={signed}"
        answer: Any = self._caller.call("POST", self._url, headers=headers, content=content).json()
        said = answer if isinstance(answer, dict) else {}
        name = said.get("ticket") or (message.incident if ticket is None else ticket.name)
        return Ticket(str(name), str(said.get("url", "")))
