"""Times in a fixed histogram whose bins are at most 1 % wide, so that any parts can be added up; pure.

The bins' ends are whole microseconds, made by whole arithmetic, so that they are the same on every machine: each is the
one before and a hundredth, and at least 1 more. Up to 100 us a bin is one microsecond.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Latency", "bin_starts"]

_LONGEST_US = 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class Latency:
    """Numbers of times by bin."""

    counts: Mapping[int, int] = field(default_factory=dict)
    """Bin to how many; bins without any are left out."""

    @classmethod
    def of(cls, took_us: NDArray[np.int64]) -> Self:
        """Count times in microseconds: (n,)."""
        if not len(took_us):
            return cls()
        bins = np.searchsorted(bin_starts(), np.maximum(took_us, 0), side="right") - 1
        numbers, counts = np.unique(bins, return_counts=True)
        return cls(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))

    @property
    def n(self) -> int:
        """How many times."""
        return sum(self.counts.values())

    def quantile_us(self, share: float) -> float | None:
        """Return the middle of the bin that holds the smallest time with at least `share` of all at or below it.

        It is within half a per cent of that time, or half a microsecond; None without times.
        """
        wanted, seen = share * self.n, 0
        starts = bin_starts()
        for number, count in sorted(self.counts.items()):
            seen += count
            if seen >= wanted:
                last = starts[min(number + 1, len(starts) - 1)] - 1
                return float(starts[number] + last) / 2.0
        return None

    def above(self, limit_us: float) -> int:
        """Return how many were in bins that begin above a limit."""
        return sum(count for number, count in self.counts.items() if bin_starts()[number] > limit_us)

    def merge(self, other: Self, /) -> Self:
        """Return the histogram of both."""
        return type(self)(dict(sorted((Counter(self.counts) + Counter(other.counts)).items())))

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {str(number): count for number, count in sorted(self.counts.items())}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], /) -> Self:
        """Return what `to_json` was made from."""
        return cls(dict(sorted((int(number), count) for number, count in plain.items())))


@cache
def bin_starts() -> NDArray[np.int64]:
    """Return the first microsecond of each bin, ascending; the last bin is open."""
    starts = [0]
    while starts[-1] < _LONGEST_US:
        starts.append(starts[-1] + max(starts[-1] // 100, 1))
    return np.array(starts, dtype=np.int64)
