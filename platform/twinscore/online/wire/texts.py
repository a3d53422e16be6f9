"""Limits on the texts of a table that comes from outside; knows no contract and no wire format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.errors import RequestTooLarge
from twinscore.online.strict_json import MAX_TEXT_CHARS

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["measure_texts"]


def measure_texts(table: pa.Table, max_bytes: int) -> None:
    """Refuse long texts, and what a few bytes would be spelled out to: dictionaries and views name a text many times.

    Raises:
        RequestTooLarge: a text is longer than a JSON string may be, or all of them come to more than `max_bytes`.
    """
    n_bytes = 0
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_primitive(field.type):
            continue
        for chunk in column.chunks:
            coded = pa.types.is_dictionary(chunk.type)
            words = chunk.dictionary if coded else chunk
            lengths = _byte_lengths(words)
            if lengths is None or len(chunk) == 0:
                continue
            spelled = int(lengths.sum())
            if coded:
                used = chunk.indices.drop_null().to_numpy()
                spelled = max(spelled, int(lengths[used].sum()))
            n_bytes += spelled
            if n_bytes > max_bytes:
                message = f"The texts come to more than {max_bytes} bytes; send fewer rows at a time."
                raise RequestTooLarge(message, max_body_bytes=max_bytes)
            if len(lengths) and lengths.max() > MAX_TEXT_CHARS:
                longest = pc.max(pc.utf8_length(words.cast(pa.large_string()))).as_py()
                if longest > MAX_TEXT_CHARS:
                    message = f"A string has {longest} characters; at most {MAX_TEXT_CHARS} are read."
                    raise RequestTooLarge(message, max_chars=MAX_TEXT_CHARS)


def _byte_lengths(words: pa.Array) -> npt.NDArray[np.integer[Any]] | None:
    """Return the bytes of each text, 0 for null: (n,); None for columns of no text."""
    if pa.types.is_string(words.type) or pa.types.is_large_string(words.type):
        lengths: npt.NDArray[np.integer[Any]] = pc.binary_length(words).fill_null(0).to_numpy(zero_copy_only=False)
        return lengths
    if pa.types.is_string_view(words.type):
        # A view is 16 bytes, and its first four are the length.
        views = np.frombuffer(words.buffers()[1], dtype="<i4").reshape(-1, 4)[words.offset : words.offset + len(words)]
        present = words.is_valid().to_numpy(zero_copy_only=False)
        return np.where(present, views[:, 0], 0).astype(np.int64)
    return None
