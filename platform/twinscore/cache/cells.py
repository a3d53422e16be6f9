"""Single cells of mapped Arrow columns as Python values, without going through Arrow: about 0.1 microseconds each."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["buffer_view", "stored_cells", "value_cells"]

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - columns without a time zone exist
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_ZERO = date(1970, 1, 1).toordinal()


def buffer_view(array: pa.Array, place: int, kind: str) -> memoryview:
    """Return one buffer of an array as numbers of a `struct` kind; it keeps the map alive."""
    buffer = array.buffers()[place]
    view: Any = memoryview(b"" if buffer is None else buffer).cast("B")
    numbers: memoryview = view.cast(kind)
    return numbers


def stored_cells(array: pa.Array) -> Callable[[int], Any]:
    """Return what reads one cell as `RowKey` has it: text as UTF-8, times and days as whole numbers; none is null."""
    kind = array.type
    if pa.types.is_string(kind):
        return _text(array, decode=False)
    if pa.types.is_boolean(kind):
        return _truth(array)
    return buffer_view(array, 1, _kind(kind)).__getitem__


def value_cells(array: pa.Array) -> Callable[[int], Any]:
    """Return what reads one cell as `to_pylist` would, null as None."""
    if array.null_count == len(array):
        return _nothing
    read = _present(array)
    if array.null_count == 0:
        return read
    valid = buffer_view(array, 0, "B")

    def cell(row: int) -> Any:
        return read(row) if valid[row >> 3] >> (row & 7) & 1 else None

    return cell


def _present(array: pa.Array) -> Callable[[int], Any]:
    kind = array.type
    if pa.types.is_string(kind):
        return _text(array, decode=True)
    if pa.types.is_boolean(kind):
        return _truth(array)
    if pa.types.is_list(kind):
        return _list(array)
    stored = buffer_view(array, 1, _kind(kind)).__getitem__
    if pa.types.is_timestamp(kind):
        zero = _EPOCH_UTC if kind.tz else _EPOCH
        return lambda row: zero + timedelta(microseconds=stored(row))
    if pa.types.is_date32(kind):
        return lambda row: date.fromordinal(_DAY_ZERO + stored(row))
    return stored


def _text(array: pa.Array, *, decode: bool) -> Callable[[int], Any]:
    offsets, data = buffer_view(array, 1, "i"), buffer_view(array, 2, "B")
    if decode:
        return lambda row: str(data[offsets[row] : offsets[row + 1]], "utf-8")
    return lambda row: data[offsets[row] : offsets[row + 1]]  # a view equals the bytes that it shows


def _truth(array: pa.Array) -> Callable[[int], Any]:
    bits = buffer_view(array, 1, "B")
    return lambda row: bits[row >> 3] >> (row & 7) & 1 == 1


def _list(array: pa.Array) -> Callable[[int], Any]:
    offsets, inner = buffer_view(array, 1, "i"), value_cells(array.values)
    return lambda row: [inner(place) for place in range(offsets[row], offsets[row + 1])]


def _nothing(row: int) -> None:
    del row


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_float64(kind):
        return "d"
    if pa.types.is_int32(kind) or pa.types.is_date32(kind):
        return "i"
    if pa.types.is_uint64(kind):
        return "Q"
    return "q"
