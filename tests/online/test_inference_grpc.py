"""The Open Inference Protocol over gRPC: its real client, the bits of the REST form, access, audit and refusals."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton  # type: ignore[import-untyped]

from twinscore.access.gate import RECHECK_S
from twinscore.access.keys import create_key
from twinscore.audit.places import model_folder
from twinscore.audit.reader import read_model
from twinscore.errors import AuditUnavailable, RequestMalformed, SettingsInvalid
from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.grpc_listener import GrpcListener
from twinscore.online.spec import AuditPolicy
from twinscore.online.wire.inference_grpc import call_of
from twinscore.online.wire.inference_proto import MESSAGES
from twinscore.online.wire.inference_v2 import input_datatype
from twinscore.settings import Settings
from twinscore.wiring import listener_roster

NUMPY = {"INT64": np.int64, "FP64": np.float64, "BOOL": np.bool_, "BYTES": np.object_}


@pytest.fixture
def front(binary: Any, tmp_path: Path) -> Iterator[Front]:
    """A front that speaks gRPC, too, in a home of its own."""
    settings = Settings(home=tmp_path)
    gateway = Gateway("members", binary.endpoint)
    found = Front(
        gateway, settings, listener_roster(settings), replica="r1", audit=AuditPolicy(reserve_mb=1), grpc_port=0
    )
    yield found
    found.close()


@contextlib.contextmanager
def connected(listener: GrpcListener | None) -> Iterator[Any]:
    assert listener is not None
    with contextlib.closing(triton.InferenceServerClient(f"127.0.0.1:{listener.ports[0]}")) as client:
        yield client


def inputs_of(trained: Any, rows: list[dict[str, Any]]) -> list[Any]:
    """Return rows as inputs of the client, a missing number as NaN."""
    tensors = []
    for name in trained.bundle.contract.schema.names:
        datatype = input_datatype(name, trained.bundle.contract)
        cells = [np.nan if row[name] is None and datatype == "FP64" else row[name] for row in rows]
        tensor = triton.InferInput(name, [len(rows)], datatype)
        tensor.set_data_from_numpy(np.array(cells, dtype=NUMPY[datatype]))
        tensors.append(tensor)
    return tensors


def whole(trained: Any, most: int) -> list[dict[str, Any]]:
    """Return rows that this protocol can say: a missing text has no form in it."""
    return [row for row in trained.rows if not any(row[name] is None for name in row if name != "debt")][:most]


@pytest.mark.parametrize("n_rows", [1, 60])
def test_the_client_of_triton_gets_the_bits_of_predict(front: Front, binary: Any, tmp_path: Path, n_rows: int) -> None:
    """Pages, a request of few and of many rows, the outputs that are asked for; each answer is in the log."""
    rows = whole(binary, n_rows)
    asked = binary.endpoint.ask(rows, at="/instances", partial=False)
    expected = binary.endpoint.predictions(binary.endpoint.score(asked))
    with connected(front.grpc) as client:
        ready = (client.is_server_live(), client.is_server_ready(), client.is_model_ready("members", "1"))
        server, model = client.get_server_metadata(), client.get_model_metadata("members")
        headers = {"x-request-id": f"grpc-{n_rows}"}
        answer = client.infer("members", inputs_of(binary, rows), request_id="9", headers=headers)
        wanted = [triton.InferRequestedOutput("score")]
        one = client.infer("members", inputs_of(binary, rows), model_version="1", outputs=wanted)
    log = model_folder(Settings(home=tmp_path).lake, "members")
    found = {entry.record.request_id: entry.record for entry in read_model(log)}

    assert ((True, True, True), "twinscore", "members") == (ready, server.name, model.name)
    assert list(binary.bundle.contract.schema.names) == [tensor.name for tensor in model.inputs]
    assert [row.score for row in expected] == answer.as_numpy("score").tolist()
    assert [row.decision for row in expected] == [text.decode() for text in answer.as_numpy("decision").tolist()]
    assert [row.review for row in expected] == answer.as_numpy("review").tolist()
    response = answer.get_response()
    assert ("9", "1", "live") == (response.id, response.model_version, response.parameters["arm"].string_param)
    assert f"grpc-{n_rows}" == response.parameters["request_id"].string_param
    assert ["score"] == [output.name for output in one.get_response().outputs]
    assert (200, "infer") == (found[f"grpc-{n_rows}"].status, found[f"grpc-{n_rows}"].path)
    assert 2 == len(found)


def test_refusals_have_the_codes_of_grpc(front: Front, binary: Any) -> None:
    """Rows against the contract, an unknown model and version, tensors of another type and length."""
    rows = whole(binary, 3)
    broken = [{**row, "age": -5} for row in rows]
    tensors = inputs_of(binary, rows)
    said = {}
    with connected(front.grpc) as client:
        for name, call in {
            "rule": lambda: client.infer("members", inputs_of(binary, broken)),
            "column": lambda: client.infer("members", tensors[1:]),
            "model": lambda: client.infer("loans", tensors),
            "version": lambda: client.infer("members", tensors, model_version="7"),
            "page": lambda: client.get_model_metadata("loans"),
            "output": lambda: client.infer("members", tensors, outputs=[triton.InferRequestedOutput("price")]),
        }.items():
            with pytest.raises(triton.InferenceServerException) as refused:
                call()
            said[name] = (refused.value.status(), refused.value.message())

    assert {name: status for name, (status, _) in said.items()} == {
        "rule": "StatusCode.INVALID_ARGUMENT", "column": "StatusCode.INVALID_ARGUMENT",
        "model": "StatusCode.NOT_FOUND", "version": "StatusCode.NOT_FOUND", "page": "StatusCode.NOT_FOUND",
        "output": "StatusCode.INVALID_ARGUMENT",
    }  # fmt: skip
    assert "/rows/0/age" in said["rule"][1]
    assert "missing_column" in said["column"][1]
    assert "/v2/models/members" in said["model"][1]


def test_keys_are_asked_for(front: Front, binary: Any, tmp_path: Path) -> None:
    """Once a key was made nobody scores without one; whether the server lives may be asked by all."""
    made = create_key(tmp_path, label="caller", models=["members"], verbs=["predict"], days=1, now=datetime.now(UTC))
    rows = inputs_of(binary, whole(binary, 2))
    time.sleep(RECHECK_S)  # until the replica looks at the file again
    with connected(front.grpc) as client:
        live = client.is_server_live()
        with pytest.raises(triton.InferenceServerException) as refused:
            client.infer("members", rows)
        answer = client.infer("members", rows, headers={"authorization": f"Bearer {made.text}"})

    assert (True, "StatusCode.UNAUTHENTICATED") == (live, refused.value.status())
    assert 2 == len(answer.as_numpy("score"))


def test_nothing_is_answered_that_cannot_be_recorded(binary: Any) -> None:
    """The answer waits for its record; when the log fails it is not given."""

    def fail(payloads: Any) -> None:
        message = "the disk is full"
        raise AuditUnavailable(message)

    gateway = Gateway("members", binary.endpoint)
    gateway.record_with(b"s" * 32, str)
    listener = GrpcListener(gateway, host="127.0.0.1", ports=[0], commit=fail, max_waiting=4)
    try:
        with connected(listener) as client, pytest.raises(triton.InferenceServerException) as refused:
            client.infer("members", inputs_of(binary, whole(binary, 1)))
    finally:
        listener.close()

    assert "StatusCode.UNAVAILABLE" == refused.value.status()
    assert "could not be recorded" in refused.value.message()


def test_metadata_below_the_edges_limit_are_never_refused(front: Front) -> None:
    """By itself gRPC refuses some of the calls with more than 8 KiB of them, by chance."""
    with connected(front.grpc) as client:
        assert [True] * 40 == [client.is_server_live(headers={"x-long": "a" * 14_000}) for _ in range(40)]


def test_calls_are_load_and_asking_for_health_is_none(front: Front, binary: Any) -> None:
    """What a replica reports to be scaled by has the calls over gRPC, with their wait and the work of all threads."""
    inputs = inputs_of(binary, whole(binary, 1))
    with connected(front.grpc) as client:
        for _ in range(20):
            assert client.is_server_ready()
        until = time.monotonic() + 30
        while not front.load_state().answered_s and time.monotonic() < until:
            client.infer("members", inputs)
        state = front.load_state()

    assert front.grpc is not None
    assert 0 == front.listener.load.state().answered_s < state.answered_s
    assert 0 < state.ongoing <= 1.5
    assert 0 < state.busy <= 1
    assert 0 < state.p99_ms


def test_a_full_replica_says_that_it_is_ready(binary: Any) -> None:
    """While all that may wait do, it says that it lives and is ready; who else asks is refused, which is load, too."""
    recorded = threading.Event()

    def wait(payloads: Any) -> None:
        del payloads
        recorded.wait(30)

    gateway = Gateway("members", binary.endpoint)
    gateway.record_with(b"s" * 32, str)
    listener = GrpcListener(gateway, host="127.0.0.1", ports=[0], commit=wait, max_waiting=12)
    rows = inputs_of(binary, whole(binary, 1))
    try:
        with connected(listener) as client, ThreadPoolExecutor(12) as pool:
            calls = [pool.submit(client.infer, "members", rows) for _ in range(12)]
            time.sleep(0.5)
            waiting = [one for one in calls if not one.done()]
            told = (client.is_server_live(client_timeout=10), client.is_server_ready(client_timeout=10))
            refused = [_status(client, rows) for _ in range(5)]
            until = time.monotonic() + 30
            while not (shed_s := listener.load.state().shed_s) and time.monotonic() < until:
                time.sleep(0.1)
            recorded.set()
            scores = {one.result().as_numpy("score")[0] for one in calls}
    finally:
        recorded.set()
        listener.close()

    assert (12, (True, True), 1) == (len(waiting), told, len(scores))
    assert ["StatusCode.RESOURCE_EXHAUSTED"] * 5 == refused
    assert 0 < shed_s


def _status(client: Any, inputs: list[Any]) -> str:
    """Return the code of a call that is refused."""
    with pytest.raises(triton.InferenceServerException) as raised:
        client.infer("members", inputs, client_timeout=10)
    return str(raised.value.status())


def test_replicas_share_a_port_and_strangers_do_not(binary: Any) -> None:
    """Two replicas of a machine listen at one port; a port that another program has is named."""
    first = GrpcListener(Gateway("members", binary.endpoint), host="127.0.0.1", ports=[0], commit=None, max_waiting=4)
    second = GrpcListener(
        Gateway("members", binary.endpoint), host="127.0.0.1", ports=first.ports, commit=None, max_waiting=4
    )
    first.close()
    with connected(second) as client:
        assert client.is_server_live()
    second.close()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsInvalid, match="grpc_port"):
            GrpcListener(
                Gateway("members", binary.endpoint), host="127.0.0.1", ports=[port], commit=None, max_waiting=4
            )


@pytest.mark.parametrize(
    ("inputs", "raw", "said"),
    [
        ([{"name": "age", "datatype": "INT8", "shape": [1], "contents": {"int_contents": [300]}}], [], "no INT8"),
        (
            [{"name": "age", "datatype": "FP64", "shape": [1], "contents": {"int_contents": [3]}}],
            [],
            "not fp64_contents",
        ),
        ([{"name": "age", "datatype": "FP64", "shape": [1]}], [b"1", b"2"], "1 inputs and 2 raw contents"),
        (
            [{"name": "age", "datatype": "FP16", "shape": [1], "contents": {"fp32_contents": [1]}}],
            [],
            "not raw contents",
        ),
    ],
)
def test_tensors_that_do_not_belong_are_named(inputs: list[dict[str, Any]], raw: list[bytes], said: str) -> None:
    """Before any row is looked at."""
    request = MESSAGES["ModelInferRequest"](model_name="members", inputs=inputs, raw_input_contents=raw)
    with pytest.raises(RequestMalformed, match=said):
        call_of("ModelInfer", request, {})


def test_typed_contents_and_parameters_become_the_rest_form() -> None:
    """Cells of every kind as the bytes that the REST form has, and a caller's metadata as headers."""
    tensors = [
        {"name": "a", "datatype": "FP32", "shape": [2], "contents": {"fp32_contents": [0.5, -1]}},
        {"name": "b", "datatype": "UINT8", "shape": [2], "contents": {"uint_contents": [0, 255]}},
        {"name": "c", "datatype": "BYTES", "shape": [2], "contents": {"bytes_contents": [b"x", b""]}},
    ]
    request = MESSAGES["ModelInferRequest"](model_name="m", model_version="3", inputs=tensors)
    request.parameters["partial"].bool_param = True
    call = call_of("ModelInfer", request, {b"x-api-key": b"k", b"content-type": b"application/grpc"})
    n_json = int(call.headers[b"inference-header-content-length"])

    assert ("POST", "/v2/models/m/versions/3/infer", b"k") == (call.method, call.path, call.headers[b"x-api-key"])
    assert b"\x00\x00\x00?\x00\x00\x80\xbf" + b"\x00\xff" + b"\x01\x00\x00\x00x\x00\x00\x00\x00" == call.body[n_json:]
    assert b'"partial":true' in call.body[:n_json]
