"""A bulk answer as JSON, written column by column: the bytes of `Predictions`, without an object for each row.

Every number and every text is written by msgspec, as everywhere else; here the pieces are only put side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from twinscore.online.json_rows import Choice, Piece, numbers_of, side_by_side
from twinscore.online.scored import cells_of, keys_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.online.answer import Predictions
    from twinscore.online.asked import Outcome

__all__ = ["bulk_answer"]

_MOST_KINDS = 2**16
"""Different lists of texts that are told apart by a number each; more are told apart one by one."""
_encode = msgspec.json.Encoder().encode


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
    pieces: list[Piece] = [
        *(b',{"row":', numbers_of(list(range(table.num_rows)))),
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
    rows = side_by_side(pieces, table.num_rows)[1:]  # no comma before the first row
    head, _, tail = _encode(answer).rpartition(b'"predictions":[]')
    return b"".join([head, b'"predictions":[', rows, b"]", tail])


def _cells(column: pa.ChunkedArray) -> Piece:
    """Return the JSON of each cell, or the one JSON of all of them."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if array.null_count == len(array):
        return b"null"
    if pa.types.is_floating(array.type):
        return numbers_of(cells_of(array))
    if pa.types.is_list(array.type):
        return _lists(array)
    if pa.types.is_boolean(array.type) and array.null_count == 0:
        return Choice([b"false", b"true"], array.to_numpy(zero_copy_only=False).astype(np.int64))
    encoded = array.dictionary_encode(null_encoding="encode")
    return Choice([_encode(word) for word in encoded.dictionary.to_pylist()], encoded.indices.to_numpy())


def _lists(lists: pa.ListArray) -> Choice:
    """Return the JSON of lists of texts, each different list written once."""
    offsets = lists.offsets.to_numpy()
    sizes = np.diff(offsets)
    encoded = lists.values.dictionary_encode(null_encoding="encode")
    base, longest = len(encoded.dictionary) + 1, int(sizes.max())
    if lists.null_count or base**longest > _MOST_KINDS:
        kinds: dict[Any, int] = {}
        numbers = np.array(
            [kinds.setdefault(None if cell is None else tuple(cell), len(kinds)) for cell in lists.to_pylist()]
        )
    else:
        # The words of a list are the digits of a number; no word is the digit 0.
        rows = np.repeat(np.arange(len(lists)), sizes)
        places = np.arange(len(rows)) - np.repeat(offsets[:-1] - offsets[0], sizes)
        words = encoded.indices.to_numpy()[offsets[0] : offsets[-1]] + 1
        digits = words * (base ** np.arange(longest))[places]
        numbers = np.bincount(rows, weights=digits, minlength=len(lists)).astype(np.int64)
    last = np.full(int(numbers.max()) + 1, -1)
    last[numbers] = np.arange(len(lists))
    kinds_there = np.flatnonzero(last >= 0)
    texts = [_encode(lists[place].as_py()) for place in last[kinds_there].tolist()]
    chosen = np.empty(len(last), dtype=np.int64)
    chosen[kinds_there] = np.arange(len(texts))
    return Choice(texts, chosen[numbers])


def _keys(table: pa.Table, key: Sequence[str]) -> list[Piece]:
    if len(key) == 1 and pa.types.is_integer(table.schema.field(key[0]).type):
        return [b"{%b:" % _encode(key[0]), numbers_of(cells_of(table.column(key[0]))), b"}"]
    return [Choice(list(map(_encode, keys_of(table, key))), np.arange(table.num_rows))]
