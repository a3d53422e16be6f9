"""64-bit hashes of whole columns, the same on every machine and in every run; knows nothing of contracts.

Numbers, times and truths are mixed by a bijection, so equal hashes mean equal values. Texts are
hashed by the sum of one random word per (position, byte), as in Zobrist hashing: two different
texts agree with a chance of 2**-64. A single value has the same hash as it has in a column.
"""

from __future__ import annotations

from functools import cache
from operator import getitem
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.contract.cells import Cells

__all__ = ["Hashes", "hash_cells", "hash_rows", "hash_text", "hash_word", "join_hashes"]

Hashes = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_MISSING = np.uint64(0x5851F42D4C957F2D)

# The same for one value: Python's whole numbers are faster than numpy's scalars.
_ALL = (1 << 64) - 1
_ADDED, _TIMES, _TIMES_AGAIN = int(_GOLDEN), int(_FIRST), int(_SECOND)
_PLACES = 64
"""Bytes of a text whose random words are kept in a table."""


def hash_cells(cells: Cells) -> Hashes:
    """Return one hash per value: (n_rows,); missing values share one of their own."""
    if pa.types.is_string(cells.array.type):
        hashes = _hash_texts(cells.array)
    else:
        values = cells.values
        if values.dtype.kind == "f":
            # Adding zero makes -0.0 and 0.0 the one value that they are.
            hashes = _mix((values + 0.0).view(np.uint64))
        else:
            hashes = _mix(values.astype(np.int64).view(np.uint64))
    if cells.missing is not None:
        hashes[cells.missing] = _MISSING
    return hashes


def hash_rows(columns: Sequence[Cells]) -> Hashes:
    """Return one hash per row of several columns: (n_rows,); order of columns counts."""
    combined = hash_cells(columns[0])
    for column in columns[1:]:
        combined = _mix(combined * _SECOND + hash_cells(column))
    return combined


def hash_word(word: int) -> int:
    """Return the hash of one value from its 64 bits, which may be a negative whole number's."""
    mixed = (word + _ADDED) & _ALL
    mixed = (mixed ^ (mixed >> 30)) * _TIMES & _ALL
    mixed = (mixed ^ (mixed >> 27)) * _TIMES_AGAIN & _ALL
    return mixed ^ (mixed >> 31)


def hash_text(text: bytes) -> int:
    """Return the hash of one text in UTF-8."""
    total = sum(map(getitem, _words(), text))
    for place in range(_PLACES, len(text)):
        total += hash_word(place << 8 | text[place])
    return hash_word((total & _ALL) ^ hash_word(len(text)))


def join_hashes(first: int, second: int) -> int:
    """Return the hash of a row so far and one more column, as `hash_rows` has it."""
    return hash_word(first * _TIMES_AGAIN + second)


@cache
def _words() -> list[list[int]]:
    """Return the random word of each byte at each of the first places: 64 lists of 256."""
    table: list[list[int]] = _mix(np.arange(_PLACES * 256, dtype=np.uint64)).reshape(_PLACES, 256).tolist()
    return table


def _mix(words: Hashes) -> Hashes:
    """Mix bits by splitmix64's finaliser, a bijection (Steele, Lea, Flood 2014)."""
    mixed = words + _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    return mixed ^ (mixed >> np.uint64(31))


def _hash_texts(array: pa.StringArray) -> Hashes:
    _, offset_buffer, data_buffer = array.buffers()
    if offset_buffer is None or data_buffer is None:
        return _mix(_mix(np.zeros(len(array), dtype=np.uint64)))  # as of an empty text among others
    offsets = np.frombuffer(offset_buffer, dtype=np.int32, count=len(array) + 1, offset=4 * array.offset)
    first, last = int(offsets[0]), int(offsets[-1])
    characters = np.frombuffer(data_buffer, dtype=np.uint8, count=last - first, offset=first)
    lengths = np.diff(offsets)
    starts = np.repeat(offsets[:-1] - first, lengths)
    places = (np.arange(last - first) - starts).astype(np.uint64)
    words = _mix(places << np.uint64(8) | characters)
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(words, dtype=np.uint64)])
    totals = sums[offsets[1:] - first] - sums[offsets[:-1] - first]
    return _mix(totals ^ _mix(lengths.astype(np.uint64)))
