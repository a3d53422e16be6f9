"""Puts one replica on the ladder: once a second from its own figures to the share that its gateway degrades.

It asks neither the registry nor Ray nor the control: a replica degrades, and comes back, while all of them are down.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import structlog

from twinscore.errors import SettingsInvalid, StoreError, TwinscoreError
from twinscore.online.cheaper import Cheaper
from twinscore.online.degrading import Degrading
from twinscore.online.ladder import LadderState, Seen, step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twinscore.online.cheaper import CheapEndpoint
    from twinscore.online.degrade_spec import DegradeSpec
    from twinscore.online.endpoint import Endpoint
    from twinscore.online.front import Front
    from twinscore.online.gateway import Gateway
    from twinscore.online.ladder import LadderRules
    from twinscore.ports.listener_roster import ListenerRoster

__all__ = ["LadderWatch", "ready_listeners"]

_EVERY_S = 1.0
_WINDOW_S = 3
"""Seconds that are looked at; fewer have no 99th percentile, more are late."""
_BUSY = 0.9
_log = structlog.get_logger("twinscore.online")


class LadderWatch:
    """Looks once a second, in a thread of its own, until it is closed.

    Args:
        gateway: is told what to degrade.
        spec: what stands in for full service.
        rules: when.
        front: whose figures count.
        lake: folder of the cache's files, among others.
        cheap: the cheaper version, loaded and verified; None where there is none.
        problem: why there is none although the file names one.
        at_most: tells whether there are as many replicas as there may be.
        tick: whether to start the thread; without it somebody calls `look`.
    """

    def __init__(
        self,
        gateway: Gateway,
        spec: DegradeSpec,
        rules: LadderRules,
        front: Front,
        *,
        lake: Path,
        cheap: CheapEndpoint | None = None,
        problem: str = "",
        at_most: Callable[[], bool] = lambda: True,
        tick: bool = True,
    ) -> None:
        self.state = LadderState()
        self.problem = problem
        """Why full service is all there is, or nothing."""
        self._gateway = gateway
        self._spec = spec
        self._rules = rules
        self._front = front
        self._lake = lake
        self._cheap = cheap
        self._at_most = at_most
        self._way: Cheaper | None = None
        self._made_for: Endpoint | None = None
        self._before = (0, 0)
        self._requests: deque[tuple[float, int]] = deque(maxlen=_WINDOW_S + 1)
        self._order: tuple[float, str] | None = None
        self._show()
        self.look()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ladder", daemon=True)
        if tick:
            self._thread.start()

    def order(self, until_s: float | None, reason: str = "") -> None:
        """Degrade whatever the load until a time, in seconds since 1970; None takes that back."""
        order = None if until_s is None else (until_s, reason)
        if order != self._order:
            _log.warning("degrade_ordered", model=self._gateway.model, until_s=until_s, reason=reason)
        self._order = order

    def look(self, now_s: float | None = None) -> None:
        """Look at the last seconds and follow."""
        now_s = time.monotonic() if now_s is None else now_s
        live = self._gateway.endpoint
        if live is None:
            return
        if live is not self._made_for:
            self._make(live)
        if self._way is None:
            return
        before, self.state = self.state, step(self.state, self._rules, self._seen(now_s), now_s)
        if self.state.share != before.share:
            _log.warning(
                "degraded" if self.state.share else "full_service", model=live.model, share=self.state.share,
                doublings=self.state.doublings, broke_at=round(self.state.broke_at, 2),
            )  # fmt: skip
        self._follow(self._way)

    def facts(self) -> dict[str, Any]:
        """Return where this replica is, for whoever looks at it."""
        order = self._ordered()
        return {
            "level": self.state.level,
            "share": self.state.share,
            "changes": self.state.changes,
            "order": None if order is None else {"until_s": order[0], "reason": order[1]},
            "way": None if self._way is None else self._way.facts(),
            "problem": self.problem or None,
            "requests": self._counts()[0],
            "rows": self._counts()[1],
        }

    def close(self) -> None:
        """End the thread; the gateway answers in full."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(2 * _EVERY_S)
        self._gateway.degrading = None

    def _run(self) -> None:
        while not self._closing.wait(_EVERY_S):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - a replica without its ladder is worse off than one that tries again
                _log.exception("ladder_failed", model=self._gateway.model)

    def _make(self, live: Endpoint) -> None:
        """Make the cheaper way of a version that has become live; without one, full service is all there is."""
        self._before = self._counts()
        self._way, self._made_for = None, live
        self._gateway.degrading = None
        if self._cheap is None and self._spec.scores is None:
            self.state = LadderState()
            return
        try:
            self._way = Cheaper(live, self._spec, self._lake, self._cheap)
        except TwinscoreError as error:
            self.problem, self.state = error.message, LadderState()
            _log.error("cannot_degrade", model=live.model, version=live.version, why=error.message)
            if isinstance(error, SettingsInvalid) and self._spec.scores is not None:
                self._way = Cheaper(live, self._spec, self._lake, None)
        else:
            self.problem = self.problem if self._cheap is None else ""

    def _follow(self, way: Cheaper) -> None:
        now = self._gateway.degrading
        share = self.state.share
        known = (way, 0) if now is None else (now.way, now.share)
        if known != (way, share):
            self._gateway.degrading = Degrading(way, share) if share else None

    def _seen(self, now_s: float) -> Seen:
        load, room = self._front.load_state(_WINDOW_S), self._front.listener.room
        self._requests.append((now_s, self._counts()[0]))
        (then_s, then), (_, now) = self._requests[0], self._requests[-1]
        return Seen(
            answered_s=load.answered_s,
            p99_ms=load.p99_ms,
            busy=load.busy,
            shed_s=load.shed_s,
            cheap_s=min((now - then) / max(now_s - then_s, 1e-3), load.answered_s),
            crowded=load.busy > _BUSY and 2 * load.ongoing > room,
            at_most=self._at_most(),
            ordered=self._ordered() is not None,
        )

    def _ordered(self) -> tuple[float, str] | None:
        order = self._order
        return order if order is not None and time.time() < order[0] else None

    def _counts(self) -> tuple[int, int]:
        """Return requests and rows of all the ways that this replica has had."""
        way = self._way
        requests, rows = (0, 0) if way is None else (way.requests, way.rows)
        return self._before[0] + requests, self._before[1] + rows

    def _show(self) -> None:
        metrics = self._gateway.metrics
        metrics.gauge("degraded_share", "Share of entities in the cheaper way now.", lambda: self.state.share / 10_000)
        metrics.gauge("degrade_ready", "1 while there is a cheaper way.", lambda: self._way is not None)
        metrics.count("degraded_requests", "Requests with a row in the cheaper way.", lambda: self._counts()[0])
        metrics.count("degraded_rows", "Rows that were answered in the cheaper way.", lambda: self._counts()[1])
        metrics.count("degrade_changes", "Changes of the share.", lambda: self.state.changes)


def ready_listeners(roster: ListenerRoster, model: str) -> int:
    """Return how many replicas of a model listen now; 0 when nobody can tell."""
    try:
        return sum(one.model == model and one.state == "ready" for one in roster.listeners())
    except StoreError:
        return 0
