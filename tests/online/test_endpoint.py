"""The request core: the same bits in every shape of request, documented refusals, no surprises."""

from __future__ import annotations

import dataclasses
import json
import string
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from twinscore.contract.compile import compile_contract
from twinscore.contract.model import Expectation
from twinscore.errors import BundleInvalid
from twinscore.online.answer import MAX_FAULTS, Answer, Prediction
from twinscore.online.asked import Asked
from twinscore.online.endpoint import Endpoint
from twinscore.online.request import Limits
from twinscore.scoring.table import check_and_score

from .conftest import ask as ask_bytes

Trained = Any  # the fixtures' record, see conftest
STATUSES = {200, 400, 413, 415, 422}


def ask(endpoint: Endpoint, body: object, *, request_id: str = "test") -> Answer:
    """Send a JSON value, or bytes as they are."""
    sent = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return ask_bytes(endpoint, sent, request_id=request_id)


def read(answer: Answer) -> Any:
    """Return the answer's body as JSON values."""
    return msgspec.json.decode(answer.body)


def core(prediction: dict[str, Any]) -> dict[str, Any]:
    """Return a prediction without its position."""
    return {name: value for name, value in prediction.items() if name != "row"}


def test_one_row_and_many_rows_get_the_same_bits(trained: Trained) -> None:
    """Flat, alone in a list, among few and among many: the same answer to the same row."""
    most = trained.endpoint.row_wise_max
    rows = trained.rows[: 3 * most]
    many = read(ask(trained.endpoint, {"instances": rows}))["predictions"]
    few = read(ask(trained.endpoint, {"instances": rows[:most]}))["predictions"]
    alone = [read(ask(trained.endpoint, {"instances": [row]}))["predictions"][0] for row in rows]
    flat = [read(ask(trained.endpoint, row))["predictions"][0] for row in rows]

    assert list(range(len(rows))) == [prediction["row"] for prediction in many]
    assert many[:most] == few
    assert [core(prediction) for prediction in many] == [core(prediction) for prediction in alone]
    assert alone == flat


def test_scores_are_those_of_the_table_path(trained: Trained) -> None:
    """Every output reads back from JSON to the bits that the bulk path has."""
    _, scored = check_and_score(trained.table, trained.bundle)
    predictions = read(ask(trained.endpoint, {"instances": trained.rows}))["predictions"]

    online = [
        {
            "score": prediction["score"],
            "decision": prediction["decision"],
            "uncertainty": prediction["uncertainty"]["value"],
            "lower": prediction["uncertainty"]["lower"],
            "upper": prediction["uncertainty"]["upper"],
            "prediction_set": prediction["uncertainty"]["prediction_set"],
            "review": prediction["review"],
            "review_reason": prediction["review_reason"],
        }
        for prediction in predictions
    ]
    assert scored.select(list(online[0])).to_pylist() == online


def test_the_answer_names_request_model_version_and_key(trained: Trained) -> None:
    """A prediction can be traced: request id, model, version, arm and the row's own key."""
    answer = read(ask(trained.endpoint, trained.rows[3], request_id="order-17"))

    assert ("order-17", "members", "1", "live") == tuple(
        answer[name] for name in ("request_id", "model", "version", "arm")
    )
    prediction = answer["predictions"][0]
    assert {name: trained.rows[3][name] for name in trained.bundle.contract.key} == prediction["key"]
    assert (prediction["explanation"], prediction["explanation_reason"]) == (None, "not_requested")


@pytest.mark.parametrize(
    ("change", "path", "rule"),
    [
        ({"age": "41"}, "/age", "type"),
        ({"age": True}, "/age", "type"),
        ({"age": 41.5}, "/age", "type"),
        ({"age": [41]}, "/age", "type"),
        ({"age": {"years": 41}}, "/age", "type"),
        ({"income": 1e39}, "/income", None),
        ({"income": 2**60}, "/income", "out_of_range"),
        ({"plan": "yacht"}, "/plan", None),
        ({"row_id": None}, "/row_id", None),
        ({"nope": 1}, "/nope", "unknown_column"),
        ({"opened_at": "yesterday"}, "/opened_at", "type"),
    ],
)
@pytest.mark.parametrize("n_before", [None, 0, 40])
def test_a_broken_cell_is_named(
    binary: Trained, change: dict[str, Any], path: str, rule: str | None, n_before: int | None
) -> None:
    """The fault's path is a JSON pointer into the body, in the flat form, alone and behind other rows."""
    broken = {**binary.rows[0], **change}
    body = broken if n_before is None else {"instances": [*binary.rows[:n_before], broken]}
    at = "" if n_before is None else f"/instances/{n_before}"

    answer = ask(binary.endpoint, body)
    problem = read(answer)

    assert (answer.status, problem["code"], problem["status"]) == (422, "contract_broken", 422)
    assert (len(problem["faults"]), f"{at}{path}") == (problem["fault_count"], problem["faults"][0]["path"])
    assert rule is None or rule == problem["faults"][0]["rule"]
    assert {"path", "rule", "expected", "value"} == problem["faults"][0].keys()


def test_every_fault_is_listed_at_once(binary: Trained) -> None:
    """Faults of shape, type and rule in different rows come back together."""
    first = {**binary.rows[0], "age": "x", "plan": "yacht"}
    second = {name: value for name, value in binary.rows[1].items() if name != "income"}
    problem = read(ask(binary.endpoint, {"instances": [first, second, 7, {**binary.rows[2], "debt": 1e39}]}))

    assert {"/instances/0/age", "/instances/0/plan", "/instances/1/income", "/instances/2", "/instances/3/debt"} == {
        fault["path"] for fault in problem["faults"]
    }


@pytest.mark.parametrize("change", [{"age": "x"}, {"plan": "yacht"}], ids=["decoding", "checking"])
def test_the_list_of_faults_is_capped_and_counted(binary: Trained, change: dict[str, Any]) -> None:
    """A thousand faults give a hundred lines and their number."""
    problem = read(ask(binary.endpoint, {"instances": [{**binary.rows[0], **change}] * 1000}))

    assert (len(problem["faults"]), problem["fault_count"]) == (MAX_FAULTS, 1000)


def test_the_payload_is_never_sent_back(binary: Trained) -> None:
    """Of a refused row only the offending cell is shown, and of that 80 characters."""
    row = {**binary.rows[0], "plan": "secret " * 1000, "k" * 5000: 1, "city": "elsewhere"}
    body = ask(binary.endpoint, {"instances": [row]}).body

    assert len(body) < 2500
    assert str(binary.rows[0]["row_id"]).encode() not in body


@pytest.mark.parametrize(
    ("body", "path", "rule"),
    [
        ([], "", "type"),
        ("rows", "", "type"),
        (None, "", "type"),
        ({"instances": []}, "/instances", "row_count"),
        ({"instances": {}}, "/instances", "type"),
        ({"instances": None}, "/instances", "type"),
        ({"instances": [{}], "parameters": {}}, "/parameters", "unknown_member"),
    ],
)
def test_bodies_without_rows_are_refused(binary: Trained, body: object, path: str, rule: str) -> None:
    """JSON of another shape is a fault with a path."""
    answer = ask(binary.endpoint, body)
    fault = read(answer)["faults"][0]

    assert (422, path, rule) == (answer.status, fault["path"], fault["rule"])


@pytest.mark.parametrize(
    ("stated", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        (' application/json;charset="utf-8"', 200),
        ("application/json; charset=latin-1", 415),
        ("application/json, text/html", 415),
        ("application/jsonx", 415),
        ("application/problem+json", 415),
        ("text/plain", 415),
        ("", 415),
        (None, 415),
    ],
)
def test_only_json_in_utf8_is_read(binary: Trained, stated: str | None, status: int) -> None:
    """Any other content type is refused before the body is looked at."""
    body = json.dumps(binary.rows[0]).encode() if status == 200 else b"\xff"

    assert status == ask_bytes(binary.endpoint, body, stated).status


def test_limits_are_refused_as_too_large(binary: Trained) -> None:
    """Bytes, rows and characters beyond the limit are 413, with the limit in the problem."""
    endpoint = Endpoint(binary.bundle, model="members", version="1", limits=Limits(max_body_bytes=200_000, max_rows=10))

    rows = read(ask(endpoint, {"instances": binary.rows[:11]}))
    size = read(ask(endpoint, b" " * 200_001))
    flood = read(ask(endpoint, {f"u{number}": 1 for number in range(10_100)}))
    text = read(ask(endpoint, {**binary.rows[0], "plan": "x" * 10_001}))

    assert (rows["code"], rows["max_rows"]) == ("too_large", 10)
    assert (flood["code"], flood["extra_members"] > 10_000) == ("too_large", True)
    assert (size["code"], size["max_body_bytes"]) == ("too_large", 200_000)
    assert (text["code"], text["path"]) == ("too_large", "/plan")


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"age": NaN}', b'{"age": 1, "age": 2}', b"[" * 99, b"\xff\xfe{\x00}\x00"]
)
def test_bad_json_is_a_problem_document(binary: Trained, body: bytes) -> None:
    """What is not strict JSON is 400 with a sentence."""
    answer = ask(binary.endpoint, body)

    assert (answer.status, read(answer)["code"]) == (400, "bad_json")
    assert (b"content-type", b"application/problem+json") in answer.headers


def test_a_warning_lets_the_row_pass_and_flags_it(binary: Trained) -> None:
    """A row that breaks only a warning is scored, with the warning as the reason for review, on both paths."""
    warning = Expectation(
        "expect_column_values_to_be_between", {"column": "age", "min_value": 0, "max_value": 0}, severity="warning"
    )
    contract = dataclasses.replace(binary.bundle.contract, expectations=(*binary.bundle.contract.expectations, warning))
    bundle = dataclasses.replace(binary.bundle, contract=contract, checker=compile_contract(contract))
    endpoint = Endpoint(bundle, model="members", version="1")

    for rows in (binary.rows[:1], binary.rows[:40]):
        predictions = read(ask(endpoint, {"instances": rows}))["predictions"]
        assert {(True, "contract_warning")} == {(found["review"], found["review_reason"]) for found in predictions}


def test_an_unforeseen_failure_tells_the_caller_nothing(binary: Trained) -> None:
    """The caller gets 503 and the request id; the cause is in the log under that id."""
    endpoint = Endpoint(binary.bundle, model="members", version="1")
    endpoint._scorer = None  # type: ignore[assignment]

    with capture_logs() as logs:
        answer = ask(endpoint, binary.rows[0], request_id="r-1")

    assert (answer.status, read(answer)["code"], read(answer)["request_id"]) == (503, "predict_failed", "r-1")
    assert b"NoneType" not in answer.body
    assert [(entry["event"], entry["request_id"]) for entry in logs] == [("predict_failed", "r-1")]
    assert str(binary.rows[0]["row_id"]) not in logs[0]["trace"]


CELLS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["2024-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "car"])
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)


@given(data=st.data())
@settings(max_examples=400)
def test_no_row_leaves_the_documented_statuses(binary: Trained, data: st.DataObject) -> None:
    """Rows with any JSON in any cell are scored or refused; nothing else happens, and nothing is logged."""
    names = st.sampled_from(binary.bundle.contract.schema.names) | st.text(max_size=6)
    changes = data.draw(st.lists(st.dictionaries(names, CELLS, max_size=3), min_size=1, max_size=3))
    rows = [{**binary.rows[index], **change} for index, change in enumerate(changes)]
    rows += binary.rows[: data.draw(st.sampled_from([0, 0, 40]))]

    with capture_logs() as logs:
        answer = ask(binary.endpoint, rows[0] if data.draw(st.booleans()) else {"instances": rows})

    assert answer.status in {200, 422}
    assert logs == []


@given(data=st.data())
@settings(max_examples=400)
def test_no_bytes_leave_the_documented_statuses(binary: Trained, data: st.DataObject) -> None:
    """Any bytes, from noise to a valid body with a few bytes changed, get a documented answer."""
    valid = json.dumps({"instances": binary.rows[:2]}).encode()
    at = data.draw(st.integers(0, len(valid)))
    patch = data.draw(st.binary(max_size=4) | st.text(string.printable, max_size=4).map(str.encode))
    body = data.draw(st.sampled_from([valid[:at] + patch + valid[at + len(patch) :], valid[:at], patch]))

    with capture_logs() as logs:
        answer = ask(binary.endpoint, body)

    assert answer.status in STATUSES
    assert answer.status == 200 or read(answer)["status"] == answer.status
    assert logs == []


@given(data=st.data())
@settings(max_examples=60)
def test_verdicts_do_not_depend_on_the_number_of_rows(binary: Trained, data: st.DataObject) -> None:
    """A row is refused alone exactly when it is refused among many, for the same reasons."""
    name = data.draw(st.sampled_from(binary.bundle.contract.schema.names))
    row = {**binary.rows[0], name: data.draw(CELLS)}
    alone = read(ask(binary.endpoint, {"instances": [row]}))
    among = read(ask(binary.endpoint, {"instances": [row, *binary.rows[: 2 * binary.endpoint.row_wise_max]]}))

    assert alone.get("faults") == among.get("faults")


def test_times_of_the_key_print_as_they_were_sent(binary: Trained) -> None:
    """A key of time and date columns comes back as the same text from both paths."""
    contract = dataclasses.replace(binary.bundle.contract, key=("row_id", "opened_at"))
    bundle = dataclasses.replace(binary.bundle, contract=contract, checker=compile_contract(contract))
    endpoint = Endpoint(bundle, model="members", version="1")
    row = {**binary.rows[0], "opened_at": "2024-03-01T10:20:30.000500Z"}

    alone = read(ask(endpoint, row))["predictions"][0]["key"]
    among = read(ask(endpoint, {"instances": [row] * 2 * endpoint.row_wise_max}))["predictions"][0]["key"]

    assert {"row_id": row["row_id"], "opened_at": row["opened_at"]} == alone == among
    assert pa.types.is_timestamp(binary.bundle.contract.column("opened_at").type)


def test_a_contract_that_refuses_its_own_reference_rows_is_refused(binary: Trained) -> None:
    """A bundle whose reference rows all break its contract has no example, and so never becomes ready."""
    never = Expectation("expect_column_values_to_be_in_set", {"column": "plan", "value_set": ["yacht"]})
    always = Expectation("expect_column_values_to_not_be_null", {"column": "plan"})
    contract = dataclasses.replace(
        binary.bundle.contract, expectations=(*binary.bundle.contract.expectations, never, always)
    )
    bundle = dataclasses.replace(binary.bundle, contract=contract, checker=compile_contract(contract))

    with pytest.raises(BundleInvalid, match="refuses every reference row"):
        Endpoint(bundle, model="members", version="1").example()


def test_predictions_stay_as_they_are_without_challengers(binary: Any) -> None:
    """An ordinary answer has no arm per row: the fields are left out, not null."""
    decoded, _ = binary.endpoint.decode([binary.rows[0]])
    found: list[Prediction] = binary.endpoint.predictions(binary.endpoint.score(Asked(decoded)))
    assert b'"arm"' not in msgspec.json.encode(found[0])
