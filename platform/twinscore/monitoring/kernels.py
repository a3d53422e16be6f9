"""Loops compiled by numba: cells into bins, and exact sums; imported only when something is counted."""

from __future__ import annotations

from typing import Any

import numpy as np

from twinscore.scoring.kernels import compiled

__all__ = ["add_exactly", "count_cells", "split_squares"]


_ROWS = 1024
"""Rows that stay in the cache while one feature after the other is counted."""


@compiled
def count_cells(values: Any, edges: Any, kinds: Any, counts: Any) -> None:
    """Add cells, float32 (n, f), to counts, int64 (f, most bins + 1); the last place of each feature is of NaN.

    edges: float32 (f, e), padded with infinity. kinds: 1 where a cell is a category's code. A bin is the number of
    edges below the value: compared with every edge, which a processor does for many values at a time.
    """
    last = counts.shape[1] - 1
    part = np.empty(_ROWS, np.float32)
    places = np.empty(_ROWS, np.int32)
    for start in range(0, values.shape[0], _ROWS):
        rows = min(_ROWS, values.shape[0] - start)
        for j in range(values.shape[1]):
            for i in range(rows):
                part[i] = values[start + i, j]
                places[i] = 0
            if kinds[j]:
                for i in range(rows):
                    places[i] = last if part[i] != part[i] else np.int32(part[i])
            else:
                for e in range(edges.shape[1]):
                    edge = edges[j, e]
                    for i in range(rows):
                        places[i] += edge < part[i]
                for i in range(rows):
                    if part[i] != part[i]:
                        places[i] = last
            for i in range(rows):
                counts[j, places[i]] += 1


@compiled
def add_exactly(bits: Any, high: Any, low: Any) -> None:
    """Add finite float64 values, as the int64 of their bits (n,), to sums by exponent, int64 (2047,) each.

    A mantissa is a whole number of 53 bits; its upper 27 go to `high`, its lower 26 to `low`, so that 2**36 values fit.
    """
    for i in range(bits.size):
        exponent = (bits[i] >> 52) & 0x7FF
        mantissa = bits[i] & 0xFFFFFFFFFFFFF
        if exponent:
            mantissa |= 0x10000000000000
        else:
            exponent = 1
        upper, lower = mantissa >> 26, mantissa & 0x3FFFFFF
        if bits[i] < 0:
            upper, lower = -upper, -lower
        high[exponent] += upper
        low[exponent] += lower


@compiled
def split_squares(values: Any, squares: Any, errors: Any) -> None:
    """Square float64 values (n,), at most 1e150 in size, and give the rounding errors too (Dekker 1971)."""
    for i in range(values.size):
        value = values[i]
        square = value * value
        scaled = value * 134217729.0
        upper = scaled - (scaled - value)
        lower = value - upper
        squares[i] = square
        errors[i] = ((upper * upper - square) + 2.0 * upper * lower) + lower * lower
