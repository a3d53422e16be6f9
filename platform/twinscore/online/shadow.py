"""Answered requests asked again of a shadow, one call at a time, in a process of its own; never in a request's way.

What a shadow does to itself (hang, stop, crash, leak) leaves messages lying in the ring; when that is full, rows are
dropped and counted by whoever answers. See `shadow_feed` for the side that requests pay for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from twinscore.online.mirrored import LiveRow, decode_mirrored
from twinscore.rollout.assign import entity_id, sampled

if TYPE_CHECKING:
    from twinscore.contract.rows import RowDecoder
    from twinscore.online.answer import Prediction
    from twinscore.online.caller import Ask
    from twinscore.online.mirrored import Mirrored
    from twinscore.online.ring import Ring
    from twinscore.rollout.routing import Shadow

__all__ = ["Compared", "MirrorLimits", "ShadowCall", "ShadowCounts", "ShadowMirror"]

_log = structlog.get_logger("twinscore.online")
_FAILURES_UNTIL_DEGRADED = 5


@dataclass(frozen=True, slots=True)
class MirrorLimits:
    """Bounds of one mirror."""

    batch_rows: int = 512
    """Rows of one call, about."""
    gather_s: float = 0.1
    """Between two looks at what has gathered: a call costs some milliseconds of the processor, a row next to none."""
    timeout_s: float = 5.0
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
    live: LiveRow
    shadow: Prediction
    live_digest: str
    """Of the live version that answered."""
    call: ShadowCall

    @property
    def row(self) -> Mapping[str, Any]:
        """Typed cells, in the order of the live version's contract."""
        return self.live.cells


@dataclass(slots=True)
class ShadowCounts:
    """What became of the rows that were taken, in rows."""

    skipped: int = 0
    """Not of the sample."""
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
    live: LiveRow
    live_digest: str


class ShadowMirror:
    """Asks one shadow what one gateway answered, from a thread of its own, until it is closed.

    Args:
        shadow: which application, and for how many of the entities.
        ring: what was answered.
        ask: sends rows to the shadow.
        decoder_of: gives what reads rows of the live version's contract, by the digest of its bundle.
        salt: of the rollout.
        entity: columns of the entity; empty for the contract's key.
        on_message: called with each message before its rows are sent.
        on_compared: called with the rows of each call, refused ones too; it may fail.
        limits: bounds.
    """

    def __init__(
        self,
        shadow: Shadow,
        ring: Ring,
        ask: Ask,
        *,
        decoder_of: Callable[[str], RowDecoder],
        salt: str,
        entity: Sequence[str] = (),
        on_message: Callable[[Mirrored], None] | None = None,
        on_compared: Callable[[Sequence[Compared]], None] | None = None,
        limits: MirrorLimits | None = None,
    ) -> None:
        self.shadow = shadow
        self._ring = ring
        self._ask = ask
        self._decoder_of = decoder_of
        self._salt = salt
        self._entity = tuple(entity)
        self._on_message = on_message
        self._on_compared = on_compared
        self._limits = limits or MirrorLimits()
        self._counts = ShadowCounts()
        self._failures = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"shadow-{shadow.app}", daemon=True)
        self._thread.start()

    def counts(self) -> dict[str, Any]:
        """Return the counters, and whether the shadow is `degraded`: failing again and again."""
        with self._lock:
            found = {name: getattr(self._counts, name) for name in ShadowCounts.__slots__}
            return {**found, "state": "degraded" if self._failures >= _FAILURES_UNTIL_DEGRADED else "well"}

    def close(self, timeout_s: float = 5.0) -> None:
        """End the thread; what waits is left where it is."""
        self._closed.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        limits = self._limits
        while not self._closed.wait(0.0 if self._ring.waiting[0] > limits.batch_rows else limits.gather_s):
            # The first request by itself, so that it takes the time of a request; then what came beside it.
            if self._ask_for(1):
                self._ask_for(limits.batch_rows)

    def _ask_for(self, most_rows: int) -> bool:
        """Ask the shadow for some of the rows that have gathered; False when there are none, or when it failed."""
        messages = self._ring.take(most_rows)
        if not messages:
            return False
        try:
            well = self._compare([row for message in messages for row in self._chosen(message)])
        except Exception as error:  # noqa: BLE001 - a message that cannot be read must not end the mirror
            _log.warning("shadow_not_asked", app=self.shadow.app, error=f"{type(error).__name__}: {error}"[:200])
            well = False
        if not well:
            self._closed.wait(self._limits.rest_s)
        return well

    def _chosen(self, sent: bytes) -> list[_Row]:
        """Return the rows of a request that the shadow shall see."""
        message = decode_mirrored(sent, self._decoder_of)
        if self._on_message is not None:
            self._on_message(message)
        entity = self._entity or self._decoder_of(message.digest).contract.key
        place = self._salt, self.shadow.app, self.shadow.sampling
        chosen = [
            _Row(message.request_id, one, message.digest)
            for one in message.rows
            if sampled(entity_id([one.cells[name] for name in entity]), *place)
        ]
        with self._lock:
            self._counts.skipped += len(message.rows) - len(chosen)
        return chosen

    def _compare(self, rows: Sequence[_Row]) -> bool:
        """Ask the shadow for rows and count how it differs; False when it failed."""
        if not rows:
            return True
        with self._lock:
            self._counts.mirrored += len(rows)
        try:
            began_us, began_ns = time.time_ns() // 1000, time.monotonic_ns()
            found = self._call([row.live.cells for row in rows])
            call = ShadowCall(began_us, began_ns, (time.monotonic_ns() - began_ns) // 1000, len(rows))
        except Exception as error:  # noqa: BLE001 - whatever a shadow does, it is counted and nothing else happens
            with self._lock:
                self._counts.failed += len(rows)
                self._failures += 1
                first = self._failures == 1
            if first:
                _log.warning("shadow_failed", app=self.shadow.app, error=f"{type(error).__name__}: {str(error)[:200]}")
            return False
        shadow = self.shadow
        compared: list[Compared] = []
        with self._lock:
            self._failures = 0
            for (request_id, live, digest), seen in zip(rows, found, strict=True):
                compared.append(
                    Compared(request_id, shadow.app, shadow.version, shadow.digest, live, seen, digest, call)
                )
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
        if self._on_compared is None:
            return
        try:
            self._on_compared(compared)
        except Exception as error:  # noqa: BLE001 - a log that cannot be written must not end the comparison
            _log.warning("shadow_not_recorded", app=self.shadow.app, error=str(error)[:200])
