"""The key of a row: of every row of a table, and of one decoded row, with the same hash; knows no files.

A key with a missing part is none, as Great Expectations' `expect_column_values_to_be_unique` has it.
"""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.contract.cells import Cells
from twinscore.contract.hashing import hash_rows, hash_text, hash_word, join_hashes
from twinscore.contract.model import type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

__all__ = ["KeyReader", "RowKey", "key_codes", "key_hashes"]

RowKey = tuple[int, Any]
"""The hash of a key, and its value as Arrow stores it: text as UTF-8, times as microseconds, days as days.

The value of a key of several columns is the tuple of theirs.
"""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - columns without a time zone exist
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY_ZERO = date(1970, 1, 1).toordinal()
_WORD, _NUMBER = struct.Struct("<q"), struct.Struct("<d")


def key_hashes(table: pa.Table) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return a hash per row over all columns, and which rows have no missing part: (n_rows,) each."""
    cells = [Cells(column.combine_chunks()) for column in table.columns]
    whole = np.ones(table.num_rows, bool)
    for cell in cells:
        if cell.missing is not None:
            whole &= ~cell.missing
    return hash_rows(cells), whole


def key_codes(table: pa.Table) -> NDArray[np.int64]:
    """Return a number per row that rows share when all their columns are equal: (n_rows,); no value may be missing."""
    code = np.zeros(table.num_rows, np.int64)
    if not len(code):
        return code
    for column in table.combine_chunks().columns:
        # Adding zero makes -0.0 and 0.0 the one value that they are.
        array = pc.add(column, 0.0) if pa.types.is_floating(column.type) else column
        own = array.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        _, code = np.unique(code * (own.max() + 1) + own, return_inverse=True)
    return code


class KeyReader:
    """Reads the key of one row, as `decode_rows` makes them; immutable, safe to share between threads.

    Args:
        key: the key columns, of the types that a contract can hold.
    """

    def __init__(self, key: pa.Schema) -> None:
        self.key = key
        self._parts = tuple((item.name, _READERS[type_name(item.type)]) for item in key)
        self._name, self._only = self._parts[0]
        self._is_single = len(self._parts) == 1

    def read(self, row: Mapping[str, Any]) -> RowKey | None:
        """Return the key, or None when a part of it is missing or of another type than its column."""
        if self._is_single:
            return self._only(row.get(self._name))
        joined, values = None, []
        for name, read in self._parts:
            part = read(row.get(name))
            if part is None:
                return None
            joined = part[0] if joined is None else join_hashes(joined, part[0])
            values.append(part[1])
        return None if joined is None else (joined, tuple(values))


def _text(value: Any) -> tuple[int, bytes] | None:
    if type(value) is not str:
        return None
    try:
        text = value.encode()
    except UnicodeEncodeError:  # a lone surrogate is in no column
        return None
    return hash_text(text), text


def _whole(value: Any) -> tuple[int, int] | None:
    return (hash_word(value), value) if type(value) is int else None


def _truth(value: Any) -> tuple[int, bool] | None:
    return (hash_word(value), value) if type(value) is bool else None


def _number(value: Any) -> tuple[int, float] | None:
    if type(value) is not float or value != value:
        return None
    # Adding zero makes -0.0 and 0.0 the one value that they are.
    return hash_word(_WORD.unpack(_NUMBER.pack(value + 0.0))[0]), value


def _instant(value: Any) -> tuple[int, int] | None:
    if not isinstance(value, datetime) or value.tzinfo is None:
        return None
    moment = (value - _EPOCH_UTC) // _MICROSECOND
    return hash_word(moment), moment


def _moment(value: Any) -> tuple[int, int] | None:
    if not isinstance(value, datetime) or value.tzinfo is not None:
        return None
    moment = (value - _EPOCH) // _MICROSECOND
    return hash_word(moment), moment


def _day(value: Any) -> tuple[int, int] | None:
    if type(value) is not date:
        return None
    day = value.toordinal() - _DAY_ZERO
    return hash_word(day), day


_READERS: dict[str, Callable[[Any], tuple[int, Any] | None]] = {
    "int64": _whole,
    "float64": _number,
    "bool": _truth,
    "string": _text,
    "timestamp[us, tz=UTC]": _instant,
    "timestamp[us]": _moment,
    "date32": _day,
}
