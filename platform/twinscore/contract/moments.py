"""Counts, extremes and exact sums of a column, which merge to the same bits in any order; knows nothing of rules.

Floating-point addition depends on the order of the parts, and the parts of a batch run arrive in
any order. So sums are kept as whole numbers in units of 2**-1130, which hold any float64 exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Extremes", "Moments", "Tally", "exact_sum"]

Floats = npt.NDArray[np.float64]

_SCALE = 1130
_MOST_SQUARED = 1e150
"""Beyond this a square overflows float64, and the deviation is called infinite."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows that a rule looked at, and those that broke it."""

    n_considered: int
    n_broken: int

    def merge(self, other: Tally) -> Tally:
        """Return the tally of both parts."""
        return Tally(self.n_considered + other.n_considered, self.n_broken + other.n_broken)

    def to_json(self) -> list[Any]:
        """Return what JSON can hold."""
        return [self.n_considered, self.n_broken]

    @classmethod
    def from_json(cls, plain: list[Any]) -> Tally:
        """Return what `to_json` was made from."""
        return cls(*plain)


@dataclass(frozen=True, slots=True)
class Extremes:
    """Smallest and largest value as the number that Arrow stores; None when there was none."""

    low: float | int | None
    high: float | int | None

    def merge(self, other: Extremes) -> Extremes:
        """Return the extremes of both parts."""
        lows = [part.low for part in (self, other) if part.low is not None]
        highs = [part.high for part in (self, other) if part.high is not None]
        return Extremes(min(lows, default=None), max(highs, default=None))

    def to_json(self) -> list[Any]:
        """Return what JSON can hold; floats as hex, because JSON has no infinity."""
        return [end.hex() if isinstance(end, float) else end for end in (self.low, self.high)]

    @classmethod
    def from_json(cls, plain: list[Any]) -> Extremes:
        """Return what `to_json` was made from."""
        return cls(*(float.fromhex(end) if isinstance(end, str) else end for end in plain))


@dataclass(frozen=True, slots=True)
class Moments:
    """Number, exact sum and exact sum of squares of the values that are there.

    Args:
        n: number of values, infinite ones included.
        total: sum of the finite values, in units of 2**-1130.
        squares: sum of their squares, in the same units.
        n_up, n_down: values that are +inf and -inf.
        n_vast: finite values too large to be squared.
    """

    n: int
    total: int
    squares: int
    n_up: int = 0
    n_down: int = 0
    n_vast: int = 0

    @classmethod
    def of(cls, values: Floats) -> Moments:
        """Return the moments of values without NaN: (n,)."""
        up, down = int(np.count_nonzero(values == math.inf)), int(np.count_nonzero(values == -math.inf))
        finite = values[np.isfinite(values)] if up or down else values
        small = finite[np.abs(finite) <= _MOST_SQUARED]
        squares = sum(exact_sum(part) for part in _exact_squares(small))
        return cls(len(values), exact_sum(finite), squares, up, down, len(finite) - len(small))

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both parts."""
        return Moments(*(mine + theirs for mine, theirs in zip(self._fields(), other._fields(), strict=True)))

    @property
    def sum(self) -> float:
        """Sum of the values, rounded once; NaN when +inf and -inf meet."""
        if self.n_up or self.n_down:
            return math.nan if self.n_up and self.n_down else math.inf if self.n_up else -math.inf
        return _rounded(Fraction(self.total, 2**_SCALE))

    @property
    def mean(self) -> float:
        """Mean of the values, rounded once; NaN without any."""
        if not self.n or self.n_up or self.n_down:
            return self.sum if self.n else math.nan
        return _rounded(Fraction(self.total, self.n * 2**_SCALE))

    @property
    def deviation(self) -> float:
        """Sample standard deviation (n - 1), as pandas has it; NaN below two values."""
        if self.n < 2 or self.n_up or self.n_down:
            return math.nan
        if self.n_vast:
            return math.inf
        total, squares = Fraction(self.total, 2**_SCALE), Fraction(self.squares, 2**_SCALE)
        return math.sqrt(_rounded((squares - total * total / self.n) / (self.n - 1)))

    def to_json(self) -> list[Any]:
        """Return what JSON can hold; the exact sums as hex."""
        n, total, squares, *rest = self._fields()
        return [n, hex(total), hex(squares), *rest]

    @classmethod
    def from_json(cls, plain: list[Any]) -> Moments:
        """Return what `to_json` was made from."""
        n, total, squares, *rest = plain
        return cls(n, int(total, 16), int(squares, 16), *rest)

    def _fields(self) -> tuple[int, ...]:
        return self.n, self.total, self.squares, self.n_up, self.n_down, self.n_vast


def exact_sum(values: Floats) -> int:
    """Return the sum of finite float64 values exactly, in units of 2**-1130: (n,) -> int.

    Values are grouped by exponent; within a group the mantissas are whole numbers whose two halves
    numpy adds without rounding.
    """
    if not len(values):
        return 0
    total = 0
    for start in range(0, len(values), 2**24):
        fractions, exponents = np.frexp(values[start : start + 2**24])
        mantissas = np.ldexp(fractions, 53).astype(np.int64)
        least = int(exponents.min())
        groups = exponents - least
        high = np.bincount(groups, weights=(mantissas >> 26).astype(np.float64))
        low = np.bincount(groups, weights=(mantissas & (2**26 - 1)).astype(np.float64))
        for group in np.flatnonzero((high != 0) | (low != 0)):
            whole = (int(high[group]) << 26) + int(low[group])
            shift = least + int(group) - 53 + _SCALE
            total += whole << shift if shift >= 0 else whole >> -shift
    return total


def _exact_squares(values: Floats) -> tuple[Floats, Floats]:
    """Return squares and their rounding errors, so that the pair is exact (Dekker 1971)."""
    squares = values * values
    scaled = values * 134217729.0
    high = scaled - (scaled - values)
    low = values - high
    return squares, ((high * high - squares) + 2.0 * high * low) + low * low


def _rounded(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)
