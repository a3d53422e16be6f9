"""All protocols at once: one row gets one verdict and one set of bits, however it is sent; no request breaks them."""

from __future__ import annotations

import json
import re
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.contract.rows import decode_rows, rows_to_table
from twinscore.online.call import Call
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway, Reply
from twinscore.online.listener import HttpListener
from twinscore.online.stages import finish
from twinscore.online.wire.arrow import ARROW_STREAM

from .test_inference_v2 import inputs_of

COLUMNS: dict[str, list[Any]] = {
    "age": [17, 18, 40, 89, 90, None, 2**62],
    "visits": [0, 3, None, -1],
    "income": [0.1, 1e9, None, -5.0, 1e308],
    "debt": [0.0, 0.3, None],
    "member": [True, False, None],
    "city": ["delhi", "cairo", None, "atlantis"],
    "plan": ["plus", "basic", "yacht", ""],
    "row_id": ["a", "b", None, "\u00e9"],
}


@st.composite
def requests(draw: st.DrawFn) -> tuple[int, list[tuple[int, str, Any]]]:
    """Return a number of rows and a few cells to replace, most by values that the contract takes or refuses."""
    n_rows = draw(st.sampled_from([1, 2, 9, 40]))
    names = st.sampled_from(sorted(COLUMNS))
    changes = st.lists(st.tuples(st.integers(0, n_rows - 1), names, st.integers(0, 6)), max_size=4)
    return n_rows, [(row, name, COLUMNS[name][pick % len(COLUMNS[name])]) for row, name, pick in draw(changes)]


def ask(gateway: Gateway, path: str, body: Any, media: str = "application/json") -> Any:
    """Ask for a partial answer on this thread."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {b"content-type": media.encode(), b"x-partial": b"true"}
    reply = finish(gateway._stages(gateway._formats[path], Call("POST", path, headers, sent, "r")))
    assert isinstance(reply, Reply)
    assert 200 == reply.answer.status, reply.answer.body
    return reply.answer.body


@settings(max_examples=60, deadline=None)
@given(requests())
def test_every_protocol_gives_the_same_verdict_and_bits(binary: Any, drawn: tuple[int, Any]) -> None:
    """Score, decision and broken rules of every row, through JSON, MLflow's forms, tensors and Arrow."""
    n_rows, changes = drawn
    rows = [dict(row) for row in binary.rows[:n_rows]]
    for place, name, value in changes:
        rows[place][name] = value
    gateway = Gateway("members", binary.endpoint)
    native = json.loads(ask(gateway, "/predict", {"instances": rows}))["predictions"]
    expected = [
        (row["score"], row["decision"], row["review_reason"], sorted(error["rule"] for error in row["errors"]))
        for row in native
    ]

    split = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for form in ({"dataframe_records": rows}, {"dataframe_split": split}, {"inputs": columns}, {"instances": rows}):
        found = json.loads(ask(gateway, "/invocations", form))["predictions"]
        assert expected == [
            (
                row["score"],
                row["decision"],
                row["review_reason"],
                sorted(filter(None, (row["refused"] or "").split("; "))),
            )
            for row in found
        ]

    answer = json.loads(ask(gateway, "/v2/models/members/infer", {"inputs": inputs_of(binary, rows)}))
    tensors = {output["name"]: output["data"] for output in answer["outputs"]}
    rules = [sorted(error["rule"] for error in json.loads(text)) for text in tensors["errors"]]
    decisions = [text or None for text in tensors["decision"]]
    reasons = [text or None for text in tensors["review_reason"]]
    assert expected == list(zip(tensors["score"], decisions, reasons, rules, strict=True))

    sink = pa.BufferOutputStream()
    table = rows_to_table(decode_rows(rows, binary.bundle.contract)[0], binary.bundle.contract)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with pa.ipc.open_stream(ask(gateway, "/predict", sink.getvalue().to_pybytes(), ARROW_STREAM)) as reader:
        arrow = reader.read_all().to_pylist()
    assert expected == [
        (row["score"], row["decision"], row["review_reason"], sorted(error["rule"] for error in row["errors"]))
        for row in arrow
    ]


@pytest.fixture(scope="module")
def listener(binary: Any) -> Iterator[HttpListener]:
    """A listener of the binary model."""
    found = HttpListener(Gateway("members", binary.endpoint))
    yield found
    found.close()


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/v2/models/members/infer"])
def test_curl_asks_each_protocol(listener: HttpListener, binary: Any, path: str) -> None:
    """The example of the description, sent by curl, is answered."""
    url = f"http://127.0.0.1:{listener.port}/members"
    described = httpx.get(f"{url}/openapi.json", trust_env=False).json()["paths"][path]["post"]
    content = described["requestBody"]["content"]["application/json"]
    example = content["example"] if "example" in content else next(iter(content["examples"].values()))["value"]
    command = ["curl", "--silent", "--fail", "--noproxy", "*", "--max-time", "20", "--json", json.dumps(example)]
    done = subprocess.run([*command, f"{url}{path}"], capture_output=True, check=True)

    assert isinstance(json.loads(done.stdout), dict)


PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "clients.md"
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize(("language", "block"), BLOCKS, ids=[str(place) for place in range(len(BLOCKS))])
def test_the_page_about_clients_works(
    binary: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str, block: str
) -> None:
    """Each block of the page, run as it stands against an endpoint of its own port and name, gives the scores."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    endpoint = Endpoint(binary.bundle, model="adult", version="1")
    places = [place for place, row in enumerate(binary.rows) if None not in row.values()][:40]
    rows, table = [binary.rows[place] for place in places], binary.table.take(places)
    wanted = [prediction.score for prediction in endpoint.predictions(
        endpoint.score(endpoint.ask(rows, at="/instances", partial=False)))]  # fmt: skip
    listener = HttpListener(Gateway("adult", endpoint))
    try:
        code = block.replace("8000/adult", f"{listener.port}/adult")
        if language == "python":
            space: dict[str, Any] = {"rows": rows, "table": table}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(compile(code, str(PAGE), "exec"), space)
            assert wanted == space["scores"]
        else:
            done = subprocess.run(["bash", "-euc", code], cwd=tmp_path, capture_output=True, text=True, check=True)
            assert 2 == done.stdout.count('"score":')
    finally:
        listener.close()


def test_schemathesis_finds_no_answer_that_is_not_described(listener: HttpListener) -> None:
    """Requests made from the live description, good and bad: no 5xx, no status or body that it does not name."""
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    url = f"http://127.0.0.1:{listener.port}/members"
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    seen = 0
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]

        @settings(max_examples=12, deadline=None, database=None)
        @given(case=operation.as_strategy())
        def probe(case: Any) -> None:
            case.call_and_validate(base_url=url, checks=checks, timeout=20)

        probe()
        seen += 1
    assert seen >= 15
