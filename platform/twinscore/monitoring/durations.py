"""Lengths of time in a fixed histogram whose bins are at most 1 % wide, so that any parts can be added up; pure.

They are counted in whole units, which whoever counts chooses: microseconds of answers, seconds until outcomes. The
bins' ends are whole units, made by whole arithmetic, so that they are the same on every machine: each is the one before
and a hundredth, and at least 1 more. Up to 100 units a bin is one unit.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from twinscore.monitoring.intervals import Z

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Durations", "bin_starts"]

_LONGEST = 24 * 3600 * 1_000_000
"""A day in microseconds, 2,700 years in seconds; what is longer is in the last bin."""


@dataclass(frozen=True, slots=True)
class Durations:
    """How many lengths are in each bin."""

    counts: Mapping[int, int] = field(default_factory=dict)
    """Bin to how many; bins without any are left out."""

    @classmethod
    def of(cls, lengths: NDArray[np.int64]) -> Self:
        """Count lengths in whole units: (n,); one below 0 counts as 0."""
        if not len(lengths):
            return cls()
        bins = np.searchsorted(bin_starts(), np.maximum(lengths, 0), side="right") - 1
        counts = np.bincount(bins)
        numbers = np.flatnonzero(counts)
        return cls(dict(zip(numbers.tolist(), counts[numbers].tolist(), strict=True)))

    @property
    def n(self) -> int:
        """How many lengths."""
        return sum(self.counts.values())

    def quantile(self, share: float) -> float | None:
        """Return the middle of the bin that holds the smallest length with at least `share` of all at or below it.

        It is within half a per cent of that length, or half a unit; None without lengths.
        """
        wanted, seen = share * self.n, 0
        starts = bin_starts()
        for number, count in sorted(self.counts.items()):
            seen += count
            if seen >= wanted:
                last = starts[min(number + 1, len(starts) - 1)] - 1
                return float(starts[number] + last) / 2.0
        return None

    def interval(self, share: float) -> tuple[float | None, float | None, float | None]:
        """Return a quantile between the ends of its 95 % interval: low, value, high; None without lengths.

        The ends are the order statistics whose ranks chance leaves open, by the normal approximation (Conover, 1999,
        "Practical nonparametric statistics", section 3.2).
        """
        spread = Z * math.sqrt(share * (1.0 - share) / max(self.n, 1))
        low, value, high = (self.quantile(min(max(share + side * spread, 0.0), 1.0)) for side in (-1.0, 0.0, 1.0))
        return low, value, high

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
    """Return the first unit of each bin, ascending; the last bin is open."""
    starts = [0]
    while starts[-1] < _LONGEST:
        starts.append(starts[-1] + max(starts[-1] // 100, 1))
    return np.array(starts, dtype=np.int64)
