"""A stream written at once is the stream that Arrow's own writer makes."""

from __future__ import annotations

import pyarrow as pa
import pytest

from twinscore.contract.stream import stream_of


def own_writer(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("n_rows", [1, 7, 1000])
def test_the_bytes_are_those_of_arrows_own_writer(n_rows: int) -> None:
    """Numbers, nulls, texts, lists and metadata; columns in several chunks and cut out of larger ones."""
    table = pa.table(
        {
            "number": pa.array([None if row % 3 == 0 else row / 7 for row in range(n_rows)], pa.float64()),
            "text": pa.array([f"t{row % 5}" for row in range(n_rows)]),
            "list": pa.array([["a"] * (row % 3) for row in range(n_rows)]),
            "nothing": pa.nulls(n_rows, pa.string()),
        }
    ).replace_schema_metadata({"who": "me"})
    apart = pa.concat_tables([table, table]).slice(n_rows // 2, n_rows)

    assert stream_of(table.columns, table.schema) == own_writer(table)
    with pa.ipc.open_stream(stream_of(apart.columns, apart.schema)) as stream:
        assert stream.read_all().equals(apart)


def test_a_column_of_another_length_is_refused() -> None:
    """Half a table is not written."""
    schema = pa.schema([("a", pa.int64()), ("b", pa.int64())])

    with pytest.raises(ValueError, match="same length"):
        stream_of([pa.array([1, 2]), pa.array([1])], schema)
