"""What people order, left in the control's store and waited for; whichever control acts takes it from there."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twinscore.ports.rollout_store import ControlStore
    from twinscore.rollout.seen import Command

__all__ = ["leave", "outcome_of"]

_POLL_S = 0.1


def leave(store: ControlStore, model: str, command: Command) -> str:
    """Leave a command for the control, and return its id.

    Raises:
        StoreUnavailable: the store does not answer; nothing was left.
    """
    return store.commands.put(model, command.to_json(), command_id=os.urandom(8).hex()).id


def outcome_of(store: ControlStore, command_id: str, *, timeout_s: float) -> str | None:
    """Wait until a command was acted on, and return what became of it: `taken`, or why not; None after the time."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        found = store.commands.outcome(command_id)
        if found is not None or time.monotonic() >= deadline_s:
            return found
        time.sleep(_POLL_S)
