"""Print one cell for a fault: short, on one line, nothing but that cell; knows nothing of rules."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MISSING", "SHOWN_CHARACTERS", "show", "show_cells", "show_pair", "value_names"]

SHOWN_CHARACTERS = 80
MISSING = "(missing)"
"""What a missing cell is called as the name of a group or segment."""


def show(value: object) -> str:
    r"""Return a cell as text of at most 80 characters, control characters escaped.

    A list or an object is named, not printed: it is not a cell, and may be large.

    >>> show(None), show(True), show(1.5), show("a\n"), show([1])
    ('null', 'true', '1.5', 'a\\n', 'an array')
    """
    if value is None or value != value:
        # Only NaN differs from itself, and a NaN is missing.
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _cut("".join(c if c.isprintable() else _escaped(c) for c in value[:SHOWN_CHARACTERS]), len(value))
    if isinstance(value, int):
        # str() of a huge integer is slow and refused beyond 4300 digits.
        return str(value) if value.bit_length() < 256 else f"a number of {value.bit_length()} bits"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    return type(value).__name__


def show_pair(names: Sequence[str], values: Sequence[object]) -> str:
    """Return the cells of a rule about several columns.

    >>> show_pair(["low", "high"], [3, None])
    'low=3, high=null'
    """
    return ", ".join(f"{name}={show(value)}" for name, value in zip(names, values, strict=True))


def show_cells(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return the cells of an array as text: (n,) string; each distinct value is printed once."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    encoded = array.dictionary_encode(null_encoding="encode")
    texts = pa.array([show(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return texts.take(encoded.indices)


def value_names(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return what the cells are called as groups or segments, (n,) string: text as it is, a missing one MISSING.

    >>> value_names(pa.array([1.5, None])).to_pylist()
    ['1.5', '(missing)']
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    shown = array if pa.types.is_string(array.type) else pc.if_else(array.is_valid(), show_cells(array), None)
    return pc.fill_null(shown, MISSING)


def stamp(value: datetime) -> str:
    """Return a timestamp as RFC 3339 text, `Z` for UTC, without an offset when it has none."""
    if value.tzinfo is None:
        return value.isoformat()
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _cut(text: str, n_original: int) -> str:
    if len(text) <= SHOWN_CHARACTERS and n_original <= SHOWN_CHARACTERS:
        return text
    return text[: SHOWN_CHARACTERS - 3] + "..."
