"""MLflow's protocol, against MLflow's own server with the same model: the same statuses and the same bits."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.adapters.mlflow_package import write_package
from twinscore.online.call import Call
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway, Reply
from twinscore.online.listener import HttpListener
from twinscore.online.request import Limits
from twinscore.online.stages import finish

JSON = "application/json"


def ours(endpoint: Endpoint, body: bytes, content_type: str | None = JSON, **headers: str) -> Any:
    """Ask for invocations on this thread."""
    raw = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    if content_type is not None:
        raw[b"content-type"] = content_type.encode()
    gateway = Gateway(endpoint.model, endpoint)
    reply = finish(gateway._stages(gateway._formats["/invocations"], Call("POST", "/invocations", raw, body, "r")))
    assert isinstance(reply, Reply)
    return reply.answer


@pytest.fixture(scope="module")
def theirs(binary: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that asks MLflow's own scoring server, in this process, for invocations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc
        from mlflow.pyfunc.scoring_server import init

        folder = tmp_path_factory.mktemp("package") / "model"
        write_package(Path(binary.bundle.folder), folder, digest=binary.bundle.digest)
        server = init(mlflow.pyfunc.load_model(str(folder)))

    async def post(body: bytes, content_type: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url="http://mlflow") as client:
            return await client.post("/invocations", content=body, headers={"content-type": content_type})

    def ask(body: bytes, content_type: str = JSON) -> httpx.Response:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return asyncio.run(post(body, content_type))

    return ask


def forms_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the same rows in every JSON form."""
    names = list(rows[0])
    columns = {name: [row[name] for row in rows] for name in names}
    return {
        "dataframe_records": rows,
        "dataframe_split": {"columns": names, "data": [list(row.values()) for row in rows]},
        "instances": rows,
        "inputs": columns,
    }


@pytest.mark.parametrize("form", ["dataframe_records", "dataframe_split", "inputs", "instances"])
@pytest.mark.parametrize("n_rows", [1, 5, 60])
def test_json_forms_are_answered_as_mlflow_does(binary: Any, theirs: Any, form: str, n_rows: int) -> None:
    """Every field of every prediction, to the bit."""
    # MLflow takes no null in an array of its own forms for TensorFlow, so rows without one.
    whole = [row for row in binary.rows if None not in row.values()][:n_rows]
    rows = binary.rows[:n_rows] if form.startswith("dataframe") else whole
    body = json.dumps({form: forms_of(rows)[form]}).encode()
    answer, expected = ours(binary.endpoint, body), theirs(body)

    assert (200, 200) == (expected.status_code, answer.status), expected.text
    assert expected.json() == json.loads(answer.body)


@pytest.mark.parametrize("n_rows", [1, 60])
def test_csv_is_answered_as_json_is(binary: Any, theirs: Any, n_rows: int) -> None:
    """`DataFrame.to_csv`, columns in another order and one too many; MLflow's server itself cannot read it here."""
    frame = pd.DataFrame(binary.rows[:n_rows])
    frame["visits"] = frame["visits"].astype("Int64")
    frame = frame[sorted(frame.columns, reverse=True)].assign(extra=1)
    body = frame.to_csv(index=False).encode()
    answer = ours(binary.endpoint, body, "text/csv")

    assert ours(binary.endpoint, json.dumps({"dataframe_records": binary.rows[:n_rows]}).encode()).body == answer.body
    assert answer.body == ours(binary.endpoint, body, "application/csv; charset=utf-8").body
    assert 400 == theirs(body, "text/csv").status_code  # its signature has columns of any type, which pandas refuses


def test_partial_answers_are_what_mlflow_gives(binary: Any, theirs: Any) -> None:
    """MLflow's server scores what it can; ours does when asked to, and refuses the request otherwise."""
    rows = [row | {"plan": "yacht"} if place % 7 == 0 else row for place, row in enumerate(binary.rows[:40])]
    body = json.dumps({"dataframe_records": rows}).encode()
    refusal = json.loads(ours(binary.endpoint, body).body)

    assert "INVALID_PARAMETER_VALUE" == refusal["error_code"]
    assert "/rows/7/plan" in refusal["message"]
    assert theirs(body).json() == json.loads(ours(binary.endpoint, body, x_partial="true").body)


def without(binary: Any, *names: str, **changed: Any) -> bytes:
    row = {name: value for name, value in binary.rows[0].items() if name not in names} | changed
    return json.dumps({"dataframe_records": [row]}).encode()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{}", JSON),
        (b"[]", JSON),
        (b"1", JSON),
        (b"{", JSON),
        (b'{"instances": [], "inputs": []}', JSON),
        (b'{"dataframe_records": {}}', JSON),
        (b'{"dataframe_split": []}', JSON),
        (b'{"dataframe_split": {"columns": ["a"]}}', JSON),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1]], "other": 1}}', JSON),
        (b'{"dataframe_records": [{"nope": 1}]}', JSON),
        (b"{}", "application/json; charset=latin-1"),
        (b"{}", "application/json; boundary=x"),
        (b"{}", "text/html"),
        (b"{}", "application/xml"),
        (b"\xff\xfe", "text/csv"),
    ],
)
def test_refusals_have_the_status_and_code_of_mlflow(binary: Any, theirs: Any, body: bytes, content_type: str) -> None:
    """The same status, media type and error code; nothing of the payload and no stack trace."""
    answer, expected = ours(binary.endpoint, body, content_type), theirs(body, content_type)

    assert expected.status_code == answer.status, expected.text
    if expected.status_code == 400:
        said = json.loads(answer.body)
        assert (expected.json()["error_code"], ["error_code", "message"]) == (said["error_code"], list(said))
    else:
        assert expected.headers["content-type"] == dict(answer.headers)[b"content-type"].decode()


def test_missing_and_extra_columns_are_named(binary: Any, theirs: Any) -> None:
    """What is missing is named, with what was there instead, in MLflow's words; what is too much is left out."""
    broken, extra = without(binary, "age", "debt", ages=3), without(binary, nope=1)
    said = json.loads(ours(binary.endpoint, broken).body)["message"]

    assert said in theirs(broken).json()["message"]
    assert "Model is missing inputs ['age', 'debt']. Note that there were extra inputs: ['ages']." == said
    assert theirs(extra).json() == json.loads(ours(binary.endpoint, extra).body)


@pytest.mark.parametrize("extra", [{}, {"nope": 1}])
@pytest.mark.parametrize(("name", "nullable"), [("income", True), ("city", True), ("age", False)])
def test_what_one_record_leaves_out_is_missing(
    binary: Any, theirs: Any, extra: dict[str, Any], name: str, nullable: bool
) -> None:
    """As in the frame that MLflow's server makes of records: null, which only a nullable column may be."""
    first, second = binary.rows[0] | extra, dict(binary.rows[1])
    null = json.dumps({"dataframe_records": [first, second | {name: None}]}).encode()
    del second[name]
    left_out, instances = (json.dumps({form: [first, second]}).encode() for form in ("dataframe_records", "instances"))
    answer = ours(binary.endpoint, left_out)

    assert (200 if nullable else 400) == answer.status
    assert ours(binary.endpoint, null).body == answer.body
    if nullable:
        assert theirs(left_out).json() == json.loads(answer.body)
    assert [400, 400] == [theirs(instances).status_code, ours(binary.endpoint, instances).status]


@pytest.mark.parametrize(
    ("changed", "taken", "taken_there"),
    [
        ({"income": 52000}, True, True),
        ({"age": 41.5}, False, True),
        ({"age": "41"}, False, True),
        ({"plan": 5}, False, False),
        ({"income": "much"}, False, False),
    ],
)
def test_numbers_are_widened_and_never_cut(
    binary: Any, theirs: Any, changed: dict[str, Any], taken: bool, taken_there: bool
) -> None:
    """A whole number is taken for a double; MLflow's server also makes 41 of 41.5 and of text, and ours refuses."""
    body = without(binary, **changed)

    assert (200 if taken else 400) == ours(binary.endpoint, body).status
    assert taken_there is (theirs(body).status_code == 200)


def test_csv_faults_name_the_column_and_no_value(binary: Any) -> None:
    """A cell that is no number, and a table that is none."""
    frame = pd.DataFrame(binary.rows[:3]).assign(age="secret")
    said = json.loads(ours(binary.endpoint, frame.to_csv(index=False).encode(), "text/csv").body)["message"]
    ragged = ours(binary.endpoint, b"a,b\n1\n", "text/csv")

    assert "The column 'age' has a value that is no int64." in said
    assert "secret" not in said
    assert 400 == ragged.status


def test_times_out_of_range_are_refused_in_csv_as_in_json(binary: Any) -> None:
    """The year 10000 in UTC is no time that an answer or the audit log could repeat."""
    row = binary.rows[0] | {"opened_at": "9999-12-31T23:59:59-05:00"}
    in_json = ours(binary.endpoint, json.dumps({"instances": [row]}).encode())
    in_csv = ours(binary.endpoint, pd.DataFrame([row]).to_csv(index=False).encode(), "text/csv")

    for answer in (in_json, in_csv):
        assert 400 == answer.status
        assert "expected a time within the years 1 to 9999" in json.loads(answer.body)["message"]


def test_limits_hold_in_every_form(binary: Any) -> None:
    """Too many rows are 413, no rows are 400."""
    endpoint = Endpoint(binary.bundle, model="members", version="1", limits=Limits(max_rows=3))
    rows = binary.rows[:4]
    many = [ours(endpoint, json.dumps({form: data}).encode()).status for form, data in forms_of(rows).items()]
    csv = ours(endpoint, pd.DataFrame(rows).astype({"visits": "Int64"}).to_csv(index=False).encode(), "text/csv")
    empty = [ours(endpoint, json.dumps({form: []}).encode()).status for form in ("dataframe_records", "instances")]

    assert [413] * 5 == [*many, csv.status]
    assert [400, 400] == empty


@pytest.mark.parametrize("name", ["row_id", "nope"])
@pytest.mark.parametrize(("text", "status"), [("x" * 10_000, 200), ("x" * 10_001, 413), ("\u00e9" * 10_000, 200)])
def test_texts_are_as_long_in_csv_as_in_json(binary: Any, name: str, text: str, status: int) -> None:
    """The limit counts characters, and those of a column that is left out, too."""
    row = binary.rows[0] | {name: text}
    in_json = ours(binary.endpoint, json.dumps({"instances": [row]}).encode())
    in_csv = ours(binary.endpoint, pd.DataFrame([row]).to_csv(index=False).encode(), "text/csv")

    assert [status, status] == [in_json.status, in_csv.status]


@pytest.fixture(scope="module")
def listener(binary: Any) -> Iterator[HttpListener]:
    """A listener of the binary model."""
    found = HttpListener(Gateway("members", binary.endpoint))
    yield found
    found.close()


def test_the_client_of_mlflow(listener: HttpListener, binary: Any) -> None:
    """`ScoringServerClient` waits, invokes and reads the answer; a refusal is its exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    client = ScoringServerClient("127.0.0.1", f"{listener.port}/members")  # type: ignore[no-untyped-call]
    client.wait_server_ready(timeout=5)  # type: ignore[no-untyped-call]
    frame = pd.DataFrame(binary.rows[:40])
    frame["visits"] = frame["visits"].astype("Int64")
    predictions = client.invoke(frame).get_predictions()
    expected = json.loads(ours(binary.endpoint, json.dumps({"dataframe_records": binary.rows[:40]}).encode()).body)

    assert [row["score"] for row in expected["predictions"]] == predictions["score"].to_list()
    with pytest.raises(Exception, match=r"error code 400.*Model is missing inputs"):
        client.invoke(frame.drop(columns="age"))


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
nested = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["columns", "data", "index", "age", "plan", "x"]), inner, max_size=3),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["dataframe_records", "dataframe_split", "inputs", "instances", "params"]), nested),
    st.sampled_from([JSON, "text/csv", "application/csv", "text/plain", None]),
)
def test_any_body_gets_a_documented_status(binary: Any, value: Any, content_type: str | None) -> None:
    """Whatever is sent in whatever form: scored, or refused by a documented status."""
    assert ours(binary.endpoint, json.dumps(value).encode(), content_type).status in {200, 400, 413, 415}


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet='ab",\n\r\t 01.\x00', max_size=60))
def test_any_csv_gets_a_documented_status(binary: Any, text: str) -> None:
    """Text that is nearly CSV never breaks the reader."""
    header = ",".join(binary.bundle.contract.schema.names)
    bodies = [text.encode(), f"{header}\n{text}".encode()]

    assert {ours(binary.endpoint, body, "text/csv").status for body in bodies} <= {200, 400, 413}
