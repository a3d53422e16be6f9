"""Messages to people through an incoming webhook of Slack, or of one that takes the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.adapters.http_calls import Caller
from twinscore.errors import StoreUnavailable

if TYPE_CHECKING:
    from twinscore.ports.ticket_store import Message

__all__ = ["SlackMessenger"]

_LONGEST = 3000
_SIGNS = {"info": ":information_source:", "warning": ":warning:", "critical": ":rotating_light:"}


class SlackMessenger:
    """A channel.

    Args:
        url: of the webhook; it is the secret.
        private: whether it may be an address that is not public.
    """

    def __init__(self, url: str, *, private: bool = False) -> None:
        self._url = url
        self._caller = Caller("The Slack webhook", private=private, secret=url)

    def send(self, message: Message) -> str:
        """Post a message; one whose answer was lost is posted again, for Slack knows no key."""
        text = f"{_SIGNS[message.severity]} *{_escaped(message.title)}*\n{_escaped(message.body[:_LONGEST])}"
        answer = self._caller.call("POST", self._url, body={"text": f"{text}\n`{_escaped(message.id)}`"})
        if answer.body.strip() not in (b"", b"ok"):
            said = answer.body[:200].decode("utf-8", errors="replace")
            message_ = f"The Slack webhook answered {said!r} instead of ok."
            raise StoreUnavailable(message_, receiver="slack")
        return ""


def _escaped(text: str) -> str:
    """Return text in which nothing is a command, such as a mention of everybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
