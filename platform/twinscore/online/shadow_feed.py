"""The side of a shadow that requests pay for: one copy into memory; everything else is another process's."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from twinscore.online.ring import Ring
from twinscore.online.shadow import ShadowCounts

if TYPE_CHECKING:
    from twinscore.online.metrics import Metrics
    from twinscore.rollout.routing import Shadow

__all__ = ["FeedTotals", "ShadowFeed", "show_shadow_log"]

_MAX_BYTES = 8 * 1024 * 1024
_SILENT_S = 10.0
_LOOK_S = 0.05
_log = structlog.get_logger("twinscore.online")


class ShadowFeed:
    """Hands what one gateway answers to the process of one shadow, until it is closed.

    Args:
        shadow: which application, and for how many of the entities.
        start: starts the process that reads the ring of this path, and returns what ends it; see `start_beside`.
        max_bytes: of messages that wait; more are dropped.
    """

    def __init__(
        self, shadow: Shadow, start: Callable[[str], Callable[[], None]], *, max_bytes: int = _MAX_BYTES
    ) -> None:
        self.shadow = shadow
        self._ring = Ring.make(max_bytes)
        self._lock = threading.Lock()
        self._offered = self._skipped = 0
        self._newest: dict[str, Any] = {}
        self._dropped = 0
        """As of the end."""
        self._closed = False
        self._kill = start(self._ring.path)

    def offer(self, message: bytes, n_rows: int, n_skipped: int = 0) -> None:
        """Hand on the rows of an answered request, or drop them when there is no room.

        Args:
            message: of `encode_mirrored`; empty when it could not be made.
            n_rows: that the shadow shall see.
            n_skipped: that the live version did not answer.
        """
        with self._lock:
            self._offered += n_rows + n_skipped
            self._skipped += n_skipped
            if self._closed:
                return
            if message:
                self._ring.push(message, n_rows)
            else:
                self._ring.drop(n_rows)

    def counts(self) -> dict[str, Any]:
        """Return what became of the rows, what waits, and how the shadow is.

        `state`: `starting`, `silent` when its process has not told anything for a while, `degraded` when the shadow
        fails again and again, else `well`.
        """
        told = self._told()
        found = dict(told.get("counts") or {**asdict(ShadowCounts()), "state": "starting"})
        if told and time.monotonic_ns() - told["at_ns"] > _SILENT_S * 1e9:
            found["state"] = "silent"
        with self._lock:
            rows, n_bytes = (0, 0) if self._closed else self._ring.waiting
            return {
                **found,
                "offered": self._offered,
                "dropped": self._dropped if self._closed else self._ring.dropped,
                "skipped": found["skipped"] + self._skipped,
                "waiting": rows,
                "waiting_bytes": n_bytes,
            }

    def log_counts(self) -> dict[str, Any] | None:
        """Return rows that were recorded, that were left out by reason, and bytes that wait; None without a log."""
        found: dict[str, Any] | None = self._told().get("log")
        return found

    def evidence(self) -> dict[str, Any] | None:
        """Return what the process has counted, as `EvidenceBook.document` does; None before it has told anything."""
        told = self._told()
        if not told:
            return None
        since_s = (time.monotonic_ns() - told["at_ns"]) / 1e9
        document: dict[str, Any] = told["evidence"]
        return {**document, "age_s": document["age_s"] + since_s}

    def close(self, timeout_s: float = 5.0) -> None:
        """Let the process write what it has, and end it; it has this long."""
        if self._closed:
            return
        self._ring.close()
        until_s = time.monotonic() + timeout_s
        while not self._ring.ended and time.monotonic() < until_s:
            time.sleep(_LOOK_S)
        try:
            self._kill()
        except Exception as error:  # noqa: BLE001 - a Ray that is away has ended it, or will
            _log.warning("shadow_not_ended", app=self.shadow.app, error=f"{type(error).__name__}: {error}"[:200])
        self._told()
        with self._lock:
            self._closed, self._dropped = True, self._ring.dropped
            self._ring.leave()

    def _told(self) -> dict[str, Any]:
        """Return the newest word of the process, or nothing."""
        with self._lock:
            found = None if self._closed else self._ring.told()
            if found is not None:
                self._newest = msgspec.json.decode(found)
            return self._newest


class FeedTotals:
    """What was recorded of all feeds that there were; never less than before, so one counts until it has ended."""

    def __init__(self) -> None:
        self._feeds: list[ShadowFeed] = []
        self._recorded = 0
        self._left_out = Counter({"full": 0, "no_room": 0, "failed": 0})
        self._lock = threading.Lock()

    def begin(self, feed: ShadowFeed) -> None:
        """Count a feed from now on."""
        with self._lock:
            self._feeds.append(feed)

    def end(self, feed: ShadowFeed) -> None:
        """Close a feed, and keep its numbers."""
        feed.close()
        with self._lock:
            if feed in self._feeds:
                self._feeds.remove(feed)
                found = feed.log_counts() or {}
                self._recorded += found.get("recorded", 0)
                self._left_out.update(found.get("left_out", {}))

    def counts(self) -> dict[str, Any]:
        """Return rows that were recorded, that were left out by reason, and bytes that wait."""
        with self._lock:
            now = [found for feed in self._feeds if (found := feed.log_counts())]
            left_out = Counter(self._left_out)
            for found in now:
                left_out.update(found["left_out"])
            return {
                "recorded": self._recorded + sum(found["recorded"] for found in now),
                "left_out": dict(left_out),
                "waiting_bytes": sum(found["waiting_bytes"] for found in now),
            }


def show_shadow_log(metrics: Metrics, counts: Callable[[], dict[str, Any]]) -> None:
    """Let whoever scrapes see which rows of shadows are in the log and which are not."""
    metrics.count("shadow_recorded", "Rows of shadows that are in the log.", lambda: counts()["recorded"])
    metrics.count(
        "shadow_unrecorded", "Rows of shadows that are not in the log.", lambda: sum(counts()["left_out"].values())
    )
