"""Pieces of JSON put side by side are what joining them row by row gives."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twinscore.online.json_rows import Choice, Numbers, Piece, numbers_of, side_by_side

TEXTS = st.lists(st.binary(max_size=90), min_size=1, max_size=20)
NUMBERS = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.floats())


@st.composite
def pieces(draw: st.DrawFn) -> tuple[list[Piece], list[list[bytes]]]:
    """Some pieces for the same number of rows, and what each says in each row."""
    n_rows = draw(st.integers(1, 40))
    given_, said = list[Piece](), list[list[bytes]]()
    for kind in draw(st.lists(st.sampled_from(["bytes", "numbers", "choice"]), min_size=1, max_size=8)):
        if kind == "bytes":
            text = draw(st.binary(max_size=70))
            given_.append(text)
            said.append([text] * n_rows)
        elif kind == "numbers":
            cells = draw(st.lists(NUMBERS, min_size=n_rows, max_size=n_rows))
            given_.append(numbers_of(cells))
            said.append([msgspec.json.encode(cell) for cell in cells])
        else:
            texts = draw(TEXTS)
            chosen = draw(st.lists(st.integers(0, len(texts) - 1), min_size=n_rows, max_size=n_rows))
            given_.append(Choice(texts, np.array(chosen)))
            said.append([texts[one] for one in chosen])
    return given_, said


@given(made=pieces())
def test_rows_are_their_pieces_one_behind_the_other(made: tuple[list[Piece], list[list[bytes]]]) -> None:
    """Whatever texts and numbers, empty ones and ones longer than a copied stretch too: no byte is lost or added."""
    found, said = made
    rows = zip(*said, strict=True)

    assert bytes(side_by_side(found, len(said[0]))) == b"".join([b"".join(row) for row in rows])


def test_a_text_for_every_row_is_a_choice_too() -> None:
    """Keys of several columns are texts of their own in each row."""
    keys = [b'{"a":%d,"b":"x,y"}' % row for row in range(300)]
    found = side_by_side([b"[", Choice(keys, np.arange(300)), Numbers(b"7," * 300), b"]"], 300)

    assert bytes(found) == b"".join([b"[%b7]" % key for key in keys])
