"""How fast the memory of one process grows: a series of fixed size, and bounds of its slope; knows no process.

A series keeps the least value of each of `BLOCKS` spans of equal length: what is left of memory after whatever was only
wanted for a while. When all are there they are looked at, and two by two become one: so there is a look after 8 minutes
of a process, after 16, 32, 64, and each sees its whole life.

The slope is that of Theil (1950) and Sen (1968), over the later half of a look. Its bounds are Sen's, from the exact
distribution of Kendall's S: they hold when what is left after the line is taken away is as likely in one order as in
any other (Mann 1945), with no assumption on its size, so a single jump proves nothing. Look j has the part 1/(j(j+1))
of alpha, so all looks together have alpha. A process that warms up grows ever more slowly: the slope counts as proved
only where nine in ten of the slopes that it is the median of are at least `STEADY` of the pace in the quarter before.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["BLOCKS", "FIRST_LOOK_S", "MOST_PROCESSES", "STEADY", "FloorSeries", "MemoryTrend", "joined", "slope_bounds"]

BLOCKS = 24
FIRST_LOOK_S = 480.0
"""Seconds of a process before anything is said of its slope."""
STEADY = 0.6
"""A logarithm's pace halves from one look to the next, an exponential's falls faster still."""
MOST_PROCESSES = 16
"""Trends kept of one version in one role; those with the longest lives stay."""
_HOUR_S = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTrend:
    """What one look saw of one process."""

    process: str
    """A name of the process's own."""
    look: int
    """From 1; each sees twice as long as the one before."""
    floors_mb: tuple[float | None, ...]
    """Least memory in each of `BLOCKS` spans of its life, in MB beyond the start; None where nothing was seen."""

    @property
    def block_s(self) -> float:
        """Seconds of one span."""
        return FIRST_LOOK_S * 2.0 ** (self.look - 1) / BLOCKS

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reads them back to an equal value."""
        return {**asdict(self), "floors_mb": list(self.floors_mb)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> MemoryTrend:
        """Read what `to_json` returned."""
        return cls(**{**document, "floors_mb": tuple(document["floors_mb"])})


class FloorSeries:
    """The series of one process, which is told a value now and then.

    Args:
        process: a name of its own.
        began_s: by whichever clock `add` is given.
    """

    def __init__(self, process: str, began_s: float) -> None:
        self.process = process
        self.newest: MemoryTrend | None = None
        """Of the last look; None before the first."""
        self._began_s = began_s
        self._block_s = FIRST_LOOK_S / BLOCKS
        self._floors: list[float | None] = [None] * BLOCKS
        self._looks = 0

    def add(self, at_s: float, value_mb: float) -> None:
        """Take a value, at a time not before those of earlier ones."""
        place = int((at_s - self._began_s) / self._block_s)
        while place >= BLOCKS:
            self._look()
            place = int((at_s - self._began_s) / self._block_s)
        known = self._floors[place]
        self._floors[place] = value_mb if known is None else min(known, value_mb)

    def _look(self) -> None:
        self._looks += 1
        self.newest = MemoryTrend(process=self.process, look=self._looks, floors_mb=tuple(self._floors))
        halves = zip(self._floors[::2], self._floors[1::2], strict=True)
        merged = [min((one for one in pair if one is not None), default=None) for pair in halves]
        self._floors = [*merged, *[None] * (BLOCKS - len(merged))]
        self._block_s *= 2


def joined(*trends: Iterable[MemoryTrend]) -> tuple[MemoryTrend, ...]:
    """Return the newest trend of each process, of those that lived longest; in any order the same."""
    newest: dict[str, MemoryTrend] = {}
    for one in [one for some in trends for one in some]:
        known = newest.get(one.process)
        if known is None or one.look > known.look:
            newest[one.process] = one
    return tuple(sorted(newest.values(), key=lambda one: (-one.look, one.process))[:MOST_PROCESSES])


def slope_bounds(trend: MemoryTrend, alpha: float) -> tuple[float | None, float, float]:
    """Return the slope in MB an hour, and bounds of it at all looks at once, but for a chance of alpha on either side.

    The lower bound of a slope that levels off is minus infinity, and so is that of too few values.

    >>> steady = MemoryTrend(process="p", look=1, floors_mb=tuple(0.5 * place for place in range(BLOCKS)))
    >>> [round(one) for one in slope_bounds(steady, 1e-4)]
    [90, 90, 90]
    """
    half, quarter = BLOCKS // 2, BLOCKS // 4
    scale = _HOUR_S / trend.block_s
    slopes = _slopes(trend.floors_mb[half:])
    if not slopes:
        return None, -math.inf, math.inf
    value, before = _median(slopes), _slopes(trend.floors_mb[quarter:half])
    n = sum(one is not None for one in trend.floors_mb[half:])
    beyond = _critical(n, alpha / (trend.look * (trend.look + 1)))
    if beyond is None:
        return scale * value, -math.inf, math.inf
    place = (len(slopes) - beyond) // 2
    levels_off = not before or slopes[len(slopes) // 10] < STEADY * _median(before)
    low = -math.inf if levels_off else scale * slopes[place]
    return scale * value, low, scale * slopes[len(slopes) - 1 - place]


def _slopes(floors: Sequence[float | None]) -> list[float]:
    """Return the slopes between any two values, in MB a span, ascending."""
    known = [(place, value) for place, value in enumerate(floors) if value is not None]
    return sorted((later[1] - one[1]) / (later[0] - one[0]) for one, later in combinations(known, 2))


def _median(ascending: Sequence[float]) -> float:
    middle, odd = divmod(len(ascending), 2)
    return ascending[middle] if odd else (ascending[middle - 1] + ascending[middle]) / 2


@lru_cache(maxsize=1024)
def _critical(n: int, alpha: float) -> int | None:
    """Return the least S that n values reach by chance with probability alpha at most; None when none is so rare."""
    pairs, rarer, found = n * (n - 1) // 2, 0, None
    for inversions, count in enumerate(_inversions(n)):  # S falls by two with each pair out of order
        rarer += count
        if rarer > alpha * math.factorial(n):
            break
        found = pairs - 2 * inversions
    return found


@lru_cache(maxsize=32)
def _inversions(n: int) -> tuple[int, ...]:
    """Return how many orders of n values have 0, 1, 2, ... pairs out of order."""
    counts = [1]
    for length in range(2, n + 1):
        sums = [0]
        for count in [*counts, *[0] * (length - 1)]:
            sums.append(sums[-1] + count)
        counts = [sums[at + 1] - sums[max(0, at + 1 - length)] for at in range(len(sums) - 1)]
    return tuple(counts)
