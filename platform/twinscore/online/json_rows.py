"""Pieces of JSON that each row of an answer has, put side by side, one row behind the other; knows no answer.

A column of an answer is text already, written by msgspec; between it and the body there is no Python object for a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["Choice", "Numbers", "Piece", "numbers_of", "prepare", "side_by_side"]

_MOST_CHOICES = 256
"""Different texts up to which neighbouring pieces become one."""
_encode = msgspec.json.Encoder().encode


class Numbers(NamedTuple):
    """A number, or null, for each row."""

    text: bytes
    """One behind the other, a comma behind each."""


class Choice(NamedTuple):
    """Cells that are among a few texts; `chosen` tells which, (n_rows,) or (1,) for all rows."""

    texts: Sequence[bytes]
    chosen: npt.NDArray[np.int64]


Piece = bytes | Numbers | Choice
"""Bytes alone are the same in every row."""


def numbers_of(cells: list[Any]) -> Numbers:
    """Return numbers, some of which may be None."""
    return Numbers(_encode(cells)[1:-1] + b",")


def side_by_side(pieces: Sequence[Piece], n_rows: int) -> memoryview:
    """Return the pieces of the first row, of the second, and so on."""
    from twinscore.online import json_loops

    joined = _joined(pieces)
    chosen = np.zeros((len(joined), n_rows), dtype=np.int64)
    texts: list[bytes] = []
    first = np.empty(len(joined), dtype=np.int64)
    is_number = np.array([isinstance(piece, Numbers) for piece in joined])
    n_bytes = 0
    for place, piece in enumerate(joined):
        first[place] = len(texts)
        if isinstance(piece, Numbers):
            texts.append(piece.text)
            n_bytes += len(piece.text) - n_rows
        else:
            texts += piece.texts
            chosen[place] = piece.chosen
            n_bytes += int(np.array([len(text) for text in piece.texts])[chosen[place]].sum())
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    spare = bytes(json_loops.STRIDE)
    out = np.empty(n_bytes + len(spare), dtype=np.uint8)
    json_loops.weave(np.frombuffer(b"".join([*texts, spare]), dtype=np.uint8), ends, first, is_number, chosen, out)
    return out.data[:n_bytes]


def prepare() -> None:
    """Compile the loop, so that no caller waits for it."""
    side_by_side([b"{", Numbers(b"1,"), Choice([b"}"], np.zeros(1, dtype=np.int64))], 1)


def _joined(pieces: Sequence[Piece]) -> list[Numbers | Choice]:
    """Return fewer pieces that say the same."""
    joined: list[Numbers | Choice] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, Numbers):
            joined.append(piece)
            continue
        here = Choice([piece], np.zeros(1, dtype=np.int64)) if isinstance(piece, bytes) else piece
        if isinstance(last, Choice) and len(last.texts) * len(here.texts) <= _MOST_CHOICES:
            texts = [one + other for one in last.texts for other in here.texts]
            joined[-1] = Choice(texts, last.chosen * len(here.texts) + here.chosen)
        else:
            joined.append(here)
    return joined
