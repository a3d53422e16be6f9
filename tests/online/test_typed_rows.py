"""Bodies of few rows read straight into typed rows: never other rows than the strict reader's and the decoder's."""

from __future__ import annotations

import json
import struct
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.online.json_bodies import BLANKS, CONTRACT, ODD, ROW, TYPES, written, written_row

from twinscore.contract.model import Column, Contract
from twinscore.contract.rows import RowDecoder
from twinscore.errors import RequestError
from twinscore.online.asked import RowsRefusedError
from twinscore.online.request import Limits, read_rows
from twinscore.online.typed_rows import TypedRows

Rows = tuple[list[dict[str, Any]], str]
MOST = 3
READER = TypedRows(CONTRACT, most_rows=MOST)
DECODER = RowDecoder(CONTRACT)
EMPTY = dict.fromkeys(TYPES, "null")


def strictly(body: bytes) -> Rows | None:
    """Return what the strict reader and the contract's own decoder make of a body; None when either finds a fault."""
    try:
        instances, at = read_rows(body, "application/json", Limits(max_rows=MOST), n_columns=len(TYPES))
    except (RequestError, RowsRefusedError):
        return None
    rows, faults = DECODER.decode(instances, at=at)
    return None if faults else (rows, at)


def bits(found: Rows | None) -> Any:
    """Return rows with what tells 0.0 from -0.0, True from 1, 3.0 from 3, and one order of columns from another."""
    if found is None:
        return None
    rows, at = found
    return at, [[(name, type(cell), struct.pack("d", cell) if type(cell) is float else cell)
                 for name, cell in row.items()] for row in rows]  # fmt: skip


@given(st.lists(ROW, min_size=1, max_size=MOST + 1), BLANKS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_rows_are_those_of_the_strict_reader(rows: list[dict[str, str]], blank: str, flip: bool) -> None:
    """Numbers of every form, text, instants and nulls, in any order of columns, listed or one alone."""
    for body in (written(rows, blank, flip).encode(), written_row(rows[0], blank, flip).encode()):
        found = READER.rows_of(body)

        assert found is None or bits(found) == bits(strictly(body))


@given(
    st.lists(ROW, min_size=1, max_size=MOST), ODD, st.sampled_from(sorted(TYPES)), st.integers(0, 400),
    st.integers(0, 3), st.booleans(),
)  # fmt: skip
@example([EMPTY], "9007199254740993", "f", 0, 0, True)
@example([EMPTY], "9007199254740992", "f", 0, 0, False)
@settings(max_examples=400, deadline=None)
def test_a_broken_body_is_left_alone(
    rows: list[dict[str, str]], odd: str, name: str, at: int, cut: int, alone: bool
) -> None:
    """A cell that is none, and a body cut or stuffed anywhere: no rows, or the strict reader's."""

    def body_of(rows: list[dict[str, str]], blank: str) -> bytes:
        return (written_row(rows[-1], blank, False) if alone else written(rows, blank, False)).encode()

    whole, clean = body_of([*rows[:-1], rows[-1] | {name: odd}], " "), body_of(rows, "")
    for body in (whole, clean[:at] + odd.encode() + clean[at + cut :], clean[:at]):
        found = READER.rows_of(body)
        assert found is None or bits(found) == bits(strictly(body))


def test_clean_rows_are_not_doubted() -> None:
    """Rows as people send them are read here, else this way would be fast for nobody; times have colons, too."""
    row = {"f": -7, "i": 7, "b": True, "s": "Zo\u00eb: hers", "day": "2024-01-31", "at": "2024-01-31T12:00:00Z",
           "plain": None, 'a "quoted" n\u00e9v': 0.1234567890123456}  # fmt: skip
    for indent in (None, 1):
        for value in (row, {"instances": [row] * MOST}):
            body = json.dumps(value, ensure_ascii=False, indent=indent).encode()
            found = READER.rows_of(body)
            assert found is not None
            assert bits(found) == bits(strictly(body))
            first = found[0][0]
            assert type(first["day"]) is date
            assert type(first["at"]) is datetime
            assert type(first["f"]) is float


@pytest.mark.parametrize(
    "change",
    [
        lambda row: {**row, "s": "x" * 10_001},
        lambda row: {name: cell for name, cell in row.items() if name != "f"},
        lambda row: {**row, "other": 1},
        lambda row: {**row, "other": [[[[1]]]]},
        lambda row: [row],
        lambda row: {**row, "i": True},
        lambda row: {**row, "i": 1.0},
        lambda row: {**row, "i": 2**63},
        lambda row: {**row, "day": "2024-02-30"},
        lambda row: {"instances": []},
        lambda row: {"instances": [row] * (MOST + 1)},
        lambda row: {"instances": [row], "other": 1},
    ],
)
def test_what_has_to_be_named_is_left_to_those_who_name_it(change: Any) -> None:
    """Long text, missing and unknown columns, other shapes, types and counts."""
    body = json.dumps(change(dict.fromkeys(TYPES))).encode()

    assert READER.rows_of(body) is None


def test_a_key_that_comes_twice_is_left_alone() -> None:
    """Two readers of one body could otherwise score two different rows; a colon in text hides no key."""
    row = written_row(EMPTY | {"s": '"a"'}, "", False)
    for twice in (
        row.replace('"f":null', '"f":1,"f":2'),
        row.replace('"i":null', '"f":null'),
        row.replace('"f":null', '"f":1,"\\u0066":2'),
        row.replace('"a"', '"a\\":"').replace('"f":null', '"f":1,"f":2'),
    ):
        assert READER.rows_of(twice.encode()) is None

    assert READER.rows_of(row.encode()) is not None
    assert READER.rows_of(b'{"instances":[' + row.encode() + b'],"instances":[' + row.encode() + b"]}") is None


def test_a_column_called_instances_is_left_to_the_reader_that_tells_it_from_rows() -> None:
    """A flat row of such a contract looks like a list of rows."""
    contract = Contract("odd", 1, (Column("instances", CONTRACT.column("s").type),), (), ())

    assert TypedRows(contract, most_rows=8).rows_of(b'{"instances":"a"}') is None
