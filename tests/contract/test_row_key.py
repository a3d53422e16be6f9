"""The key of one row has the hash, and the value, that it has in a table."""

from __future__ import annotations

from datetime import UTC

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.contract.model import COLUMN_TYPES
from twinscore.contract.row_key import KeyReader, key_hashes

VALUES = {
    "int64": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    "float64": st.one_of(st.none(), st.floats()),
    "bool": st.one_of(st.none(), st.booleans()),
    "string": st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=80)),
    "timestamp[us, tz=UTC]": st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))),
    "timestamp[us]": st.one_of(st.none(), st.datetimes()),
    "date32": st.one_of(st.none(), st.dates()),
}


@given(st.data())
def test_a_row_alone_has_the_hash_of_its_row_in_a_table(data: st.DataObject) -> None:
    """For every type a contract can hold, alone and joined, whatever stands beside it in the table."""
    kinds = data.draw(st.lists(st.sampled_from(sorted(COLUMN_TYPES)), min_size=1, max_size=3))
    schema = pa.schema([pa.field(f"c{place}", COLUMN_TYPES[kind]) for place, kind in enumerate(kinds)])
    rows = data.draw(
        st.lists(st.fixed_dictionaries({f"c{n}": VALUES[kind] for n, kind in enumerate(kinds)}), min_size=1, max_size=5)
    )
    hashes, whole = key_hashes(pa.Table.from_pylist(rows, schema=schema))
    read = KeyReader(schema).read

    found = [read(row) for row in rows]

    assert whole.tolist() == [one is not None for one in found]
    assert [int(one) for one, has in zip(hashes, whole, strict=True) if has] == [one[0] for one in found if one]


def test_a_long_text_alone_has_the_hash_that_it_has_in_a_column() -> None:
    """Past the table of random words the words are computed."""
    texts = ["x" * length for length in (0, 1, 63, 64, 65, 1000)] + ["ü" * 40]
    schema = pa.schema([pa.field("c", pa.string())])
    hashes, _ = key_hashes(pa.table({"c": texts}, schema=schema))
    read = KeyReader(schema).read

    assert hashes.tolist() == [(read({"c": text}) or (None,))[0] for text in texts]


def test_empty_texts_alone_hash_as_they_do_beside_others() -> None:
    """A column of empty texts has no bytes at all; its hashes are the same."""
    alone, _ = key_hashes(pa.table({"c": pa.array(["", ""])}))
    beside, _ = key_hashes(pa.table({"c": pa.array(["", "a"])}))

    assert {int(alone[0])} == {int(alone[1]), int(beside[0])}


@pytest.mark.parametrize("row", [{}, {"c": None}, {"c": "1"}, {"c": 1.0}, {"c": True}])
def test_a_value_of_another_type_is_no_key(row: dict[str, object]) -> None:
    """Text is no whole number, nor are a float and a truth."""
    assert KeyReader(pa.schema([pa.field("c", pa.int64())])).read(row) is None
