"""Which listeners answer for which model, and where; knows neither Ray nor the proxy that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["RENEW_S", "STALE_S", "Listener", "ListenerRoster"]

RENEW_S = 1.0
"""How often the owner of an entry announces it again."""
STALE_S = 5.0
"""How long an entry counts after it was announced for the last time."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One replica's own HTTP address, and where beside it gRPC is spoken."""

    model: str
    replica: str
    """A name that no other replica of this model has, on any machine."""
    host: str
    """An address (no name) that the edges can reach."""
    port: int
    max_connections: int
    """Requests that the replica takes at a time; the edge sends no more."""
    state: Literal["ready", "draining"]
    """A draining listener finishes what it has and gets nothing new."""
    renewed_at: datetime
    """When its owner last said so, in UTC."""
    grpc_port: int | None = None
    """A port of the replica's own for gRPC; None where it speaks none that an edge may send to."""

    @property
    def address(self) -> str:
        """Host and port as a URL has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ListenerRoster(Protocol):
    """The listeners that are there now. An entry is kept alive by being announced again every `RENEW_S` seconds."""

    def announce(self, listener: Listener) -> None:
        """Enter a listener of this very process, or renew or change its entry.

        Raises:
            StoreUnavailable: the roster cannot be written.
        """
        ...

    def withdraw(self, model: str, replica: str) -> None:
        """Take a listener's entry away; nothing happens when there is none."""
        ...

    def listeners(self) -> tuple[Listener, ...]:
        """Return every entry that is kept alive, by model and replica.

        Raises:
            StoreUnavailable: the roster cannot be read.
        """
        ...
