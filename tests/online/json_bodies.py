"""Bodies of JSON rows with every kind of column, written in every way, and broken ones; for those who read them."""

from __future__ import annotations

import json

import msgspec
import pyarrow as pa
from hypothesis import strategies as st

from twinscore.contract.model import Column, Contract

TYPES = {
    "f": pa.float64(),
    "i": pa.int64(),
    "b": pa.bool_(),
    "s": pa.string(),
    "day": pa.date32(),
    "at": pa.timestamp("us", "UTC"),
    "plain": pa.timestamp("us"),
    'a "quoted" név': pa.float64(),
}
CONTRACT = Contract("many", 1, tuple(Column(name, kind) for name, kind in TYPES.items()), ("i",), ())

FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(-1e3, 1e3).map(lambda value: f"{value:.4f}"),
    st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.integers(-(2**53), 2**53).map(str),
    st.sampled_from(["-0", "-0.0", "0e0", "1e22", "1e23", "9007199254740993", "2.5e-324", "1e-400", "123456789e-30"]),
)
CELLS = {
    "f": FLOATS,
    "i": st.integers(-(2**63), 2**63 - 1).map(str),
    "b": st.sampled_from(["true", "false"]),
    "s": st.text(st.characters(exclude_categories=("Cs",)), max_size=6).map(msgspec.json.encode).map(bytes.decode),
    "day": st.dates().map(lambda day: f'"{day.isoformat()}"'),
    "at": st.datetimes().map(lambda at: f'"{at.isoformat()}Z"'),
    "plain": st.datetimes().map(lambda at: f'"{at.isoformat()}"'),
    'a "quoted" név': FLOATS,
}  # fmt: skip
ROW = st.fixed_dictionaries({name: st.just("null") | cell for name, cell in CELLS.items()})
BLANKS = st.sampled_from(["", " ", "\n\t", "\r\n  "])
ODD = st.sampled_from(
    ["01", "1.", ".5", "-", "+1", "1e", "1e999", "NaN", "tru", "nul", '"\\u0061"', '"\\ud800"', "[]", "{}", '"a\nb"',
     "1 2", "9007199254740993", "9223372036854775808", "3.0", "0x1", '"2024-02-30"', "\xa0", '"\x00"', "", "-true"]
)  # fmt: skip


def written(rows: list[dict[str, str]], blank: str, flip: bool) -> str:
    """Return rows of JSON cells as a body, with white space wherever it may stand."""
    listed = [written_row(row, blank, flip and place % 2 == 1) for place, row in enumerate(rows)]
    return f'{blank}{{{blank}"instances"{blank}:{blank}[{",".join(listed)}]{blank}}}{blank}'


def written_row(row: dict[str, str], blank: str, flip: bool) -> str:
    """Return JSON cells as one flat object, the columns by their names; the other way round with `flip`."""
    cells = [f"{blank}{json.dumps(name, ensure_ascii=False)}{blank}:{blank}{cell}{blank}" for name, cell in
             sorted(row.items(), reverse=flip)]  # fmt: skip
    return f"{blank}{{{','.join(cells)}}}{blank}"
