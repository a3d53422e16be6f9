"""Has orders carried out in threads of its own: what hangs holds up neither the others nor any decision.

An order is taken under the lease, done outside of any transaction, and ended with what the ledger says of it. Whoever
is killed in between leaves it to the next, who finds what was done already.
"""

from __future__ import annotations

import hashlib
import math
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import structlog

from twinscore.control.actions import entry_of
from twinscore.errors import SettingsInvalid, StoreUnavailable, TwinscoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from twinscore.control.outcome import Outcome
    from twinscore.monitoring.order import Action
    from twinscore.ports.alert_store import KeptOrder
    from twinscore.ports.rollout_store import ControlStore, Lease

__all__ = ["Courier", "backoff_s"]

_LANES: dict[str, tuple[tuple[Action, ...], int]] = {
    "quick": (("hold", "scale", "degrade"), 4),
    "outside": (("ticket", "page", "retrain", "audit"), 12),
}
"""What never leaves the platform has threads of its own, so that a hold waits for nobody's tracker."""
_TAKEN_S = 120.0
"""After so long another control may take an order that was begun and not ended."""
_FIRST_S = 10.0
_LONGEST_S = 900.0
_log = structlog.get_logger("twinscore.control")


class Courier:
    """Carries out what is due, at most one order at a time for a model and action.

    Args:
        store: orders and ledger.
        act: does what an order says; see `Actions.carry_out`.
        taken_s: after which another control may take an order that was begun.
    """

    def __init__(self, store: ControlStore, act: Callable[[KeptOrder], Outcome], *, taken_s: float = _TAKEN_S) -> None:
        self._store = store
        self._act = act
        self._taken_s = taken_s
        self._pools = {name: ThreadPoolExecutor(size, f"orders-{name}") for name, (_, size) in _LANES.items()}
        self._running: dict[tuple[str, str], Future[None]] = {}

    def turn(self, lease: Lease | None) -> int:
        """Begin what is due, and return how many orders are under way.

        Raises:
            StoreConflict: the lease is somebody else's now.
            StoreUnavailable: the store does not answer.
        """
        self._running = {lane: future for lane, future in self._running.items() if not future.done()}
        if self._store.orders.orders(states=["waiting"], limit=1):
            for name, (actions, size) in _LANES.items():
                free = size - sum(action in actions for _, action in self._running)
                if free > 0:
                    self._begin(name, actions, free, lease)
        return len(self._running)

    def close(self) -> None:
        """Wait for what is under way, which ends in time by itself."""
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, name: str, actions: Collection[Action], free: int, lease: Lease | None) -> None:
        taken = self._store.orders.take(
            lease, actions=actions, seconds=self._taken_s, limit=free, busy=tuple(self._running)
        )
        for one in taken:
            self._running[one.order.model, one.order.action] = self._pools[name].submit(self._carry, one)

    def _carry(self, taken: KeptOrder) -> None:
        """Carry out one order, and note what came of it; a store that is away leaves it for later."""
        try:
            self._end(taken)
        except Exception as error:  # noqa: BLE001 - what is wrong with one order stops no other
            # No traceback: it would show the variables of those who hold tokens.
            _log.error("order_not_noted", order=taken.order.id, error=f"{type(error).__name__}: {error}")

    def _end(self, taken: KeptOrder) -> None:
        order = taken.order
        try:
            outcome = self._act(taken)
        except SettingsInvalid as error:
            self._later(taken, error.message, math.inf)
        except StoreUnavailable as error:
            after_s = error.fields.get("after_s") or 0.0
            self._later(taken, error.message, max(backoff_s(order.id, taken.attempts), after_s))
        except Exception as error:  # noqa: BLE001 - a receiver may answer anything; the order is tried again
            said = error.message if isinstance(error, TwinscoreError) else f"{type(error).__name__}: {error}"
            self._later(taken, said, backoff_s(order.id, taken.attempts))
        else:
            if outcome.wait_s is not None:
                self._store.orders.later(taken, outcome.says, outcome.wait_s)
                return
            drafts = [entry_of(order, outcome.kind, outcome.result)] if outcome.kind else []
            self._store.orders.done(taken, outcome.result, drafts)
            _log.info("order_done", order=order.id, attempts=taken.attempts)

    def _later(self, taken: KeptOrder, trouble: str, after_s: float) -> None:
        failed = entry_of(taken.order, "action_failed", {"trouble": trouble[:500]})
        state = self._store.orders.later(taken, trouble, after_s, [failed])
        _log.warning("order_not_done", order=taken.order.id, attempts=taken.attempts, state=state, error=trouble[:500])


def backoff_s(order_id: str, attempts: int) -> float:
    """Return how long to wait after so many attempts: twice as long each time, and not all orders at once.

    >>> [round(backoff_s("a", attempts)) for attempts in (1, 2, 3, 9, 500)]
    [8, 22, 33, 826, 962]
    """
    spread = int(hashlib.sha256(f"{order_id} {attempts}".encode()).hexdigest()[:8], 16) / 2**32
    return min(_FIRST_S * 2.0 ** min(attempts - 1, 20), _LONGEST_S) * (0.8 + 0.4 * spread)
