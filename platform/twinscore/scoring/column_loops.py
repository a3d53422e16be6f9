"""The loop over the float64 columns of a record batch, compiled by numba; see `float_columns`."""

# mypy: disable-error-code="untyped-decorator,assignment,attr-defined,no-untyped-call"
# numba has no types, and its integers are not Python's.

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from twinscore.scoring.kernels import compiled

__all__ = ["NO_FEATURE", "NO_FLOAT", "read_floats"]

NO_FEATURE, NO_FLOAT = -1, -2
"""Instead of a place in the matrix."""

_ROWS = 256
"""Read at a time of every column, so that their part of the matrix stays in the fastest cache."""
_LENGTH, _NULLS, _OFFSET, _BUFFERS, _CHILDREN = 0, 1, 2, 5, 6
"""Words of an ArrowArray."""


def _pointing(_: Any, address: Any, kind: Any) -> Any:
    """Take a whole number for the address of values of a type."""
    pointer = types.CPointer(kind.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return pointer(types.int64, kind), generate


_at: Any = intrinsic(_pointing)


@compiled
def read_floats(address: Any, places: Any, lows: Any, highs: Any, matrix: Any, beyond: Any) -> None:
    """Read a record batch column by column.

    Args:
        address: of its ArrowArray, whose children are the columns.
        places: int64 (n_columns,) of each column in the matrix, or NO_FEATURE, or NO_FLOAT for one that is not read.
        lows, highs: float64 (n_columns,) between which the values of each should lie.
        matrix: float32 (n_rows, n_features), out at the places; NaN where a value is missing.
        beyond: bool (n_columns,), out: True is set where a value that is there does not.
    """
    whole = numba.carray(_at(address, np.int64), 8)
    columns = numba.carray(_at(whole[_CHILDREN], np.int64), places.size)
    n_rows, skipped = whole[_LENGTH], whole[_OFFSET]
    for first in range(0, n_rows, _ROWS):
        size = min(_ROWS, n_rows - first)
        for c in range(places.size):
            if places[c] == NO_FLOAT:
                continue
            column = numba.carray(_at(columns[c], np.int64), 8)
            buffers = numba.carray(_at(column[_BUFFERS], np.int64), 2)
            start = column[_OFFSET] + skipped + first
            values = numba.carray(_at(buffers[1] + 8 * start, np.float64), size)
            low, high, place = lows[c], highs[c], places[c]
            out = False
            if buffers[1] == 0:  # no memory for what is missing throughout
                if place >= 0:
                    matrix[first : first + size, place] = np.nan
            elif column[_NULLS] != 0 and buffers[0] != 0:
                valid = numba.carray(_at(buffers[0], np.uint8), (start + size + 7) // 8)
                for i in range(size):
                    there = (valid[(start + i) >> 3] >> ((start + i) & 7)) & 1
                    value = values[i] if there else np.nan
                    out |= (value < low) | (value > high)
                    if place >= 0:
                        matrix[first + i, place] = value
            else:
                for i in range(size):
                    out |= (values[i] < low) | (values[i] > high)
                if place >= 0:
                    for i in range(size):
                        matrix[first + i, place] = values[i]
            beyond[c] |= out
