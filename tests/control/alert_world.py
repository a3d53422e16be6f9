"""Alerts of one model with everything real around them: store, rules from a file, receivers, audit log; time is ours.

As a program it is a control that carries out what is due, for a test that kills it while it waits for an answer:
python alert_world.py HOME DEPLOYMENTS
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twinscore.clock import FixedClock
from twinscore.control.actions import Actions
from twinscore.control.alerts import Alerts
from twinscore.control.courier import Courier
from twinscore.control.monitor_specs import MonitorSpecs
from twinscore.control.rungs import Rungs
from twinscore.monitoring.figure import Figure
from twinscore.ports.load_ladder import LoadLadder
from twinscore.ports.rollout_store import ControlStore, Lease
from twinscore.ports.window_store import WindowStore
from twinscore.settings import Settings, load_settings
from twinscore.wiring import open_rollout_store, window_store

__all__ = ["MODEL", "START", "AlertWorld"]

MODEL = "loans"
START = datetime(2026, 1, 1, 10, tzinfo=UTC)


@dataclass(slots=True)
class AlertWorld:
    """A control's alerts, as long as `restart` does not make them anew."""

    settings: Settings
    store: ControlStore
    clock: FixedClock = field(default_factory=lambda: FixedClock(START))
    taken_s: float = 120.0
    ladder: LoadLadder | None = None
    lease: Lease | None = None
    alerts: Alerts = field(init=False)
    courier: Courier = field(init=False)

    windows: WindowStore = field(init=False)

    def __post_init__(self) -> None:
        self.windows = window_store(self.settings.lake, MODEL)
        self.restart()

    def restart(self) -> None:
        """Begin as a new process does: with the store alone."""
        self.lease = self.store.leases.take("control", "test", 600)
        watched = MonitorSpecs(self.settings.deployments)
        rungs = None if self.ladder is None else Rungs(self.store, self.ladder, self.clock)
        actions = Actions(self.settings, self.store, watched.spec_of, rungs=rungs)
        self.alerts = Alerts(
            MODEL, store=self.store, spec_of=watched.spec_of, windows=self.windows, clock=self.clock,
            after=None if rungs is None else rungs.keep_up,
        )  # fmt: skip
        self.courier = Courier(self.store, actions.carry_out, taken_s=self.taken_s)

    def hour(self, metric: str, value: float | None, *, hours: int = 1, **more: Any) -> None:
        """Let hours pass in which a metric was something, and look at them."""
        self.put([self.clock.now() + timedelta(hours=hour) for hour in range(hours)], metric, value, **more)
        self.clock.advance(3600 * hours)
        self.alerts.turn(self.lease)

    def put(self, starts: Sequence[datetime], metric: str, value: float | None, **more: Any) -> None:
        """Replace the figures of hours by one each, as the job that watches does."""
        said: dict[str, Any] = {"version": "3", "rows": 5_000, "metric": metric, "value": value, **more}
        made = [Figure(model=MODEL, start=start, end=start + timedelta(hours=1), **said) for start in starts]
        self.windows.write({one.start: (repr(one), [one]) for one in made})

    def deliver(self, most_s: float = 20.0) -> None:
        """Have orders carried out until none is due."""
        ends = time.monotonic() + most_s
        while self.courier.turn(self.lease):
            assert time.monotonic() < ends
            time.sleep(0.005)

    def kinds(self) -> list[str]:
        """Return what the ledger says happened."""
        return [entry.kind for entry in self.store.ledger.entries(MODEL)]


def main() -> None:
    """Carry out what is due until nothing is."""
    settings = load_settings(home=Path(sys.argv[1]), deployments=Path(sys.argv[2]))
    with open_rollout_store(settings) as store:
        AlertWorld(settings, store, taken_s=1.0).deliver()


if __name__ == "__main__":
    main()
