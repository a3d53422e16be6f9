"""How a mirror asks its shadow so that what comes back is counted: as a challenger, and beside the live version.

It stands between the mirror and the shadow's application, and in nobody's way: a mirror has a thread of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twinscore.online.caller import Ask, Scored, Waiting
    from twinscore.online.evidence_arm import ArmBook
    from twinscore.online.evidence_book import EvidenceBook
    from twinscore.online.shadow import Compared
    from twinscore.rollout.routing import Shadow

__all__ = ["NotedAsk"]


class NotedAsk:
    """Asks a shadow and counts its answers and failures.

    Args:
        ask: sends a payload and returns at once.
        shadow: which version, and the digest of the bundle that must have answered.
        book: of the process.
        dropped: tells how many rows were not sent at all so far.
    """

    def __init__(self, ask: Ask, shadow: Shadow, book: EvidenceBook, dropped: Callable[[], int] = int) -> None:
        self._ask = ask
        self._shadow = shadow
        self._book = book
        self._pair = book.pair(shadow.version)
        self._pair.dropped = dropped

    def __call__(self, payload: Sequence[Any]) -> Waiting:
        """Send rows; see `Ask`."""
        started_ns = time.monotonic_ns()
        try:
            waiting = self._ask(payload)
        except Exception as error:
            self.failed(error, len(payload))
            raise
        return _Noted(self, waiting, len(payload), started_ns)

    def came(self, scored: Scored, n_rows: int, answer_ns: int) -> None:
        """Count an answer."""
        arm = self._arm()
        if scored.digest != self._shadow.digest:
            arm.failed("wrong_bundle", n_rows)
            self._pair.failed(n_rows)
            return
        arm.takes(scored.grown_mb, scored.trend)
        arm.scored(scored.predictions, scored.took_ns, answer_ns)

    def failed(self, error: Exception, n_rows: int) -> None:
        """Count a call without an answer."""
        from ray.serve.exceptions import BackPressureError

        late, full = isinstance(error, TimeoutError), isinstance(error, BackPressureError)
        self._arm().failed("deadline" if late else "saturated" if full else "error", n_rows)
        self._pair.failed(n_rows)

    def compared(self, rows: Sequence[Compared]) -> None:
        """Count rows beside the live version's answers."""
        self._pair.compared([(row.live, row.shadow) for row in rows])

    def _arm(self) -> ArmBook:
        """Return the counter of now: its bins change with the live version."""
        return self._book.arm(self._shadow.version, "shadow")


class _Noted:
    """An answer that is on its way, and counted when it comes."""

    def __init__(self, noted: NotedAsk, waiting: Waiting, n_rows: int, started_ns: int) -> None:
        self._noted = noted
        self._waiting = waiting
        self._n_rows = n_rows
        self._started_ns = started_ns

    def __await__(self) -> Any:
        return self._waiting.__await__()

    def result(self, *, timeout_s: float | None = None) -> Scored:
        """Wait for it in a thread."""
        try:
            scored = self._waiting.result(timeout_s=timeout_s)
        except Exception as error:
            self._noted.failed(error, self._n_rows)
            raise
        self._noted.came(scored, self._n_rows, time.monotonic_ns() - self._started_ns)
        return scored

    def cancel(self) -> None:
        """Give it up."""
        self._waiting.cancel()
