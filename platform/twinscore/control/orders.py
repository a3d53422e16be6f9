"""What people ask of the control, left in its store and waited for; whichever control acts takes it from there."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from twinscore.control.app import APP
from twinscore.errors import StoreConflict
from twinscore.online.serve_config import applications
from twinscore.ports.model_store import parse_ref
from twinscore.rollout.state import ModelState
from twinscore.wiring import open_rollout_store

if TYPE_CHECKING:
    from twinscore.ports.rollout_store import ControlStore
    from twinscore.rollout.seen import Command
    from twinscore.settings import Settings

__all__ = ["controlled", "leave", "outcome_of", "ref_to_serve"]

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


def controlled(model: str) -> bool:
    """Tell whether a control runs that has written the routing of this model."""
    from twinscore.online.routes import current_routing

    routing = current_routing(model)
    return APP in applications() and routing is not None and routing.term > 0


def ref_to_serve(settings: Settings, ref: str) -> str:
    """Return which version a person who says `serve` shall get: of a model that is under control, the live one.

    Raises:
        StoreConflict: another version was named; that is a promotion.
    """
    wanted = parse_ref(ref)
    if APP not in applications():
        return ref
    with open_rollout_store(settings) as store:
        stored = store.rollouts.load(wanted.model)
    live = None if stored is None else ModelState.from_json(stored.document["state"]).live
    if live is None:
        return ref
    if wanted.version not in (None, live):
        message = (
            f"Version {live} of {wanted.model} is live and the control keeps it so. Ask for version {wanted.version} "
            f"with `twinscore promote --model {wanted.model} --version {wanted.version}`; --immediate skips the stages."
        )
        raise StoreConflict(message, model=wanted.model, live=live)
    return f"{wanted.model}/{live}"
