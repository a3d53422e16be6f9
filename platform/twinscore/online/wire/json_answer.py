"""A bulk answer as JSON, written column by column: the bytes of `Predictions`, without an object for each row.

Every number and every text is written by msgspec, as everywhere else; here the pieces are only put side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twinscore.online.scored import cells_of, keys_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.online.answer import Predictions
    from twinscore.online.asked import Outcome

__all__ = ["bulk_answer"]

_MOST_CHOICES = 256
"""Different texts up to which neighbouring pieces become one."""
_EXACT = 2**53
_encode = msgspec.json.Encoder().encode


class _Choice(NamedTuple):
    """Cells that are among a few texts; `chosen` tells which, (n_rows,) or (1,) for all rows."""

    texts: list[bytes]
    chosen: npt.NDArray[np.int64]


def bulk_answer(answer: Predictions, outcome: Outcome, key: Sequence[str]) -> bytes | None:
    """Return the JSON of an answer to a table of which every row was scored, or None of any other outcome.

    Args:
        answer: without predictions.
        outcome: table and scores, (n_rows, contract.columns) and (n_rows, SCORE_SCHEMA).
        key: columns that a prediction repeats.

    Returns:
        What msgspec makes of the answer with the predictions of `Endpoint.predictions`.
    """
    table, scored = outcome.table, outcome.scored
    if table is None or scored is None or scored.num_rows != table.num_rows or table.num_rows == 0:
        return None
    cells = {name: _cells(column) for name, column in zip(scored.column_names, scored.columns, strict=True)}
    ending = b',"explanation":null,"explanation_reason":%b,"errors":[]}' % _encode(outcome.no_explanation)
    pieces = [
        *(b',{"row":', _numbers(list(range(table.num_rows)))),
        *(b',"key":', *_keys(table, key)),
        *(b',"score":', cells["score"]),
        *(b',"decision":', cells["decision"]),
        *(b',"uncertainty":{"value":', cells["uncertainty"]),
        *(b',"lower":', cells["lower"]),
        *(b',"upper":', cells["upper"]),
        *(b',"prediction_set":', cells["prediction_set"]),
        *(b'},"review":', cells["review"]),
        *(b',"review_reason":', cells["review_reason"]),
        ending,
    ]
    parts = _side_by_side(pieces, table.num_rows)
    parts[0] = parts[0][1:]  # no comma before the first row
    head, _, tail = _encode(answer).rpartition(b'"predictions":[]')
    return b"".join([head, b'"predictions":[', *parts, b"]", tail])


def _side_by_side(pieces: Sequence[bytes | list[bytes] | _Choice], n_rows: int) -> list[bytes]:
    """Return the pieces of each row, one row behind the other; bytes alone are the same in every row."""
    joined: list[bytes | list[bytes] | _Choice] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(last, list) or isinstance(piece, list) or last is None:
            joined.append(piece)
        elif isinstance(last, bytes) and isinstance(piece, bytes):
            joined[-1] = last + piece
        else:
            left, right = _choice(last), _choice(piece)
            if len(left.texts) * len(right.texts) > _MOST_CHOICES:
                joined.append(piece)
            else:
                texts = [one + other for one in left.texts for other in right.texts]
                joined[-1] = _Choice(texts, left.chosen * len(right.texts) + right.chosen)
    parts = [b""] * (n_rows * len(joined))
    for place, one in enumerate(joined):
        parts[place :: len(joined)] = _in_rows(one, n_rows)
    return parts


def _in_rows(piece: bytes | list[bytes] | _Choice, n_rows: int) -> list[bytes]:
    if isinstance(piece, bytes):
        return [piece] * n_rows
    return list(map(piece.texts.__getitem__, piece.chosen.tolist())) if isinstance(piece, _Choice) else piece


def _choice(piece: bytes | _Choice) -> _Choice:
    return _Choice([piece], np.zeros(1, dtype=np.int64)) if isinstance(piece, bytes) else piece


def _cells(column: pa.ChunkedArray) -> bytes | list[bytes] | _Choice:
    """Return the JSON of each cell, or the one JSON of all of them."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if array.null_count == len(array):
        return b"null"
    if pa.types.is_floating(array.type):
        return _numbers(cells_of(array))
    if pa.types.is_list(array.type):
        return _lists(array)
    encoded = array.dictionary_encode(null_encoding="encode")
    return _Choice([_encode(word) for word in encoded.dictionary.to_pylist()], encoded.indices.to_numpy())


def _lists(lists: pa.ListArray) -> _Choice:
    """Return the JSON of lists of texts, each different list written once."""
    offsets = lists.offsets.to_numpy()
    sizes = np.diff(offsets)
    encoded = lists.values.dictionary_encode(null_encoding="encode")
    base, longest = len(encoded.dictionary) + 1, int(sizes.max())
    if lists.null_count or base**longest >= _EXACT:
        kinds: dict[Any, int] = {}
        numbers = np.array(
            [kinds.setdefault(None if cell is None else tuple(cell), len(kinds)) for cell in lists.to_pylist()]
        )
    else:
        # The words of a list are the digits of a number; no word is the digit 0.
        rows = np.repeat(np.arange(len(lists)), sizes)
        places = np.arange(len(rows)) - np.repeat(offsets[:-1] - offsets[0], sizes)
        digits = (encoded.indices.to_numpy()[offsets[0] : offsets[-1]] + 1) * float(base) ** places
        numbers = np.bincount(rows, weights=digits, minlength=len(lists))
    _, first, chosen = np.unique(numbers, return_index=True, return_inverse=True)
    return _Choice([_encode(lists[place].as_py()) for place in first.tolist()], chosen)


def _keys(table: pa.Table, key: Sequence[str]) -> list[bytes | list[bytes]]:
    if len(key) == 1 and pa.types.is_integer(table.schema.field(key[0]).type):
        return [b"{%b:" % _encode(key[0]), _numbers(cells_of(table.column(key[0]))), b"}"]
    return [list(map(_encode, keys_of(table, key)))]


def _numbers(cells: list[Any]) -> list[bytes]:
    """Return the JSON of numbers, some of which may be None."""
    return _encode(cells)[1:-1].split(b",")
