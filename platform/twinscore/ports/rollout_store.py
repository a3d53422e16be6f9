"""Where rollouts are kept: the state of each model, its ledger, leases, holds and commands; knows no database.

Everything that must happen together happens in one transaction: a state is saved with what the ledger says of it and
with the commands that led to it, and only by the holder of the lease.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from twinscore.ports.alert_store import AlertStates, OrderBook
    from twinscore.ports.case_store import CaseStore
    from twinscore.ports.ticket_store import TicketDesk
    from twinscore.rollout.hold import Hold
    from twinscore.rollout.ledger import Draft, Entry, Head

__all__ = [
    "Closing",
    "Commands",
    "ControlStore",
    "Holds",
    "Lease",
    "Leases",
    "Ledger",
    "RolloutStore",
    "Stored",
    "WaitingCommand",
]


@dataclass(frozen=True, slots=True)
class Stored:
    """A model's state as it is kept."""

    revision: int
    """Rises by one with every save, from 1."""
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to act under a name, until a moment of the store's clock."""

    name: str
    holder: str
    epoch: int
    """Rises whenever the lease is taken; what is written under an earlier one is refused."""
    until: datetime


@dataclass(frozen=True, slots=True)
class WaitingCommand:
    """What somebody asked of the control, and the control has not acted on yet."""

    id: str
    model: str
    document: Mapping[str, Any]
    put_at: datetime


class RolloutStore(Protocol):
    """The state document of each model."""

    def load(self, model: str) -> Stored | None:
        """Return the state of a model, None before the first save.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        ...

    def save(
        self,
        model: str,
        document: Mapping[str, Any],
        *,
        revision: int,
        lease: Lease | None,
        drafts: Sequence[Draft] = (),
        done: Mapping[str, str] | None = None,
    ) -> Stored:
        """Keep a state, enter drafts into the model's ledger and end commands: all of it, or nothing.

        Args:
            revision: the one that was loaded; 0 for a model without a state.
            lease: under which the caller acts; None for a caller that needs none, such as a test.
            done: ids of commands that are acted on by this, with what became of each in words.

        Raises:
            StoreConflict: the revision or the epoch of the lease is behind; the field `stale` is `revision` or `lease`.
            StoreUnavailable: the store does not answer; nothing, or everything, was kept.
        """
        ...

    def models(self) -> tuple[str, ...]:
        """Return every model that has a state."""
        ...


class Ledger(Protocol):
    """What was entered; entries are written by whatever changes the state or a hold, never alone."""

    def entries(self, model: str, after: int = 0) -> tuple[Entry, ...]:
        """Return the entries of a model with a higher number than `after`, in order."""
        ...

    def head(self, model: str) -> Head:
        """Return where the chain of a model ends by the store's own note."""
        ...

    def chains(self) -> tuple[str, ...]:
        """Return every model that has entries, `*` among them when a hold was on every model."""
        ...


class Leases(Protocol):
    """Who may act. Only the store's clock counts; a holder measures what is left by a monotonic clock of its own."""

    def take(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take a lease that nobody holds, or that ran out, or that `holder` itself held before; None when held.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        ...

    def keep(self, lease: Lease, seconds: float) -> Lease | None:
        """Return the lease with a later end, None when it was taken by somebody else since."""
        ...

    def give_back(self, lease: Lease) -> None:
        """End a lease, so that another may take it at once; nothing happens when it is not held any more."""
        ...


class Holds(Protocol):
    """Why automated steps wait; each change is entered into the ledger in the same transaction."""

    def place(
        self, scope: str, *, reason: str, owner: str, source: str, expires: datetime | None = None,
        hold_id: str | None = None,
    ) -> Hold:  # fmt: skip
        """Hold one model, or with `*` every one.

        Args:
            hold_id: a hold that was placed with this id before is returned as it is, so a caller may try again; None
                makes one up.

        Raises:
            SettingsInvalid: something is empty, or the hold would be over at once.
        """
        ...

    def release(self, hold_id: str, *, by: str, reason: str) -> Hold:
        """End a hold.

        Raises:
            SettingsInvalid: there is no such hold, or no name or reason is given.
            StoreConflict: it is over already.
        """
        ...

    def override(self, hold_id: str, *, model: str, by: str, reason: str) -> Hold:
        """Let one model go on in spite of a hold that stays; `by` is a person.

        Raises:
            SettingsInvalid: there is no such hold, it does not cover the model, or no person or reason is named.
            StoreConflict: it is over already.
        """
        ...

    def held(self, *, over: bool = False) -> tuple[Hold, ...]:
        """Return the holds in force, the oldest first; with `over` also those that ended."""
        ...


class Commands(Protocol):
    """What people ask of the control, kept until it has acted: nothing is lost when it is killed."""

    def put(self, model: str, document: Mapping[str, Any], *, command_id: str) -> WaitingCommand:
        """Leave a command; one that was left with this id before is returned as it was, so a caller may try again."""
        ...

    def take(self, model: str) -> tuple[WaitingCommand, ...]:
        """Return what waits for a model, in the order of arrival; it waits until a `save` names it in `done`."""
        ...

    def outcome(self, command_id: str, *, model: str | None = None) -> str | None:
        """Return what became of a command, None while it waits.

        Raises:
            SettingsInvalid: there is no such command, or with `model` none of that model.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlStore:
    """One database, by what it is used for; close it with `close`, or use it in a `with`."""

    rollouts: RolloutStore
    ledger: Ledger
    leases: Leases
    holds: Holds
    commands: Commands
    alerts: AlertStates
    orders: OrderBook
    tickets: TicketDesk
    cases: CaseStore
    closing: Closing = field(repr=False)

    def __enter__(self) -> ControlStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self.closing.close()


class Closing(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Give back what is held."""
        ...
