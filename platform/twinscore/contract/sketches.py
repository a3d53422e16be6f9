"""Summaries of a column's values that merge exactly in any order; knows nothing of rules.

Each is exact up to a number of distinct values, and of bounded size and stated error beyond it.
Merging projects both parts to the coarser of two grids, so the result never depends on the order.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from twinscore.contract.hashing import Hashes

__all__ = ["MOST_DISTINCT", "Counts", "Distinct", "Seen", "Spread", "Uniques"]

MOST_DISTINCT = 65_536
"""Distinct values of a column that are kept exactly."""

_INFINITY = 0x7FF0000000000000
"""Bits of +inf; -inf is one below its negative, by `_flipped`."""

Keys = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Weighted sorted values of a numeric column, for quantiles.

    A value is stored as a whole number in the order of float64; with more than `most` distinct
    values the lowest `shift` bits are dropped, which moves a value by at most 2**(shift - 53) of itself.
    """

    keys: Keys
    counts: Keys
    shift: int = 0
    most: int = MOST_DISTINCT

    @classmethod
    def of(cls, values: npt.NDArray[np.float64], *, most: int = MOST_DISTINCT) -> Spread:
        """Return the spread of values without NaN: (n,)."""
        bits = (values.astype(np.float64) + 0.0).view(np.int64)
        return cls._packed(_flipped(bits), np.ones(len(values), dtype=np.int64), 0, most)

    def merge(self, other: Spread) -> Spread:
        """Return the spread of both parts."""
        shift = max(self.shift, other.shift)
        keys = np.concatenate([part.keys >> (shift - part.shift) for part in (self, other)])
        return self._packed(keys, np.concatenate([self.counts, other.counts]), shift, self.most)

    @property
    def n(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    def quantile(self, share: float, *, method: str = "nearest") -> float:
        """Return a quantile as pandas does: nearest, lower, higher, midpoint or linear; NaN without values."""
        if not self.n:
            return float("nan")
        # pandas hands numpy percents; the same detour lands on the same index.
        place = (self.n - 1) * (share * 100.0 / 100.0)
        if method == "nearest":
            return self._at(int(np.around(place)))
        below = int(np.floor(place))
        weight = place - below
        if method == "lower" or not weight:
            return self._at(below)
        if method == "higher":
            return self._at(below + 1)
        weight = 0.5 if method == "midpoint" else weight
        low, high = self._at(below), self._at(below + 1)
        gap = high - low
        return high - gap * (1 - weight) if weight >= 0.5 else low + gap * weight

    @property
    def median(self) -> float:
        """The middle value, or the mean of the two middle values; NaN without values."""
        n = self.n
        if not n:
            return float("nan")
        low, high = self._at((n - 1) // 2), self._at(n // 2)
        return low if low == high else (low + high) / 2.0

    def to_json(self) -> list[Any]:
        """Return what JSON can hold."""
        return [_packed_text(self.keys), _packed_text(self.counts), self.shift, self.most]

    @classmethod
    def from_json(cls, plain: list[Any]) -> Spread:
        """Return what `to_json` was made from."""
        return cls(_unpacked(plain[0], np.int64), _unpacked(plain[1], np.int64), plain[2], plain[3])

    def _at(self, index: int) -> float:
        key = self.keys[np.searchsorted(np.cumsum(self.counts), index, side="right")]
        middle = (int(key) << self.shift) + (1 << self.shift >> 1)
        # The bin of an infinity ends there: what follows in the order of bits are NaNs.
        middle = min(max(middle, -_INFINITY - 1), _INFINITY)
        return float(_flipped(np.array([middle], dtype=np.int64)).view(np.float64)[0])

    @classmethod
    def _packed(cls, keys: Keys, counts: Keys, shift: int, most: int) -> Spread:
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], counts[order]
        if len(keys):
            # Two neighbours stay apart at a shift when they differ in a bit above it.
            apart = np.bitwise_xor(keys[1:].view(np.uint64), keys[:-1].view(np.uint64))
            more = 0
            while np.count_nonzero(apart >> np.uint64(more)) >= most:
                more += 1
            keys = keys >> more
            first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
            keys, counts = keys[first], np.add.reduceat(counts, first)
            shift += more
        return cls(keys, counts, shift, most)


@dataclass(frozen=True, slots=True, eq=False)
class Distinct:
    """Number of distinct values: the smallest hashes seen (KMV; Bar-Yossef et al. 2002).

    Exact up to `most` values, then with a standard error of 1 / sqrt(most): 0.4 % at 65,536.
    """

    hashes: Hashes
    n: int
    exact: bool = True
    most: int = MOST_DISTINCT

    @classmethod
    def of(cls, hashes: Hashes, *, most: int = MOST_DISTINCT) -> Distinct:
        """Return the sketch of one hash per value."""
        found = np.unique(hashes)
        return cls(found[:most], len(hashes), len(found) <= most, most)

    def merge(self, other: Distinct) -> Distinct:
        """Return the sketch of both parts."""
        joined = Distinct.of(np.concatenate([self.hashes, other.hashes]), most=self.most)
        exact = joined.exact and self.exact and other.exact
        return Distinct(joined.hashes, self.n + other.n, exact, self.most)

    @property
    def count(self) -> int:
        """Number of distinct values, estimated when not `exact`."""
        if self.exact:
            return len(self.hashes)
        return min(self.n, round((self.most - 1) / (float(self.hashes[-1]) / 2.0**64)))

    @property
    def share(self) -> float:
        """Distinct values as a share of the values that are there; 0 without any."""
        return self.count / self.n if self.n else 0.0

    def to_json(self) -> list[Any]:
        """Return what JSON can hold."""
        return [_packed_text(self.hashes), self.n, self.exact, self.most]

    @classmethod
    def from_json(cls, plain: list[Any]) -> Distinct:
        """Return what `to_json` was made from."""
        return cls(_unpacked(plain[0], np.uint64), plain[1], plain[2], plain[3])


@dataclass(frozen=True, slots=True, eq=False)
class Uniques:
    """One hash per row, for proving that no two rows are equal: 8 bytes a row, nothing is dropped."""

    hashes: Hashes

    def merge(self, other: Uniques) -> Uniques:
        """Return the hashes of both parts."""
        return Uniques(np.sort(np.concatenate([self.hashes, other.hashes])))

    @property
    def n_repeated(self) -> int:
        """Number of rows that have at least one equal."""
        _, counts = np.unique(self.hashes, return_counts=True)
        return int(counts[counts > 1].sum())

    def to_json(self) -> list[Any]:
        """Return what JSON can hold."""
        return [_packed_text(self.hashes)]

    @classmethod
    def from_json(cls, plain: list[Any]) -> Uniques:
        """Return what `to_json` was made from."""
        return cls(_unpacked(plain[0], np.uint64))


@dataclass(frozen=True, slots=True)
class Counts:
    """How often each value occurs; None once there are more than `MOST_DISTINCT` of them."""

    counts: dict[Any, int] | None

    def merge(self, other: Counts) -> Counts:
        """Return the counts of both parts."""
        if self.counts is None or other.counts is None:
            return Counts(None)
        joined = dict(self.counts)
        for value, count in other.counts.items():
            joined[value] = joined.get(value, 0) + count
        return Counts(joined if len(joined) <= MOST_DISTINCT else None)

    def to_json(self) -> list[Any] | None:
        """Return what JSON can hold; floats as hex, because JSON has no infinity."""
        if self.counts is None:
            return None
        return [[{"f": v.hex()} if isinstance(v, float) else v, n] for v, n in self.counts.items()]

    @classmethod
    def from_json(cls, plain: list[Any] | None) -> Counts:
        """Return what `to_json` was made from."""
        if plain is None:
            return cls(None)
        return cls({float.fromhex(v["f"]) if isinstance(v, dict) else v: n for v, n in plain})


@dataclass(frozen=True, slots=True)
class Seen:
    """Which values of a given list occurred, by their place in it, and whether any other did."""

    places: frozenset[int]
    others: bool

    def merge(self, other: Seen) -> Seen:
        """Return what either part saw."""
        return Seen(self.places | other.places, self.others or other.others)

    def to_json(self) -> list[Any]:
        """Return what JSON can hold."""
        return [sorted(self.places), self.others]

    @classmethod
    def from_json(cls, plain: list[Any]) -> Seen:
        """Return what `to_json` was made from."""
        return cls(frozenset(plain[0]), plain[1])


def _flipped(bits: Keys) -> Keys:
    """Map the bits of float64 to whole numbers of the same order, and back: it is its own inverse."""
    return bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF)


def _packed_text(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()).decode("ascii")


def _unpacked(text: str, dtype: type[np.generic]) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), dtype=np.dtype(dtype).newbyteorder("<")).astype(dtype)
