"""The Open Inference Protocol: its clients, its forms of data, its errors, and the bits of the other forms."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.online.call import Call
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway, Reply
from twinscore.online.listener import HttpListener
from twinscore.online.request import Limits
from twinscore.online.wire.inference_v2 import input_datatype, outputs_of
from twinscore.online.wire.tensors import DATATYPES, binary_of, cells_in, json_of

INFER = "/v2/models/members/infer"


def ask(endpoint: Endpoint | None, value: Any, method: str = "POST", path: str = INFER, **headers: str) -> Any:
    """Send a JSON value, or bytes as they are, on this thread."""
    raw = {name.replace("_", "-").encode(): sent.encode() for name, sent in headers.items()}
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    reply = Gateway("members", endpoint).handle(Call(method, path, raw, body, "r"))
    assert isinstance(reply, Reply)
    return reply.answer


def inputs_of(trained: Any, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows as inputs with JSON data."""
    contract = trained.bundle.contract
    return [
        {"name": name, "shape": [len(rows)], "datatype": input_datatype(name, contract),
         "data": [row[name] for row in rows]} for name in contract.schema.names
    ]  # fmt: skip


def outputs(answer: Any) -> dict[str, list[Any]]:
    """Return the outputs of a JSON answer by name."""
    assert 200 == answer.status, answer.body
    return {output["name"]: output["data"] for output in json.loads(answer.body)["outputs"]}


def said(answer: Any) -> tuple[int, str]:
    """Return status and text of an error."""
    return answer.status, json.loads(answer.body)["error"]


@pytest.mark.parametrize("n_rows", [1, 8, 60])
def test_infer_answers_with_the_bits_of_predict(trained: Any, n_rows: int) -> None:
    """Each output is a column of the native predictions; an empty text stands for none."""
    rows = trained.rows[:n_rows]
    found = outputs(ask(trained.endpoint, {"id": "7", "inputs": inputs_of(trained, rows)}))
    endpoint = trained.endpoint
    predictions = endpoint.predictions(endpoint.score(endpoint.ask(rows, at="/instances", partial=False)))
    doubts = [prediction.uncertainty for prediction in predictions]
    expected: dict[str, list[Any]] = {
        "score": [prediction.score for prediction in predictions],
        "decision": [prediction.decision for prediction in predictions],
        "prediction_set": [json.dumps(doubt.prediction_set, separators=(",", ":")) for doubt in doubts],
        "lower": [doubt.lower for doubt in doubts],
        "upper": [doubt.upper for doubt in doubts],
        "uncertainty": [doubt.value for doubt in doubts],
        "review": [prediction.review for prediction in predictions],
        "review_reason": [prediction.review_reason or "" for prediction in predictions],
    }

    assert list(outputs_of(endpoint)) == list(found)
    assert {name: expected[name] for name in found} == found


def test_the_answer_names_what_the_protocol_asks_for(binary: Any) -> None:
    """Model, version, the id as it was sent, shapes, and only the outputs that were asked for."""
    body = {"id": "order-17", "inputs": inputs_of(binary, binary.rows[:2]), "outputs": [{"name": "review"}]}
    answer = json.loads(ask(binary.endpoint, body).body)
    plain = json.loads(ask(binary.endpoint, {"inputs": body["inputs"]}).body)

    assert ("members", "1", "order-17") == (answer["model_name"], answer["model_version"], answer["id"])
    assert [{"name": "review", "shape": [2], "datatype": "BOOL"}] == [
        {name: output[name] for name in ("name", "shape", "datatype")} for output in answer["outputs"]
    ]
    assert "id" not in plain


def test_shapes_and_narrow_datatypes_are_taken(binary: Any) -> None:
    """[n, 1], nested data, whole numbers for a float, and floats that their own datatype holds exactly."""
    rows = [row | {"income": 52000.0, "debt": 0.5} for row in binary.rows[:3]]
    plain = inputs_of(binary, rows)
    other = [dict(sent) for sent in plain]
    for sent in other:
        sent["shape"] = [3, 1]
        sent["data"] = [[cell] for cell in sent["data"]]
        if sent["name"] == "income":
            sent |= {"datatype": "INT32", "data": [52000] * 3}
        if sent["name"] == "debt":
            sent["datatype"] = "FP16"
        if sent["name"] == "age":
            sent["datatype"] = "UINT8"

    assert outputs(ask(binary.endpoint, {"inputs": plain})) == outputs(ask(binary.endpoint, {"inputs": other}))


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([0.1, None], [float(np.float32(0.1)), None]),
        ([0.1, 200], [float(np.float32(0.1)), 200.0]),
        ([0.1, 2**24 + 1, None], [float(np.float32(0.1)), 2.0**24, None]),
        ([0.1, True, "x"], [float(np.float32(0.1)), True, "x"]),
        ([0.1, 2**53 + 1, 10**400], [float(np.float32(0.1)), 2**53 + 1, 10**400]),
        ([], []),
    ],
)
def test_narrow_floats_are_what_they_can_hold(sent: list[Any], expected: list[Any]) -> None:
    """Each number, beside whole ones too; what is refused later stays as it was sent."""
    found = cells_in("x", "FP32", len(sent), sent, None)

    assert [(type(cell), cell) for cell in expected] == [(type(cell), cell) for cell in found]


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({"inputs": []}, 400, "no inputs"),
        ({"inputs": 5}, 400, "no inputs"),
        ({"inputs": [5]}, 400, "not an object with a name"),
        ({"inputs": [{"name": "age", "shape": [1], "datatype": "INT7", "data": [1]}]}, 400, "not one of BOOL"),
        ({"inputs": [{"name": "age", "shape": [1, 2], "datatype": "INT8", "data": [1, 2]}]}, 400, "not [n] or [n, 1]"),
        ({"inputs": [{"name": "age", "shape": [2], "datatype": "INT8", "data": [1]}]}, 400, "values and a shape of 2"),
        ({"inputs": [{"name": "age", "shape": [1], "datatype": "INT8"}]}, 400, "has no data"),
        ({"inputs": [{"name": "age", "shape": [0], "datatype": "INT8", "data": []}]}, 400, "row_count"),
        ({"inputs": [{"name": "age", "shape": [1], "datatype": "INT8", "data": [1]}]}, 400, "missing_column"),
        ({"inputs": [{"name": "age", "shape": [1], "datatype": "FP64", "data": [1]}]}, 400, "datatype INT64"),
        ({"outputs": [{"name": "margin"}]}, 400, "not one of score"),
        ({"outputs": [3]}, 400, "not one of score"),
        ({"id": 7}, 400, "id is not a string"),
    ],
)  # fmt: skip
def test_refusals_are_one_sentence(binary: Any, change: dict[str, Any], status: int, text: str) -> None:
    """Each is `{"error": text}` and says what is wrong."""
    found = said(ask(binary.endpoint, {"inputs": inputs_of(binary, binary.rows[:1])} | change))

    assert status == found[0]
    assert text in found[1]


def test_rows_that_break_the_contract_are_named_or_answered_in_part(binary: Any) -> None:
    """Without the parameter a 400 names row and rule; with it the row has no score and its errors."""
    rows = [row | {"plan": "yacht"} if place == 2 else row for place, row in enumerate(binary.rows[:40])]
    inputs = inputs_of(binary, rows)
    status, text = said(ask(binary.endpoint, {"inputs": inputs}))
    found = outputs(ask(binary.endpoint, {"inputs": inputs, "parameters": {"partial": True}}))
    by_header = outputs(ask(binary.endpoint, {"inputs": inputs}, x_partial="true"))

    assert (400, True) == (status, "/rows/2/plan" in text)
    assert found == by_header
    assert [place != 2 for place in range(40)] == [score is not None for score in found["score"]]
    assert ["/rows/2/plan"] == [error["path"] for error in json.loads(found["errors"][2])]
    assert "[]" == found["errors"][0]


def test_limits_and_media_types(binary: Any) -> None:
    """Too many rows are 413, another media type 415, no model yet 503."""
    endpoint = Endpoint(binary.bundle, model="members", version="1", limits=Limits(max_rows=3))
    body = {"inputs": inputs_of(binary, binary.rows[:4])}

    assert 413 == said(ask(endpoint, body))[0]
    assert 415 == said(ask(endpoint, body, content_type="text/csv"))[0]
    assert 415 == said(ask(endpoint, body, content_encoding="gzip"))[0]
    assert 503 == said(ask(None, body))[0]


@pytest.mark.parametrize(
    ("path", "status", "answer"),
    [
        ("/v2", 200, None),
        ("/v2/health/live", 200, {"live": True}),
        ("/v2/health/ready", 200, {"name": "members", "ready": True}),
        ("/v2/models/members/ready", 200, {"name": "members", "ready": True}),
        ("/v2/models/members/versions/1/ready", 200, {"name": "members", "ready": True}),
        ("/v2/models/members/versions/2/ready", 404, None),
        ("/v2/models/other", 404, None),
        ("/v2/models/members/stats", 404, None),
    ],
)
def test_pages_of_the_protocol(binary: Any, path: str, status: int, answer: Any) -> None:
    """Server and model say what they are; another version or model is not found."""
    found = ask(binary.endpoint, b"", "GET", path)

    assert status == found.status
    if answer is not None:
        assert answer == json.loads(found.body)
    assert 405 == ask(binary.endpoint, b"", "PUT", "/v2/health/live").status
    assert 503 == ask(None, b"", "GET", "/v2/health/ready").status


def test_metadata_is_the_contract(trained: Any) -> None:
    """Every column with its datatype, every output that an answer has."""
    found = json.loads(ask(trained.endpoint, b"", "GET", "/v2/models/members/versions/1").body)
    sent = inputs_of(trained, trained.rows[:1])

    assert [(one["name"], one["datatype"], [-1]) for one in sent] == [
        (one["name"], one["datatype"], one["shape"]) for one in found["inputs"]
    ]
    assert list(outputs(ask(trained.endpoint, {"inputs": sent}))) == [one["name"] for one in found["outputs"]]
    assert (["1"], "xgboost") == (found["versions"], found["platform"])


cells = st.sampled_from(sorted(DATATYPES)).flatmap(
    lambda name: st.tuples(
        st.just(name),
        st.lists(
            st.text(max_size=4) if DATATYPES[name] is None else
            st.booleans() if name == "BOOL" else
            st.floats(width=int(name[2:]), allow_nan=False) if name.startswith("FP") else
            st.integers(np.iinfo(DATATYPES[name]).min, np.iinfo(DATATYPES[name]).max),
            max_size=5,
        ),
    )
)  # fmt: skip


@given(cells)
def test_binary_data_are_the_json_data(drawn: tuple[str, list[Any]]) -> None:
    """Each datatype reads from bytes what it reads from JSON; outputs write what inputs read."""
    name, values = drawn
    dtype = DATATYPES[name]
    raw = binary_of(values, "BYTES") if dtype is None else np.array(values, dtype=dtype).tobytes()

    assert cells_in("x", name, len(values), values, None) == cells_in("x", name, len(values), None, raw)
    if name in {"BOOL", "FP64", "BYTES"}:
        assert json_of(values, name) == cells_in("x", name, len(values), None, binary_of(values, name))


@pytest.fixture(scope="module")
def listener(binary: Any) -> Iterator[HttpListener]:
    """A listener of the binary model."""
    found = HttpListener(Gateway("members", binary.endpoint))
    yield found
    found.close()


@pytest.mark.parametrize("binary_data", [True, False])
def test_the_client_of_triton(listener: HttpListener, binary: Any, binary_data: bool) -> None:
    """`tritonclient` over HTTP, in the binary form that it uses unasked and in JSON."""
    import tritonclient.http as http  # type: ignore[import-untyped]

    rows = [row for row in binary.rows if None not in row.values()][:40]
    as_numpy = {"INT64": np.int64, "FP64": np.float64, "BOOL": np.bool_, "BYTES": np.object_}
    inputs = []
    for sent in inputs_of(binary, rows):
        tensor = http.InferInput(sent["name"], [len(rows)], sent["datatype"])
        tensor.set_data_from_numpy(np.array(sent["data"], dtype=as_numpy[sent["datatype"]]), binary_data=binary_data)
        inputs.append(tensor)
    with contextlib.closing(http.InferenceServerClient(f"127.0.0.1:{listener.port}/members")) as client:
        ready = (client.is_server_live(), client.is_server_ready(), client.is_model_ready("members"))
        metadata = client.get_model_metadata("members", "1")
        wanted = None if binary_data else [http.InferRequestedOutput(name, binary_data=False)
                                           for name in ("score", "decision")]  # fmt: skip
        answer = client.infer("members", inputs, request_id="9", outputs=wanted)
        with pytest.raises(Exception, match="missing_column"):
            client.infer("members", inputs[1:])
    expected = outputs(ask(binary.endpoint, {"inputs": inputs_of(binary, rows)}))

    assert ((True, True, True), "members", "9") == (ready, metadata["name"], answer.get_response()["id"])
    assert expected["score"] == answer.as_numpy("score").tolist()
    decisions = answer.as_numpy("decision").tolist()
    assert expected["decision"] == [text.decode() if isinstance(text, bytes) else text for text in decisions]


def test_large_bodies_over_a_socket(listener: HttpListener, binary: Any) -> None:
    """Beyond what is answered on the loop, at the path with a version."""
    url = f"http://127.0.0.1:{listener.port}/members/v2/models/members/versions/1/infer"
    answer = httpx.post(url, json={"inputs": inputs_of(binary, binary.rows)}, trust_env=False)

    assert (200, len(binary.rows)) == (answer.status_code, answer.json()["outputs"][0]["shape"][0])


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 300), st.floats(allow_nan=False), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=6,
)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["age", "plan", "row_id", "x"]) | json_values,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | json_values,
        "datatype": st.sampled_from([*DATATYPES, "FP8"]) | json_values,
        "data": json_values,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 9)}) | json_values,
    },
)


@settings(max_examples=200, deadline=timedelta(seconds=5))
@given(
    st.fixed_dictionaries(
        {"inputs": st.lists(tensors, max_size=3) | json_values},
        optional={"id": json_values, "parameters": json_values, "outputs": json_values},
    ),
    st.binary(max_size=12),
    st.none() | st.integers(-1, 400),
)
def test_any_request_gets_a_documented_status(binary: Any, value: Any, raw: bytes, length: int | None) -> None:
    """Whatever stands in the members: scored, or refused by a sentence."""
    body = json.dumps(value).encode()
    exact = {"inference_header_content_length": str(len(body) if length is None else length)}

    assert ask(binary.endpoint, body + raw, **exact).status in {200, 400, 413, 415}
