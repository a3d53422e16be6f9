"""Whether an address may be bound: beyond loopback only where callers are asked for a key or a token."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from twinscore.access.gate import Access
from twinscore.errors import SettingsInvalid

if TYPE_CHECKING:
    from twinscore.settings import Settings

__all__ = ["is_loopback", "refuse_open"]


def refuse_open(settings: Settings) -> None:
    """Refuse to let everybody on the network ask every model.

    Raises:
        SettingsInvalid: `host` is more than loopback, and this home has neither keys nor issuers of tokens.
    """
    if is_loopback(settings.host) or Access.load(settings.home).configured:
        return
    message = (
        f"TWINSCORE_HOST is {settings.host!r}, which others can reach, and {settings.home} has no API keys, so"
        " everybody could ask every model. Make a key with `twinscore keys create`, or leave the setting at 127.0.0.1."
    )
    raise SettingsInvalid(message, setting="TWINSCORE_HOST")


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address; a name that is not `localhost` may mean anything.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.org", "")]
    [True, True, True, False, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
