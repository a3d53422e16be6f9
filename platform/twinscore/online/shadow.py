"""Answered requests mirrored to a shadow: a bounded queue, one thread, one call at a time; never in a request's way.

What a shadow does to itself (hang, stop, crash, leak) fills the queue; then rows are dropped and counted. A request
pays for one append.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import structlog

from twinscore.rollout.assign import entity_id, sampled

if TYPE_CHECKING:
    from twinscore.online.answer import Prediction
    from twinscore.online.asked import Asked, Outcome
    from twinscore.online.caller import Ask
    from twinscore.online.endpoint import Endpoint
    from twinscore.rollout.routing import Routing, Shadow

__all__ = ["Compared", "MirrorLimits", "ShadowCall", "ShadowCounts", "ShadowMirror"]

_log = structlog.get_logger("twinscore.online")
_FAILURES_UNTIL_DEGRADED = 5


@dataclass(frozen=True, slots=True)
class MirrorLimits:
    """Bounds of one mirror."""

    max_rows: int = 10_000
    """Rows that wait; more are dropped."""
    max_bytes: int = 32 * 1024 * 1024
    """Bytes of the bodies that wait; more are dropped."""
    batch_rows: int = 24
    """Rows of one call, about; small, because a thread that pickles holds the others up."""
    gather_s: float = 0.005
    """Between two calls, so that rows gather."""
    busy_share: float = 0.1
    """Of one core that the mirror itself may take; it shares the process, and Python's lock, with what answers."""
    timeout_s: float = 2.0
    """For the answer to one call."""
    rest_s: float = 0.25
    """After a failure."""


class ShadowCall(NamedTuple):
    """One call of a shadow: when it began, by both clocks, how long it took, and how many rows it had."""

    began_us: int
    began_ns: int
    took_us: int
    n_rows: int


class Compared(NamedTuple):
    """One row as the live version answered it, and as the shadow would have; refused by it when that has errors."""

    request_id: str
    app: str
    version: str
    digest: str
    live: Prediction
    shadow: Prediction
    row: Mapping[str, Any]
    """Typed cells, in the order of the live version's contract."""
    endpoint: Endpoint
    """The live version that answered."""
    call: ShadowCall


@dataclass(slots=True)
class ShadowCounts:
    """What became of the rows of one mirror, in rows."""

    offered: int = 0
    dropped: int = 0
    """The queue was full."""
    skipped: int = 0
    """Not of the sample, or not answered by the live version."""
    mirrored: int = 0
    """Sent to the shadow."""
    failed: int = 0
    """Sent, and not answered in time or not as it should be."""
    compared: int = 0
    refused: int = 0
    """Answered by the live version, refused by the shadow's contract."""
    decisions_differ: int = 0
    max_score_diff: float = 0.0


class _Row(NamedTuple):
    """A row that the shadow shall see."""

    request_id: str
    row: Mapping[str, Any]
    live: Prediction
    endpoint: Endpoint


class _Waiting(NamedTuple):
    endpoint: Endpoint
    asked: Asked
    outcome: Outcome
    request_id: str
    n_rows: int
    n_bytes: int


class ShadowMirror:
    """Mirrors what one gateway answers to one shadow, from a thread of its own, until it is closed.

    Args:
        shadow: which application, and for how many of the entities.
        routing: salt and columns of the entity.
        ask: sends rows to the shadow.
        on_compared: called in the mirror's thread with the rows of each call, refused ones too, for the audit log; it
            may fail.
        limits: bounds.
    """

    def __init__(
        self,
        shadow: Shadow,
        routing: Routing,
        ask: Ask,
        *,
        on_compared: Callable[[Sequence[Compared]], None] | None = None,
        limits: MirrorLimits | None = None,
    ) -> None:
        self.shadow = shadow
        self._salt = routing.salt
        self._entity = routing.entity
        self._ask = ask
        self._on_compared = on_compared
        self._limits = limits or MirrorLimits()
        self._queue: deque[_Waiting] = deque()
        self._rows = 0
        self._bytes = 0
        self._counts = ShadowCounts()
        self._failures = 0
        self._lock = threading.Lock()
        self._filled = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"shadow-{shadow.app}", daemon=True)
        self._thread.start()

    def offer(self, endpoint: Endpoint, asked: Asked, outcome: Outcome, request_id: str, n_bytes: int) -> None:
        """Queue an answered request, or drop it when the queue is full."""
        n_rows = asked.n_rows
        with self._lock:
            self._counts.offered += n_rows
            full = self._rows + n_rows > self._limits.max_rows or self._bytes + n_bytes > self._limits.max_bytes
            if full or self._closed.is_set():
                self._counts.dropped += n_rows
                return
            self._rows += n_rows
            self._bytes += n_bytes
            self._queue.append(_Waiting(endpoint, asked, outcome, request_id, n_rows, n_bytes))
        if not self._filled.is_set():
            self._filled.set()

    def counts(self) -> dict[str, Any]:
        """Return the counters, what waits, and whether the shadow is `degraded`: failing again and again."""
        with self._lock:
            found = {name: getattr(self._counts, name) for name in ShadowCounts.__slots__}
            return {
                **found,
                "waiting": self._rows,
                "waiting_bytes": self._bytes,
                "state": "degraded" if self._failures >= _FAILURES_UNTIL_DEGRADED else "well",
            }

    def close(self, timeout_s: float = 5.0) -> None:
        """End the thread; what waits is dropped."""
        self._closed.set()
        self._filled.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        took_s = 0.0
        while not self._closed.is_set():
            self._filled.wait()
            self._closed.wait(max(self._limits.gather_s, took_s * (1 / self._limits.busy_share - 1)))
            began_s = time.thread_time()
            batch = self._take()
            rows = [row for waiting in batch for row in self._chosen(waiting)]
            if rows and not self._closed.is_set() and not self._compare(rows):
                self._closed.wait(self._limits.rest_s)
            took_s = time.thread_time() - began_s

    def _take(self) -> list[_Waiting]:
        """Return the oldest requests, about one call's worth of rows."""
        batch: list[_Waiting] = []
        n_rows = 0
        with self._lock:
            while self._queue and n_rows < self._limits.batch_rows:
                batch.append(self._queue.popleft())
                n_rows += batch[-1].n_rows
                self._rows -= batch[-1].n_rows
                self._bytes -= batch[-1].n_bytes
            if not self._queue:
                self._filled.clear()
        return batch

    def _chosen(self, waiting: _Waiting) -> list[_Row]:
        """Return the rows of a request that the shadow shall see."""
        asked = waiting.asked
        rows = asked.rows if asked.table is None else asked.table.to_pylist()
        predictions = waiting.endpoint.predictions(waiting.outcome)
        entity = self._entity or waiting.endpoint.bundle.contract.key
        chosen = [
            _Row(waiting.request_id, row, prediction, waiting.endpoint)
            for row, prediction in zip(rows, predictions, strict=True)
            if not prediction.errors
            and (prediction.arm is msgspec.UNSET or prediction.arm == "live")
            and sampled(entity_id([row[name] for name in entity]), self._salt, self.shadow.app, self.shadow.sampling)
        ]
        with self._lock:
            self._counts.skipped += len(rows) - len(chosen)
        return chosen

    def _compare(self, rows: Sequence[_Row]) -> bool:
        """Ask the shadow for rows and count how it differs; False when it failed."""
        with self._lock:
            self._counts.mirrored += len(rows)
        try:
            began_us, began_ns = time.time_ns() // 1000, time.monotonic_ns()
            found = self._call([row.row for row in rows])
            call = ShadowCall(began_us, began_ns, (time.monotonic_ns() - began_ns) // 1000, len(rows))
        except Exception as error:  # noqa: BLE001 - whatever a shadow does, it is counted and nothing else happens
            with self._lock:
                self._counts.failed += len(rows)
                self._failures += 1
                first = self._failures == 1
            if first:
                _log.warning("shadow_failed", app=self.shadow.app, error=f"{type(error).__name__}: {str(error)[:200]}")
            return False
        compared: list[Compared] = []
        with self._lock:
            self._failures = 0
            for (request_id, row, live, endpoint), seen in zip(rows, found, strict=True):
                compared.append(
                    Compared(
                        request_id, self.shadow.app, self.shadow.version, self.shadow.digest, live, seen, row, endpoint,
                        call,
                    )
                )  # fmt: skip
                if seen.errors:
                    self._counts.refused += 1
                    continue
                self._counts.compared += 1
                self._counts.decisions_differ += seen.decision != live.decision
                if seen.score is not None and live.score is not None:
                    self._counts.max_score_diff = max(self._counts.max_score_diff, abs(seen.score - live.score))
        self._hand_on(compared)
        return True

    def _call(self, rows: list[Any]) -> list[Prediction]:
        waiting = self._ask(rows)
        try:
            scored = waiting.result(timeout_s=self._limits.timeout_s)
        except TimeoutError:
            waiting.cancel()
            raise
        if scored.digest != self.shadow.digest:
            message = "another bundle answered"
            raise ValueError(message)
        return scored.predictions

    def _hand_on(self, compared: Sequence[Compared]) -> None:
        if self._on_compared is None or not compared:
            return
        try:
            self._on_compared(compared)
        except Exception as error:  # noqa: BLE001 - a log that cannot be written must not end the comparison
            _log.warning("shadow_not_recorded", app=self.shadow.app, error=str(error)[:200])
