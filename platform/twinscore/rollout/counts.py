"""Counts that add up: histograms with edges fixed beforehand, and moments; knows nothing of versions.

A bin holds the values in `(edge, next edge]`, open at both ends, as the reference profile of a bundle counts them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from twinscore.errors import SchemaMismatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["DIFF_EDGES", "LATENCY_EDGES_MS", "Histogram", "Moments"]

LATENCY_EDGES_MS = tuple([10 ** (step / 20 - 1) for step in range(117)])
"""From 0.1 ms to a minute, 20 a decade; what is faster is as good as 0.1 ms."""
DIFF_EDGES = (0.0, *[10 ** (step / 2 - 9) for step in range(31)])
"""Of absolute differences: equal, then from 1e-9 to 1e6, two a decade."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in bins."""

    edges: tuple[float, ...]
    """Inner edges, ascending."""
    counts: tuple[int, ...]
    """One more than edges."""
    missing: int = 0
    """Values that are no number."""

    @classmethod
    def empty(cls, edges: Sequence[float]) -> Histogram:
        """Return a histogram that has counted nothing."""
        return cls(tuple(edges), (0,) * (len(edges) + 1))

    @classmethod
    def of(cls, edges: Sequence[float], values: Iterable[float]) -> Histogram:
        """Count values.

        >>> Histogram.of((0.5,), [0.1, 0.5, 0.9, float("nan")])
        Histogram(edges=(0.5,), counts=(2, 1), missing=1)
        """
        counts, missing = [0] * (len(edges) + 1), 0
        for value in values:
            if math.isnan(value):
                missing += 1
            else:
                counts[bisect_left(edges, value)] += 1
        return cls(tuple(edges), tuple(counts), missing)

    @property
    def n(self) -> int:
        """How many numbers were counted."""
        return sum(self.counts)

    def quantile(self, q: float) -> float | None:
        """Return the value below which a share of the numbers lies, by straight lines within bins; None of nothing.

        A value beyond the outer edges is taken for the nearest of them.

        >>> Histogram((1.0, 2.0), (0, 4, 0)).quantile(0.5)
        1.5
        """
        n = self.n
        if not n or not self.edges:
            return None
        wanted, below = q * n, 0
        for place, count in enumerate(self.counts):
            if count and below + count >= wanted:
                low, high = self.edges[max(0, place - 1)], self.edges[min(place, len(self.edges) - 1)]
                return low + (high - low) * max(0.0, wanted - below) / count
            below += count
        return self.edges[-1]

    def merged(self, other: Histogram) -> Histogram:
        """Add counts.

        Raises:
            SchemaMismatch: the other one was counted in other bins.
        """
        return self._with(other, 1)

    def minus(self, earlier: Histogram) -> Histogram:
        """Take earlier counts away; raises as `merged`."""
        return self._with(earlier, -1)

    def coarsened(self, edges: Sequence[float]) -> Histogram:
        """Return the same counts in fewer bins.

        Raises:
            SchemaMismatch: an edge is not among the edges counted with.

        >>> Histogram((1.0, 2.0, 3.0), (1, 2, 3, 4)).coarsened((2.0,))
        Histogram(edges=(2.0,), counts=(3, 7), missing=0)
        """
        if tuple(edges) == self.edges:
            return self
        places = {edge: place + 1 for place, edge in enumerate(self.edges)}
        unknown = [edge for edge in edges if edge not in places]
        if unknown:
            message = f"Counts cannot be divided at {unknown[0]!r}: they were not taken with that edge."
            raise SchemaMismatch(message, edge=unknown[0])
        cuts = [0, *[places[edge] for edge in edges], len(self.counts)]
        counts = tuple([sum(self.counts[start:end]) for start, end in pairwise(cuts)])
        return Histogram(tuple(edges), counts, self.missing)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reads them back to an equal value."""
        return {"edges": list(self.edges), "counts": list(self.counts), "missing": self.missing}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Histogram:
        """Read what `to_json` returned."""
        return cls(tuple(document["edges"]), tuple(document["counts"]), document["missing"])

    def _with(self, other: Histogram, sign: int) -> Histogram:
        if self.edges != other.edges:
            message = (
                f"Histograms with {len(self.edges)} and {len(other.edges)} edges that differ cannot be added;"
                " bring both to the edges of one version first."
            )
            raise SchemaMismatch(message)
        counts = tuple([mine + sign * its for mine, its in zip(self.counts, other.counts, strict=True)])
        return Histogram(self.edges, counts, self.missing + sign * other.missing)


@dataclass(frozen=True, slots=True)
class Moments:
    """Number, sum and sum of squares of values."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float | None:
        """Their mean; None of nothing."""
        return self.total / self.n if self.n else None

    @property
    def variance(self) -> float | None:
        """Their variance with n - 1 in the denominator; None of fewer than two."""
        if self.n < 2:
            return None
        return max(0.0, (self.squares - self.total * self.total / self.n) / (self.n - 1))

    def merged(self, other: Moments) -> Moments:
        """Add other values."""
        return Moments(self.n + other.n, self.total + other.total, self.squares + other.squares)

    def minus(self, earlier: Moments) -> Moments:
        """Take earlier values away."""
        return Moments(self.n - earlier.n, self.total - earlier.total, self.squares - earlier.squares)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reads them back to an equal value."""
        return {"n": self.n, "total": self.total, "squares": self.squares}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Moments:
        """Read what `to_json` returned."""
        return cls(document["n"], float(document["total"]), float(document["squares"]))
