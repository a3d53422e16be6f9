"""How one replica asks one challenger's application: bounded in time and number, and given a rest when it fails.

A Serve handle routes on a loop of Serve's own, so it may be awaited from any loop: the listener's thread and Serve's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import msgspec

if TYPE_CHECKING:
    from twinscore.online.answer import Prediction
    from twinscore.online.evidence_arm import ArmBook
    from twinscore.rollout.memory_trend import MemoryTrend

__all__ = ["DEPLOYMENT", "Ask", "Caller", "ChallengerFailedError", "Scored", "Waiting", "goes_straight", "serve_ask"]

DEPLOYMENT = "challenger"
"""Name of the one deployment in a challenger's application."""

_MOST_WAITING = 64
"""Calls of one replica that wait for one challenger at a time."""
# Serve refuses messages above 4 MiB that go straight, answers included; so there is room for what the rows become.
_STRAIGHT_ROWS = 256
_STRAIGHT_BYTES = 1 << 20
_encoder = msgspec.msgpack.Encoder()
_FAILURES_BEFORE_REST = 5
_REST_S = 1.0


class Scored(NamedTuple):
    """What a challenger's replica returns: predictions in order; a row that its contract refused carries its errors."""

    digest: str
    predictions: list[Prediction]
    took_ns: int = 0
    """Of scoring alone."""
    grown_mb: float = 0.0
    """Memory of the process, beyond what it had when it was ready."""
    trend: MemoryTrend | None = None
    """How that grew, at most once a second."""


class Waiting(Protocol):
    """An answer that is on its way."""

    def __await__(self) -> Any:
        """Wait for it on the running loop."""
        ...

    def result(self, *, timeout_s: float | None = None) -> Scored:
        """Wait for it in a thread."""
        ...

    def cancel(self) -> None:
        """Give it up."""
        ...


Ask = Callable[[Any], Waiting]
"""Sends typed rows in contract order, or a conformed table, and returns at once."""


class ChallengerFailedError(Exception):
    """A challenger gave no answer; stays inside the gateway, where the live version stands in."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Caller:
    """Asks one challenger; counts what came of it.

    After five failures in a row it asks once a second only, until an answer comes: a canary that hangs costs its
    entities the deadline a few times, not for as long as it hangs.

    Args:
        ask: sends a payload and returns at once.
        app: the application that is asked.
        digest: of the bundle that must have answered.
        deadline_s: for an answer.
        book: where its answers and failures are counted.
    """

    def __init__(self, ask: Ask, app: str, digest: str, deadline_s: float, book: ArmBook | None = None) -> None:
        self.app = app
        self.digest = digest
        self.deadline_s = deadline_s
        self.book = book
        self._ask = ask
        self._waiting = 0
        self._failures = 0
        self._resting_until = 0.0
        self._lock = threading.Lock()
        self.rows_asked = 0
        self.rows_answered = 0
        self.rows_failed: Counter[str] = Counter()

    async def score(self, payload: Any, n_rows: int, groups: Sequence[int] | None = None) -> list[Prediction]:
        """Return predictions in the order of the payload; `groups` are those of the rows' entities, to be counted by.

        Raises:
            ChallengerFailedError: with the reason: `deadline`, `error`, `saturated`, `resting`, `wrong_bundle`,
                or `refused` when the challenger's contract refused a row.
        """
        with self._lock:
            self.rows_asked += n_rows
            reason = self._reason_not_to_ask()
            if reason is None:
                self._waiting += 1
        if reason is not None:
            raise self.failed(reason, n_rows)
        asked_ns = time.monotonic_ns()
        try:
            scored = await self._answer(payload)
        except TimeoutError:
            late = self.failed("deadline", n_rows, broken=True)
            raise late from None
        except Exception as error:
            from ray.serve.exceptions import BackPressureError

            reason = "saturated" if isinstance(error, BackPressureError) else "error"
            raise self.failed(reason, n_rows, broken=True) from error
        finally:
            with self._lock:
                self._waiting -= 1
        if scored.digest != self.digest:
            other = self.failed("wrong_bundle", n_rows, broken=True)
            raise other
        with self._lock:
            self._failures = 0
        if self.book is not None:
            self.book.takes(scored.grown_mb, scored.trend)
            self.book.scored(scored.predictions, scored.took_ns, time.monotonic_ns() - asked_ns, groups)
        if any(prediction.errors for prediction in scored.predictions):
            raise ChallengerFailedError("refused")  # noqa: EM101 - a word of the list above; counted by who compares
        with self._lock:
            self.rows_answered += n_rows
        return scored.predictions

    def failed(self, reason: str, n_rows: int, *, broken: bool = False) -> ChallengerFailedError:
        """Count rows that the live version answers instead, and return the error that says why."""
        if self.book is not None:
            self.book.failed(reason, n_rows, counted=reason == "refused")  # a refusal is an answer
        with self._lock:
            self.rows_failed[reason] += n_rows
            if broken:
                self._failures += 1
                if self._failures >= _FAILURES_BEFORE_REST:
                    self._resting_until = time.monotonic() + _REST_S
        return ChallengerFailedError(reason)

    def counts(self) -> dict[str, Any]:
        """Return rows asked, answered, and failed by reason."""
        with self._lock:
            failed = dict(self.rows_failed)
            return {"rows_asked": self.rows_asked, "rows_answered": self.rows_answered, "rows_failed": failed}

    def _reason_not_to_ask(self) -> str | None:
        if self._waiting >= _MOST_WAITING:
            return "saturated"
        if self._failures >= _FAILURES_BEFORE_REST:
            now = time.monotonic()
            if now < self._resting_until:
                return "resting"
            self._resting_until = now + _REST_S  # this call tries it; the others go on waiting
        return None

    async def _answer(self, payload: Any) -> Scored:
        waiting = self._ask(payload)
        try:
            async with asyncio.timeout(self.deadline_s):
                return await cast("Awaitable[Scored]", waiting)
        except TimeoutError:
            waiting.cancel()
            raise


def serve_ask(app: str) -> Ask:
    """Return a way to ask a challenger's application; it need not run yet, calls then end by their deadline."""
    from ray import serve

    handle = serve.get_deployment_handle(DEPLOYMENT, app, _check_exists=False).options(method_name="score")
    # Straight from process to process, at three fifths of what a call costs by way of Ray's object references.
    straight = handle.options(_by_reference=False)
    return lambda payload: cast("Waiting", (straight if goes_straight(payload) else handle).remote(payload))


def goes_straight(payload: Any) -> bool:
    """Say whether rows are few and small enough for one message, and whatever they become for one back.

    >>> goes_straight([{"id": 7}]), goes_straight([{"id": 7}] * 257), goes_straight([{"text": "x" * 2**21}])
    (True, False, False)
    """
    if not isinstance(payload, list) or len(payload) > _STRAIGHT_ROWS:
        return False
    try:
        return len(_encoder.encode(payload)) <= _STRAIGHT_BYTES
    except (TypeError, ValueError, OverflowError):  # a value that cannot be measured so
        return False
