"""Where alerts are kept: the state of each model's rules, and the orders that follow from it; knows no database.

A state is saved with the orders that it led to, in one transaction and by the holder of the lease, so an order is
neither lost nor given twice. An order then waits until somebody says that it was carried out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from twinscore.monitoring.order import Order
    from twinscore.ports.rollout_store import Lease, Stored
    from twinscore.rollout.ledger import Draft

__all__ = ["AlertStates", "KeptOrder", "OrderBook", "OrderState"]

OrderState = Literal["waiting", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOrder:
    """An order and what became of it so far."""

    order: Order
    state: OrderState
    attempts: int
    """How often it was begun."""
    put_at: datetime
    next_try: datetime
    progress: Mapping[str, Any]
    """What of it is done already, such as who was told."""
    result: Mapping[str, Any]
    """What came of it, such as the ticket; empty while it waits."""
    trouble: str
    """Why it could not be carried out when it was last tried."""
    ended_at: datetime | None


class AlertStates(Protocol):
    """The state of each model's rules: a small document that all readers want, and parts for whoever steps on."""

    def load(self, model: str) -> Stored | None:
        """Return the document of a model's rules, None before the first save.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        ...

    def parts(self, model: str) -> dict[str, Any]:
        """Return the parts of a model's state by name, all as of one moment.

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
        orders: Sequence[Order] = (),
        drafts: Sequence[Draft] = (),
        parts: Mapping[str, Mapping[str, Any] | None] | None = None,
    ) -> Stored:
        """Keep a state, put its orders and enter drafts into the model's ledger: all of it, or nothing.

        An order whose id is there already is left as it is.

        Args:
            parts: those that changed, by name; None in place of one removes it. The others stay as they are.

        Raises:
            StoreConflict: the revision or the epoch of the lease is behind; the field `stale` is `revision` or `lease`.
            StoreUnavailable: the store does not answer; nothing, or everything, was kept.
        """
        ...

    def models(self) -> tuple[str, ...]:
        """Return every model whose rules have a state."""
        ...


class OrderBook(Protocol):
    """Orders, from when they are put until they are carried out or given up; by the store's clock."""

    def take(
        self, lease: Lease | None, *, actions: Collection[str], seconds: float, limit: int,
        busy: Collection[tuple[str, str]] = (),
    ) -> tuple[KeptOrder, ...]:  # fmt: skip
        """Take orders that are due; nobody else gets them within `seconds`.

        Of one incident's orders for one action only the oldest is given, so none overtakes another; of a model's
        orders for one action one at a time.

        Args:
            busy: models and actions of which none is wanted now.

        Raises:
            StoreConflict: the epoch of the lease is behind.
        """
        ...

    def remember(self, taken: KeptOrder, progress: Mapping[str, Any]) -> bool:
        """Keep what part of an order is done, and return whether it is still this one that was taken."""
        ...

    def done(self, taken: KeptOrder, result: Mapping[str, Any], drafts: Sequence[Draft] = ()) -> bool:
        """End an order and enter drafts in one transaction; False, and nothing, when it was taken anew since."""
        ...

    def later(self, taken: KeptOrder, trouble: str, after_s: float, drafts: Sequence[Draft] = ()) -> OrderState:
        """Let an order wait, or give it up and enter the drafts when it has waited for too long; return which.

        Args:
            after_s: until it is tried again; infinite gives it up.
        """
        ...

    def again(self, order_id: str) -> KeptOrder:
        """Let an order that waits or was given up be tried at once.

        Raises:
            SettingsInvalid: there is no such order, or it was carried out.
        """
        ...

    def orders(
        self, model: str | None = None, *, incident: str | None = None, states: Collection[OrderState] = (),
        limit: int = 1000,
    ) -> tuple[KeptOrder, ...]:  # fmt: skip
        """Return the newest orders, the oldest of them first."""
        ...
