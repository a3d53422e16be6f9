"""Arrow streams in and out: the bits of the JSON form, and nothing built from what may not be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.online.asked import Outcome
from twinscore.online.call import Call
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway, Reply
from twinscore.online.listener import HttpListener
from twinscore.online.request import Limits
from twinscore.online.stages import finish
from twinscore.online.wire.arrow import ARROW_STREAM, ERRORS_FIELD, write_stream
from twinscore.scoring.table import SCORE_SCHEMA, check_and_score

STREAM = {"content-type": ARROW_STREAM}
DOCUMENTED = {200, 400, 413, 422}


def stream_of(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=7)
    return sink.getvalue().to_pybytes()


def far_times(table: pa.Table) -> pa.Array:
    return pa.array([2**58] * table.num_rows).cast(table.schema.field("opened_at").type)


def table_in(body: bytes) -> pa.Table:
    with pa.ipc.open_stream(body) as reader:
        return reader.read_all()


def send(endpoint: Endpoint, body: bytes, **headers: str) -> Any:
    """Ask through a gateway on this thread."""
    raw = {b"content-type": ARROW_STREAM.encode()}
    raw |= {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    gateway = Gateway(endpoint.model, endpoint)
    reply = finish(gateway._stages(gateway._formats["/predict"], Call("POST", "/predict", raw, body, "r")))
    assert isinstance(reply, Reply)
    return reply.answer


@pytest.fixture(scope="module")
def listener(binary: Any) -> Iterator[HttpListener]:
    """A listener of the binary model."""
    found = HttpListener(Gateway("members", binary.endpoint))
    yield found
    found.close()


@pytest.mark.parametrize("n_rows", [1, 8, 300])
def test_a_stream_is_answered_with_the_bits_of_the_table_path(trained: Any, n_rows: int) -> None:
    """Key columns and SCORE_SCHEMA, one row per row sent."""
    table = trained.table.slice(0, n_rows)
    answer = send(trained.endpoint, stream_of(table))
    _, scored = check_and_score(table, trained.bundle)

    assert 200 == answer.status
    found = table_in(answer.body)
    assert scored.equals(found.select(SCORE_SCHEMA.names))
    assert table.select(["row_id"]).equals(found.select(["row_id"]))
    assert {b"twinscore.version": b"1", b"twinscore.arm": b"live"}.items() <= found.schema.metadata.items()


def test_streams_over_a_socket(listener: HttpListener, binary: Any) -> None:
    """A real client, a large body, and each side of `accept`."""
    url = f"http://127.0.0.1:{listener.port}/members/predict"
    body = stream_of(binary.table)
    arrow = httpx.post(url, content=body, headers=STREAM, trust_env=False)
    as_json = httpx.post(url, content=body, headers={**STREAM, "accept": "application/json"}, trust_env=False)
    rows = {"instances": binary.rows}
    from_json = httpx.post(url, json=rows, headers={"accept": ARROW_STREAM}, trust_env=False)
    few = httpx.post(url, json=binary.rows[0], headers={"accept": ARROW_STREAM}, trust_env=False)

    scores = [prediction["score"] for prediction in as_json.json()["predictions"]]
    assert scores == table_in(arrow.content)["score"].to_pylist()
    assert table_in(arrow.content).equals(table_in(from_json.content))
    assert table_in(arrow.content).slice(0, 1).equals(table_in(few.content))


def test_types_that_lose_nothing_are_taken(binary: Any) -> None:
    """Dictionaries, views, smaller numbers and other zones are the same rows; so is what Polars writes."""
    table = binary.table
    changed = table
    for name, kind in {"plan": pa.dictionary(pa.int8(), pa.string()), "city": pa.large_string(), "age": pa.int16(),
                       "row_id": pa.string_view(), "opened_at": pa.timestamp("us", "Asia/Tokyo")}.items():  # fmt: skip
        changed = changed.set_column(changed.column_names.index(name), name, table[name].cast(kind))
    words = table["city"].combine_chunks().dictionary_encode()
    views = pa.DictionaryArray.from_arrays(words.indices, words.dictionary.cast(pa.string_view()))
    viewed = table.set_column(table.column_names.index("city"), "city", views)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    written = frame.write_ipc_stream(None)

    expected = send(binary.endpoint, stream_of(table)).body
    assert expected == send(binary.endpoint, stream_of(changed)).body
    assert expected == send(binary.endpoint, stream_of(viewed)).body
    assert table_in(expected).equals(table_in(send(binary.endpoint, written.getvalue()).body))


@pytest.mark.parametrize(
    ("change", "status", "rule"),
    [
        (lambda table: table.drop_columns("age"), 422, "missing_column"),
        (lambda table: table.append_column("extra", table["age"]), 422, "unknown_column"),
        (lambda table: table.append_column("age", table["age"]), 422, "type"),
        (lambda table: table.slice(0, 0), 422, "row_count"),
        (lambda table: table.set_column(1, "age", table["age"].cast(pa.float64())), 422, "type"),
        (lambda table: table.set_column(1, "age", table["age"].cast(pa.string())), 422, "type"),
        (lambda table: table.set_column(1, "age", pa.nulls(table.num_rows)), 422, None),
        (lambda table: table.set_column(1, "age", pa.array([[1]] * table.num_rows)), 422, "type"),
        (lambda table: table.set_column(8, "opened_at", far_times(table)), 422, "out_of_range"),
    ],
)
def test_other_tables_are_refused_by_name(binary: Any, change: Any, status: int, rule: str | None) -> None:
    """A column that is missing, unknown, double or of another type is named; nothing is coerced."""
    answer = send(binary.endpoint, stream_of(change(binary.table.slice(0, 20))))
    problem = json.loads(answer.body)

    assert (status, "contract_broken") == (answer.status, problem["code"])
    if rule is not None:
        assert [rule] == [fault["rule"] for fault in problem["faults"]]


def test_a_partial_answer_has_errors(binary: Any) -> None:
    """Refused rows have errors and no score; without the header nothing is scored; JSON says the same."""
    plans = pa.array(["yacht" if place % 5 == 0 else "plus" for place in range(20)])
    table = binary.table.slice(0, 20).set_column(7, "plan", plans)
    whole = send(binary.endpoint, stream_of(table))
    answer = table_in(send(binary.endpoint, stream_of(table), x_partial="true").body)
    as_json = json.loads(send(binary.endpoint, stream_of(table), x_partial="true", accept="application/json").body)

    assert (422, 4) == (whole.status, json.loads(whole.body)["fault_count"])
    assert ERRORS_FIELD.equals(answer.schema.field("errors"))
    assert [4 * [None], 16] == [answer["score"].to_pylist()[::5], len(answer["score"].drop_null())]
    assert [prediction["errors"] for prediction in as_json["predictions"]] == answer["errors"].to_pylist()
    assert ["/rows/5/plan"] == [error["path"] for error in answer["errors"].to_pylist()[5]]


@pytest.mark.parametrize("n_rows", [1, 9])
def test_keys_that_are_times_come_back_as_times(binary: Any, n_rows: int) -> None:
    """Where rows were answered one by one, too: those that are explained, and those of a partial answer."""
    contract = replace(binary.bundle.contract, key=("opened_at",))
    endpoint = Endpoint(replace(binary.bundle, contract=contract), model="members", version="1")
    table = binary.table.slice(0, n_rows)
    plain = send(endpoint, stream_of(table))
    asked = endpoint.ask(binary.rows[:n_rows], at="/rows", partial=False)
    by_rows = Outcome(endpoint.predictions(endpoint.score(asked)))
    explained = Gateway("members", endpoint).handle(
        Call("POST", "/predict", {b"content-type": ARROW_STREAM.encode(), b"x-explain": b"true"}, stream_of(table), "r")
    )

    assert isinstance(explained, Reply)
    assert (200, 200) == (plain.status, explained.answer.status)
    assert table["opened_at"].equals(table_in(plain.body)["opened_at"])
    assert plain.body == explained.answer.body
    assert plain.body == write_stream(endpoint, by_rows, "r", "live", partial=False).body


class Box(pa.ExtensionType):
    """A type that a reader of this process would build."""

    def __init__(self) -> None:
        super().__init__(pa.int64(), "tests.box")

    def __arrow_ext_serialize__(self) -> bytes:
        """Return nothing."""
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Box:
        """Be never called."""
        raise AssertionError(storage, serialized)


def test_what_could_run_code_or_swell_is_not_read(binary: Any) -> None:
    """Compression, extension types, endless null columns and dictionaries of long texts are refused from metadata."""
    endpoint = Endpoint(binary.bundle, model="members", version="1", limits=Limits(max_body_bytes=200_000))
    table = binary.table.slice(0, 20)
    squeezed = [stream_of(table, compression=name) for name in ("zstd", "lz4")]
    boxed = stream_of(table.append_column("box", pa.ExtensionArray.from_storage(Box(), table["age"].combine_chunks())))
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"age": pa.nulls(1_000_000)})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int8()), pa.array(["x" * 9_000]))
    many = binary.table.set_column(7, "plan", words.slice(0, binary.table.num_rows))
    long = table.set_column(7, "plan", pa.array(["x" * 10_001] * 20, pa.string_view()))

    answers = [send(endpoint, body) for body in (*squeezed, boxed, sink.getvalue().to_pybytes(), stream_of(many),
                                                 stream_of(long))]  # fmt: skip
    codes = [json.loads(answer.body)["code"] for answer in answers]
    assert ["bad_stream", "bad_stream", "bad_stream", "too_large", "too_large", "too_large"] == codes


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_streams_are_refused_or_scored(binary: Any, data: st.DataObject) -> None:
    """Any byte may be changed, cut out or put in: always a documented status, never a crash."""
    body = bytearray(stream_of(binary.table.slice(0, 9)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        kind = data.draw(st.sampled_from(["change", "change", "cut", "insert", "end"]))
        if kind == "change":
            body[place] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del body[place : place + data.draw(st.integers(1, 64))]
        elif kind == "insert":
            body[place:place] = data.draw(st.binary(max_size=16))
        else:
            del body[max(place, 1) :]
        body = body or bytearray(b"x")

    assert send(binary.endpoint, bytes(body)).status in DOCUMENTED
