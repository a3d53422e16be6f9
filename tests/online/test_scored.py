"""Scored tables as lists: what Arrow's own conversion says, in less time."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.contract.rows import table_to_rows
from twinscore.online.scored import cells_of, keys_of
from twinscore.scoring.table import check_and_score

KINDS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.sampled_from(["a", "b", "", "\u00e9"]) | st.text(max_size=3)),
    (pa.list_(pa.string()), st.lists(st.sampled_from(["no", "yes"]), max_size=2)),
    (pa.timestamp("us", "UTC"), st.datetimes().map(lambda at: at.replace(tzinfo=None))),
]


@given(st.data())
def test_cells_are_those_of_arrow(data: st.DataObject) -> None:
    """Any column a scored table may have, with and without nulls, sliced, in chunks, short and long."""
    kind, cells = data.draw(st.sampled_from(KINDS))
    values = data.draw(st.lists(st.none() | cells, max_size=6) | st.lists(cells, max_size=6))
    repeated = pa.array(values * data.draw(st.sampled_from([1, 40])), kind)
    column = pa.chunked_array([repeated, repeated]).slice(data.draw(st.integers(0, 3)))

    assert column.to_pylist() == cells_of(column)
    assert repeated.slice(1).to_pylist() == cells_of(repeated.slice(1))


def test_predictions_of_a_table_are_its_rows(trained: Any) -> None:
    """Every column of a real scored table."""
    _, scored = check_and_score(trained.table, trained.bundle)

    assert scored.to_pydict() == {name: cells_of(scored[name]) for name in scored.column_names}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.timestamp("us", "UTC"), ["2025-02-16T09:37:00Z", "2025-02-16T09:37:00.5Z", "0001-01-01T00:00:00Z"]),
        (pa.timestamp("us"), ["2025-02-16T09:37:00", "2025-02-16T09:37:00.5", "0001-01-01T00:00:00"]),
        (pa.date32(), ["2025-02-16", "0001-01-01", "9999-12-31"]),
        (pa.float64(), ["0.5", "nan", "-0.0"]),
        (pa.string(), ["a", "", "\u00e9"]),
    ],
)
def test_keys_are_typed_and_written_as_rows_are(kind: pa.DataType, values: list[str]) -> None:
    """Alone and beside another: their own cells again in Arrow, the text of `table_to_rows` in JSON."""
    table = pa.table({"a": pa.array([*values, None]).cast(kind), "n": range(len(values) + 1)})
    for key in (["a"], ["a", "n"]):
        found = keys_of(table, key)

        assert str(table["a"].to_pylist()) == str(pa.array([cells["a"] for cells in found], kind).to_pylist())
        assert msgspec.json.encode(table_to_rows(table.select(key))) == msgspec.json.encode(found)


@pytest.mark.parametrize("every", [1, 3])
def test_partial_answers_keep_the_order(binary: Any, every: int) -> None:
    """Refused rows stand between the others, each with its own faults and key."""
    rows = [row | {"plan": "yacht"} if place % every == 0 else row for place, row in enumerate(binary.rows[:40])]
    asked = binary.endpoint.ask(rows, at="/instances", partial=True)
    predictions = binary.endpoint.predictions(binary.endpoint.score(asked))

    assert asked.table is not None
    assert [row["row_id"] for row in rows] == [prediction.key["row_id"] for prediction in predictions]
    assert list(range(40)) == [prediction.row for prediction in predictions]
    paths = [[f"/instances/{place}/plan"] if place % every == 0 else [] for place in range(40)]
    assert paths == [[error.path for error in prediction.errors] for prediction in predictions]
