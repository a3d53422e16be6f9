"""One column of a table as numpy views, made at most once; knows nothing of rules."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Cells", "Mask", "batches"]

Mask = npt.NDArray[np.bool_]

_SMALL_BATCH = 8192
"""Batches with fewer rows than this on average are joined first: numpy's start-up would dominate."""


class Cells:
    """A column of one record batch: its Arrow array, its values and where they are missing.

    Missing is what pandas and Great Expectations call null: an Arrow null, or a NaN.
    """

    def __init__(self, array: pa.Array) -> None:
        self.array = array
        self.n_rows = len(array)

    @cached_property
    def values(self) -> npt.NDArray[Any]:
        """Values as numpy: (n_rows,); what stands at a missing position means nothing.

        Integers, floats, timestamps (microseconds) and dates (days) are views without a copy.
        """
        array = self.array
        if pa.types.is_boolean(array.type):
            return np.asarray(pc.fill_null(array, False).to_numpy(zero_copy_only=False))
        if pa.types.is_timestamp(array.type):
            dtype: type[np.generic] = np.int64
        elif pa.types.is_date32(array.type):
            dtype = np.int32
        else:
            dtype = np.dtype(array.type.to_pandas_dtype()).type
        buffer = array.buffers()[1]
        if buffer is None:
            return np.zeros(self.n_rows, dtype=dtype)
        return np.frombuffer(buffer, dtype=dtype, count=self.n_rows, offset=array.offset * np.dtype(dtype).itemsize)

    @cached_property
    def missing(self) -> Mask | None:
        """Where the value is missing: (n_rows,), or None when it never is."""
        array = self.array
        if pa.types.is_floating(array.type):
            if array.null_count == 0:
                nan = np.isnan(self.values)
                return nan if nan.any() else None
            return np.asarray(pc.is_null(array, nan_is_null=True).to_numpy(zero_copy_only=False))
        if array.null_count == 0:
            return None
        return np.asarray(pc.is_null(array).to_numpy(zero_copy_only=False))

    @cached_property
    def extremes(self) -> tuple[Any, Any] | None:
        """Smallest and largest value of a numeric column; None when every value is missing."""
        values = self.present
        return (values.min(), values.max()) if len(values) else None

    @property
    def present(self) -> npt.NDArray[Any]:
        """Values that are there: (n_present,)."""
        return self.values if self.missing is None else self.values[~self.missing]


def batches(table: pa.Table) -> list[tuple[slice, dict[str, Cells]]]:
    """Return the parts of a table, without copying large ones: the window of rows, and the cells by column name."""
    parts: list[pa.RecordBatch] = table.to_batches()
    if len(parts) > 1 and table.num_rows < _SMALL_BATCH * len(parts):
        parts = table.combine_chunks().to_batches()
    found = []
    start = 0
    for part in parts:
        cells = {name: Cells(array) for name, array in zip(part.schema.names, part.columns, strict=True)}
        found.append((slice(start, start + part.num_rows), cells))
        start += part.num_rows
    return found
