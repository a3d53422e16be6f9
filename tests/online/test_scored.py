"""Scored tables as lists: what Arrow's own conversion says, in less time."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.online.scored import cells_of
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


@pytest.mark.parametrize("every", [1, 3])
def test_partial_answers_keep_the_order(binary: Any, every: int) -> None:
    """Refused rows stand between the others, each with its own faults and key."""
    rows = [row | {"plan": "yacht"} if place % every == 0 else row for place, row in enumerate(binary.rows[:30])]
    asked = binary.endpoint.ask(rows, at="/instances", partial=True)
    predictions = binary.endpoint.predictions(binary.endpoint.score(asked))

    assert asked.table is not None
    assert [row["row_id"] for row in rows] == [prediction.key["row_id"] for prediction in predictions]
    assert list(range(30)) == [prediction.row for prediction in predictions]
    paths = [[f"/instances/{place}/plan"] if place % every == 0 else [] for place in range(30)]
    assert paths == [[error.path for error in prediction.errors] for prediction in predictions]
