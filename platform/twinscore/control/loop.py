"""The life of the control: holds the lease, finds the models, and gives each its turns; knows nothing of a rollout.

Of several controls one acts: the one with the lease. It measures what is left of it by its own monotonic clock, from
before it asked, so that a process which was stopped for a while does not act on a lease that ran out meanwhile.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from twinscore.errors import StoreConflict, StoreUnavailable, TwinscoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twinscore.control.reconcile import Reconciler
    from twinscore.ports.rollout_store import Lease, Leases

__all__ = ["LEASE", "Control"]

LEASE = "control"
"""Name of the lease."""
_LEASE_S = 10.0
_SLACK_S = 2.0
"""Nothing is begun when less than this is left of the lease."""
_AGAIN_S = 0.1
_AT_ONCE = 8
_log = structlog.get_logger("twinscore.control")


class Control:
    """Gives every model its turns, in threads of its own, from its constructor until it is closed.

    Args:
        leases: who may act.
        models: returns the models to look at.
        reconciler: makes the reconciler of a model.
        poll_s: between two turns of a model in which nothing happens.
        lease_s: how long a control that is gone keeps others waiting.
        holder: a name of this process's own.
    """

    def __init__(
        self,
        leases: Leases,
        models: Callable[[], Iterable[str]],
        reconciler: Callable[[str], Reconciler],
        *,
        poll_s: float = 2.0,
        lease_s: float = _LEASE_S,
        holder: str | None = None,
    ) -> None:
        self._leases = leases
        self._models = models
        self._make = reconciler
        self._poll_s = poll_s
        self._lease_s = lease_s
        self.holder = holder or f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"
        self._lease: Lease | None = None
        self._until_s = 0.0
        self._reconcilers: dict[str, Reconciler] = {}
        self._due_s: dict[str, float] = {}
        self._running: dict[str, Future[bool]] = {}
        self.trouble: dict[str, str] = {}
        """By model, why its last turn could not be taken; for whoever looks."""
        self._wake = threading.Event()
        self._closing = threading.Event()
        self.beat_s = time.monotonic()
        """When the loop last came round, by the monotonic clock."""
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="control")
        self._thread = threading.Thread(target=self._run, name="control-loop", daemon=True)
        self._thread.start()

    @property
    def acts(self) -> bool:
        """Whether this control is the one that acts."""
        return self._lease is not None and time.monotonic() < self._until_s

    @property
    def lease(self) -> Lease | None:
        """The lease while it is held for long enough to begin something, for what acts beside the turns."""
        return self._lease if time.monotonic() < self._until_s - _SLACK_S else None

    @property
    def alive(self) -> bool:
        """Whether the loop still comes round."""
        return self._thread.is_alive() and time.monotonic() - self.beat_s < 3 * self._lease_s

    def hint(self, model: str | None = None) -> None:
        """Let a model have its turn now, or every one; a hint that is lost costs one poll."""
        for one in list(self._due_s):
            if model in (None, one):
                self._due_s[one] = 0.0
        self._wake.set()

    def look(self, model: str | None = None) -> None:
        """Look at the registry now for a model, or for every one."""
        for one, reconciler in list(self._reconcilers.items()):
            if model in (None, one):
                reconciler.look()

    def close(self, timeout_s: float = 30.0) -> None:
        """Finish the turns that have begun, and let another control act at once."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._lease is not None:
            with suppress(StoreUnavailable):
                self._leases.give_back(self._lease)
        for one in self._reconcilers.values():
            one.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            self.beat_s = time.monotonic()
            wait_s = self._poll_s
            try:
                if self._hold():
                    wait_s = self._give_turns()
            except StoreUnavailable as error:
                _log.warning("control_store_away", error=error.message)
            except Exception as error:  # noqa: BLE001 - the loop must come round again, whatever happened
                _log.error("control_failed", error=f"{type(error).__name__}: {error}")
            self._wake.wait(wait_s)
            self._wake.clear()

    def _hold(self) -> bool:
        """Take or keep the lease; return whether it is held for long enough to begin something."""
        began_s = time.monotonic()
        if self._lease is not None and self._until_s - began_s > self._lease_s / 2:
            return True
        held = self._lease
        self._lease = None
        if held is not None and began_s < self._until_s:
            self._lease = self._leases.keep(held, self._lease_s)
        if self._lease is None:
            self._lease = self._leases.take(LEASE, self.holder, self._lease_s)
            if self._lease is not None:
                _log.info("control_acts", holder=self.holder, epoch=self._lease.epoch)
        self._until_s = began_s + self._lease_s
        return self._lease is not None

    def _give_turns(self) -> float:
        """Begin the turns that are due, and return in how many seconds the next one may be."""
        self._gather()
        now_s = time.monotonic()
        for model in self._models():
            self._due_s.setdefault(model, now_s)
        for model, due_s in list(self._due_s.items()):
            if due_s <= now_s and model not in self._running and self._until_s - now_s > _SLACK_S:
                self._due_s[model] = now_s + self._poll_s
                self._running[model] = self._pool.submit(self._turn, model)
                self._running[model].add_done_callback(lambda _: self._wake.set())
        next_s = min(self._due_s.values(), default=now_s + self._poll_s)
        return max(0.02, min(self._poll_s, next_s - now_s)) if not self._running else self._poll_s

    def _gather(self) -> None:
        for model, future in list(self._running.items()):
            if not future.done():
                continue
            del self._running[model]
            if future.result():
                self._due_s[model] = time.monotonic() + _AGAIN_S

    def _turn(self, model: str) -> bool:
        """Give a model its turn, and return whether the next one should come at once."""
        lease = self._lease
        if lease is None:
            return False
        try:
            reconciler = self._reconcilers.get(model)
            if reconciler is None:
                reconciler = self._reconcilers[model] = self._make(model)
            again = reconciler.turn(lease)
            self.trouble[model] = reconciler.trouble
            return again
        except StoreConflict as error:
            # Somebody else has the lease, or a person's command came between: look again.
            self.trouble[model] = error.message
            if error.fields.get("stale") == "lease":
                self._until_s = 0.0
            return False
        except TwinscoreError as error:
            self.trouble[model] = error.message
        except Exception as error:  # noqa: BLE001 - one model's trouble is not the others'
            self.trouble[model] = f"{type(error).__name__}: {error}"
            _log.exception("turn_failed", model=model)
        return False
