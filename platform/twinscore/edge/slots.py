"""Which listener sits in which slot of the proxy: pure decisions, without a proxy.

A backend has a fixed number of slots, because adding a server would need a reload. A listener that is there keeps its
slot; a new one takes an empty slot; a slot whose listener has gone is emptied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twinscore.ports.listener_roster import Listener

__all__ = ["EMPTY_SLOTS", "N_SLOTS", "Slot", "apply", "plan"]

N_SLOTS = 16
"""Replicas of one model that an edge can send to."""

_NOWHERE = ("127.0.0.1", 1)


@dataclass(frozen=True, slots=True)
class Slot:
    """One server line of a backend."""

    name: str
    host: str = _NOWHERE[0]
    port: int = _NOWHERE[1]
    max_connections: int = 1
    state: Literal["ready", "drain", "maint"] = "maint"

    @property
    def address(self) -> tuple[str, int]:
        """Where it sends."""
        return self.host, self.port


EMPTY_SLOTS = tuple(Slot(f"s{number}") for number in range(1, N_SLOTS + 1))
"""The slots of a backend before its first listener."""


def plan(slots: Sequence[Slot], listeners: Iterable[Listener]) -> tuple[Slot, ...]:
    """Return the slots that must change, as they shall be, so that the listeners are the ones that are sent to.

    Args:
        slots: all slots of one backend, as they are.
        listeners: all listeners of its model.
    """
    wanted = _by_address(listeners)
    changes: list[Slot] = []
    kept: set[tuple[str, int]] = set()
    empty: list[Slot] = []
    for slot in slots:
        listener = wanted.get(slot.address)
        if slot.state == "maint":
            empty.append(slot)
        elif listener is None or slot.address in kept:
            empty.append(slot)
            changes.append(Slot(slot.name, slot.host, slot.port, slot.max_connections, "maint"))
        else:
            kept.add(slot.address)
            after = _seat(slot.name, listener)
            if after != slot:
                changes.append(after)
    # Slots that were empty before come first: the others may still have requests of the listener that left.
    empty.sort(key=lambda slot: slot.state != "maint")
    newcomers = [item for address, item in wanted.items() if address not in kept and item.state == "ready"]
    seated = {slot.name: _seat(slot.name, listener) for slot, listener in zip(empty, newcomers, strict=False)}
    return (*(change for change in changes if change.name not in seated), *seated.values())


def apply(slots: Sequence[Slot], changes: Iterable[Slot]) -> tuple[Slot, ...]:
    """Return the slots after the changes."""
    changed = {change.name: change for change in changes}
    return tuple(changed.get(slot.name, slot) for slot in slots)


def _by_address(listeners: Iterable[Listener]) -> dict[tuple[str, int], Listener]:
    """Return one listener per address: an address that was given out again belongs to who spoke last."""
    found: dict[tuple[str, int], Listener] = {}
    for listener in sorted(listeners, key=lambda item: (item.renewed_at, item.replica)):
        found[listener.host, listener.port] = listener
    return {address: found[address] for address in sorted(found)}


def _seat(name: str, listener: Listener) -> Slot:
    state: Literal["ready", "drain"] = "ready" if listener.state == "ready" else "drain"
    return Slot(name, listener.host, listener.port, max(1, listener.max_connections), state)
