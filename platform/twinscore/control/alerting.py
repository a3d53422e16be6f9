"""Beside the loop of rollouts, in threads of its own: gives each model's rules their turns, and has orders carried out.

It acts under the lease of that loop, and nothing that goes wrong here is felt there.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import structlog

from twinscore.errors import TwinscoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twinscore.control.alerts import Alerts
    from twinscore.control.courier import Courier
    from twinscore.ports.rollout_store import Lease

__all__ = ["Alerting"]

_AT_ONCE = 4
_MOST_WAIT_S = 2.0
"""Orders are looked for at least this often."""
_log = structlog.get_logger("twinscore.control")


class Alerting:
    """Runs from its constructor until it is closed.

    Args:
        lease: returns the lease under which to act; None while another control acts.
        models: returns the models to watch.
        make: makes what watches a model.
        courier: carries orders out.
        poll_s: between two looks at a model.
    """

    def __init__(
        self, lease: Callable[[], Lease | None], models: Callable[[], Iterable[str]], make: Callable[[str], Alerts],
        courier: Courier, *, poll_s: float = 10.0,
    ) -> None:  # fmt: skip
        self._lease = lease
        self._models = models
        self._make = make
        self._courier = courier
        self._poll_s = poll_s
        self._alerts: dict[str, Alerts] = {}
        self._due_s: dict[str, float] = {}
        self._running: dict[str, Future[None]] = {}
        self.trouble: dict[str, str] = {}
        """By model, what went wrong when it was last looked at; `*` for what concerns all."""
        self._closing = threading.Event()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="alerts")
        self._thread = threading.Thread(target=self._run, name="alerts-loop", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 60.0) -> None:
        """Finish what has begun."""
        self._closing.set()
        self._thread.join(timeout_s)
        self._pool.shutdown(wait=True, cancel_futures=True)
        for one in self._alerts.values():
            one.close()
        self._courier.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                lease = self._lease()
                if lease is not None:
                    self._look(lease)
                    self._courier.turn(lease)
                self.trouble.pop("*", None)
            except TwinscoreError as error:
                self.trouble["*"] = error.message
                _log.warning("alerts_store_away", error=error.message)
            except Exception as error:  # noqa: BLE001 - the loop must come round again, whatever happened
                self.trouble["*"] = f"{type(error).__name__}: {error}"
                _log.exception("alerts_failed")
            self._closing.wait(min(self._poll_s, _MOST_WAIT_S))

    def _look(self, lease: Lease) -> None:
        """Begin the turns that are due."""
        now_s = time.monotonic()
        self._running = {model: future for model, future in self._running.items() if not future.done()}
        for model in self._models():
            if self._due_s.get(model, 0.0) <= now_s and model not in self._running:
                self._due_s[model] = now_s + self._poll_s
                self._running[model] = self._pool.submit(self._turn, model, lease)

    def _turn(self, model: str, lease: Lease) -> None:
        try:
            alerts = self._alerts.get(model)
            if alerts is None:
                alerts = self._alerts[model] = self._make(model)
            alerts.turn(lease)
            self.trouble[model] = alerts.trouble
        except TwinscoreError as error:
            self.trouble[model] = error.message
            _log.warning("alerts_turn_failed", model=model, error=error.message)
        except Exception as error:  # noqa: BLE001 - one model's trouble is not the others'
            self.trouble[model] = f"{type(error).__name__}: {error}"
            _log.exception("alerts_turn_failed", model=model)
