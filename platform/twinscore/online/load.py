"""How loaded a listener is: what it answered in the last seconds, and whether what arrives now has waited too long.

Counting costs a request two looks at the clock and a few additions; sums are formed once a second. All of it belongs to
one event loop, which alone writes.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

__all__ = [
    "FIRST_ROOM",
    "Load",
    "LoadState",
    "Turn",
    "bucket_of",
    "bucket_top_us",
    "most_waiting",
    "room_for",
    "state_of",
]

FIRST_ROOM = 64
"""Requests inside at a time before anything is known."""

_WINDOW_S = 5
_LEAST_WAITING = 16
_LEAST_ROOM = 4
_LEAST_ANSWERED = 50
"""Fewer answers in the window say nothing of how long one takes."""
_ON_THE_WAY_NS = 2_000_000
"""What passes between the edge and a listener that is not at work, pauses of the machine among it."""
_BUCKETS = 128
"""A quarter of a power of two each, in microseconds; the last ones reach beyond an hour."""


class LoadState(NamedTuple):
    """The last seconds of a listener."""

    ongoing: float
    """Requests inside at a time, on average."""
    answered_s: float
    """Requests answered per second."""
    p99_ms: float
    """Of the time from arrival to answer; 0 without requests."""
    busy: float
    """Share of the time in which the loop was at work."""
    shed_s: float
    """Requests per second that were refused because too many waited."""


class Second(NamedTuple):
    """What came between two ticks."""

    ns: int
    took: Sequence[int]
    took_ns: int
    busy_ns: int
    shed: int
    commit_ns: int = 0
    """The shortest commit: the disk alone, without waits for the interpreter."""


class Load:
    """The counts of one listener, and what they were in each of the last seconds."""

    def __init__(self, *, window_s: int = _WINDOW_S) -> None:
        self.took = [0] * _BUCKETS
        self.took_ns = 0
        self.handled_ns = 0
        """Time in which requests were read, scored and written, waits of the thread for a core among it."""
        self.shed = 0
        self.commit_ns = 0
        """The shortest commit of the second that is under way; 0 without one."""
        self._before: tuple[list[int], int, int, int, int, int] | None = None
        self._seconds: deque[Second] = deque(maxlen=window_s)

    def answered(self, took_ns: int) -> None:
        """Count an answer."""
        self.took[bucket_of(took_ns // 1000)] += 1
        self.took_ns += took_ns

    def committed(self, took_ns: int) -> None:
        """Note a commit; from the one thread that commits."""
        self.commit_ns = min(self.commit_ns or took_ns, took_ns)

    def tick(self, now_ns: int, cpu_ns: int) -> Second | None:
        """Close a second and return it; None the first time.

        Args:
            now_ns: by the monotonic clock.
            cpu_ns: of the loop's thread since it began.
        """
        now = (list(self.took), self.took_ns, self.handled_ns, self.shed, now_ns, cpu_ns)
        if self._before is not None:
            took, took_ns, handled_ns, shed, then_ns, then_cpu_ns = self._before
            self._seconds.append(
                Second(
                    max(now_ns - then_ns, 1),
                    [new - old for new, old in zip(now[0], took, strict=True)],
                    now[1] - took_ns,
                    # A thread that gets no core is busy without using one; parsing is in the second only.
                    max(now[2] - handled_ns, cpu_ns - then_cpu_ns),
                    now[3] - shed,
                    self.commit_ns,
                )
            )
        self.commit_ns = 0
        first, self._before = self._before is None, now
        return None if first else self._seconds[-1]

    def room(self, now: int) -> int:
        """Return how many requests should be inside at a time, after `now` until here; see `room_for`."""
        seconds = list(self._seconds)
        commits = [second.commit_ns for second in seconds if second.commit_ns]
        answered = sum(sum(second.took) for second in seconds)
        return room_for(answered, sum(second.busy_ns for second in seconds), min(commits, default=0), now)

    def state(self, last: int | None = None) -> LoadState:
        """Return the last seconds, all of the window or fewer; may be called from any thread."""
        return state_of([self], last)

    def seconds(self, last: int | None = None) -> Sequence[Second]:
        """Return the last seconds one by one, all of the window or fewer; may be called from any thread."""
        seconds = list(self._seconds)
        return seconds if last is None else seconds[-last:]


class Turn:
    """One round of an event loop over everything that has arrived; tells what has waited too long in it.

    What is handled in a round was there when the round began, so it has waited since then at least. One long round may
    be a pause of the machine: only what waited too long in a second one is refused.

    Args:
        most_s: longest wait.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, most_s: float) -> None:
        self._loop = loop
        self._most_ns = int(most_s * 1e9)
        self._begun_ns = 0
        self._last_ns = 0

    def too_late(self, now_ns: int) -> bool:
        """Tell whether a request that is handled now has waited too long."""
        if not self._begun_ns:
            self._begun_ns = now_ns
            self._loop.call_soon(self._end)
            return False
        return now_ns - self._begun_ns > self._most_ns and 2 * self._last_ns > self._most_ns

    def _end(self) -> None:
        self._last_ns = time.monotonic_ns() - self._begun_ns
        self._begun_ns = 0


def state_of(loads: Sequence[Load], last: int | None = None) -> LoadState:
    """Return the last seconds of a process from its listeners': they share one interpreter, so their work adds up."""
    each = [seconds for load in loads if (seconds := load.seconds(last))]
    if not each:
        return LoadState(0.0, 0.0, 0.0, 0.0, 0.0)
    spans_ns = [sum(second.ns for second in seconds) for seconds in each]

    def total(of: Callable[[Second], float]) -> float:
        """Add up what the listeners did per nanosecond."""
        return sum(sum(map(of, seconds)) / span_ns for seconds, span_ns in zip(each, spans_ns, strict=True))

    took = [sum(counts) for counts in zip(*(second.took for seconds in each for second in seconds), strict=True)]
    return LoadState(
        total(lambda second: second.took_ns),  # Little: time inside per time that passed
        total(lambda second: sum(second.took)) * 1e9,
        _quantile_us(took, 0.99) / 1e3,
        min(1.0, total(lambda second: second.busy_ns)),
        total(lambda second: second.shed) * 1e9,
    )


def most_waiting(second: Second, now: int, bound: int, max_wait_s: float) -> int:
    """Return how many requests may wait, so that nobody waits longer than `max_wait_s` at the rate of this second.

    A burst may use the whole bound: there are fewer only when more waited all second long, and until none is refused.

    Args:
        second: the last one.
        now: how many may wait until now.
        bound: most of all.
        max_wait_s: longest wait.

    >>> busy = Second(10**9, [0, 1000], 200 * 10**9, 10**9, 0)
    >>> most_waiting(busy, 320, 320, 0.04), most_waiting(busy._replace(took_ns=10**9), 320, 320, 0.04)
    (40, 320)
    """
    fits = max(_LEAST_WAITING, int(sum(second.took) * 1e9 / second.ns * max_wait_s))
    crowded = second.took_ns > fits * second.ns or (now < bound and second.shed > 0)
    return min(fits, bound) if crowded else bound


def room_for(answered: int, busy_ns: int, commit_ns: int, now: int) -> int:
    """Return how many requests should be inside at a time: twice as many as keep the loop at work.

    While one is on its way or waits for its record, the loop handles others; that many fill it. With twice as many each
    takes about twice as long as alone, and more would only wait, so the edge keeps them. In steps of about a quarter.

    Args:
        answered: requests of the last seconds.
        busy_ns: for which the loop was at work meanwhile.
        commit_ns: time that the disk needs for a batch of records; 0 where nothing is recorded.
        now: what it was until here; too few answers leave it.

    >>> room_for(45_000, 5 * 10**9, 300_000, 64), room_for(2_500, 5 * 10**9, 300_000, 64), room_for(3, 10**9, 0, 64)
    (48, 5, 64)
    """
    if answered < _LEAST_ANSWERED or not busy_ns:
        return now
    each_ns = busy_ns / answered
    wanted = math.ceil(2 * (1 + (commit_ns + _ON_THE_WAY_NS) / each_ns))
    return max(_LEAST_ROOM, bucket_top_us(bucket_of(wanted - 1)))


def bucket_of(took_us: int) -> int:
    """Return the bucket of a time.

    >>> bucket_of(0), bucket_of(7), bucket_of(1000)
    (0, 7, 35)
    """
    length = took_us.bit_length()
    if length < 3:
        return took_us
    return min((length - 2) * 4 + (took_us >> (length - 3) & 3), _BUCKETS - 1)


def bucket_top_us(bucket: int) -> int:
    """Return the time from which the next bucket begins.

    >>> bucket_top_us(0), bucket_top_us(7), bucket_top_us(35)
    (1, 8, 1024)
    """
    return bucket + 1 if bucket < 4 else (5 + bucket % 4) << (bucket // 4 - 1)


def _quantile_us(counts: Sequence[int], share: float) -> float:
    total = sum(counts)
    if not total:
        return 0.0
    seen, wanted = 0, share * total
    for bucket, count in enumerate(counts):
        seen += count
        if seen >= wanted:
            return float(bucket_top_us(bucket))
    return float(bucket_top_us(len(counts) - 1))
