"""MLflow's scoring protocol, `POST /<model>/invocations`: JSON in its four forms and CSV; imports no MLflow.

Status codes, error codes and the names of missing columns are those of MLflow's own server with this model. What is
left out on purpose: it repeats the caller's payload and a stack trace in errors. What is stricter: JSON that two
readers could take differently is refused, and so is a request with a row that breaks the contract, unless it asks for a
partial answer, which is what MLflow's server gives: such a row has no score, and `refused` names its rules.
Source: mlflow 3.17.2, `mlflow/pyfunc/scoring_server/__init__.py` and `mlflow/utils/proto_json_utils.py`.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv

from twinscore.contract.verdict import Fault
from twinscore.errors import MediaTypeUnsupported, RequestMalformed, RequestTooLarge, SchemaMismatch
from twinscore.online import strict_json
from twinscore.online.answer import Answer, Refusal, as_json, as_text
from twinscore.online.asked import Asked, Outcome, RowsRefusedError
from twinscore.online.request import body_too_large
from twinscore.online.scored import DEGRADED, columns_of, degraded_rows, errors_of
from twinscore.online.wire.format import wants_partial
from twinscore.online.wire.texts import measure_texts
from twinscore.scoring.pyfunc import REFUSED
from twinscore.scoring.table import SCORE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twinscore.online.call import Call
    from twinscore.online.endpoint import Endpoint

__all__ = ["Invocations"]

FORMS = ("dataframe_records", "dataframe_split", "inputs", "instances")
_ROWS = "/rows"
_FAULTS_SHOWN = 20
_SPARE_COLUMNS = 1_000
_CODES = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
_NULLS = ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
          "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]  # fmt: skip
"""What pandas.read_csv takes for a missing value."""
_MEDIA = {"application/json": False, "text/csv": True, "application/csv": True}


class Invocations:
    """`POST /<model>/invocations`."""

    name = "invocations"

    def __init__(self, *, partial: bool = False) -> None:
        self._partial = partial

    def read(self, call: Call, endpoint: Endpoint) -> Asked:
        """Return the rows of a body in any of the forms; columns that the contract does not have are left out.

        Raises:
            MediaTypeUnsupported, RequestMalformed, RequestTooLarge: the body cannot be read.
            RowsRefusedError: columns are missing, or there are no rows.
        """
        is_csv = _is_csv(call.header(b"content-type"))
        if len(call.body) > endpoint.limits.max_body_bytes:
            raise body_too_large(endpoint.limits)
        partial = wants_partial(call, default=self._partial)
        if is_csv:
            return _of_csv(call.body, endpoint, partial=partial)
        # MLflow's own client writes a missing value as NaN.
        rows = _rows_of(strict_json.decode(call.body, nan_is_null=True), endpoint)
        return endpoint.ask(rows, at=_ROWS, partial=partial)

    def write(self, call: Call, endpoint: Endpoint, asked: Asked, outcome: Outcome, arm: str) -> Answer:
        """Return `{"predictions": [..]}`: per row SCORE_SCHEMA and the rules it broke, as the pyfunc model does."""
        del endpoint, asked, arm
        cells: dict[str, list[Any]] = columns_of(outcome)
        refused = ["; ".join([error.rule for error in errors]) or None for errors in errors_of(outcome)]
        names = [*SCORE_SCHEMA.names, REFUSED]
        columns = [*(cells[name] for name in SCORE_SCHEMA.names), refused]
        if outcome.degraded:
            names.append(DEGRADED)
            columns.append(degraded_rows(outcome))
        predictions = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        return as_json({"predictions": predictions}, call.request_id)

    def refuse(self, refusal: Refusal, call: Call) -> Answer:
        """Return MLflow's `{"error_code", "message"}`; an unknown media type is a sentence in plain text."""
        if refusal.status == 415:
            return as_text(refusal.detail, "text/plain; charset=utf-8", call.request_id, status=415)
        faults = [f"{fault.path}: {fault.rule}, expected {fault.expected}, got {fault.value}"
                  for fault in refusal.faults[:_FAULTS_SHOWN]]  # fmt: skip
        code, status = "BAD_REQUEST", refusal.status
        if refusal.code == "contract_broken" or "missing" in refusal.facts:
            code, status = "INVALID_PARAMETER_VALUE", 400
        elif status in _CODES or status >= 500:
            code = _CODES.get(status, "TEMPORARILY_UNAVAILABLE")
        message = " ".join([refusal.detail, "; ".join(faults)]).strip()
        body = {"error_code": code, "message": message}
        return as_json(body, call.request_id, status=status, extra=refusal.extra)


def _is_csv(content_type: str | None) -> bool:
    """Tell CSV from JSON, by MLflow's rules for the content type."""
    media, *parts = [part.strip() for part in (content_type or "").split(";")]
    parameters = {name: value for name, _, value in (part.partition("=") for part in parts)}
    if parameters.pop("charset", "utf-8").strip('"').lower() != "utf-8":
        message = "The scoring server only supports UTF-8"
        raise MediaTypeUnsupported(message)
    if parameters:
        message = f"Unrecognized content type parameters: {', '.join(sorted(parameters))[:80]}."
        raise MediaTypeUnsupported(message)
    if media.lower() not in _MEDIA:
        message = f"This predictor only supports the following content types: {', '.join(_MEDIA)}."
        raise MediaTypeUnsupported(message)
    return _MEDIA[media.lower()]


def _rows_of(value: object, endpoint: Endpoint) -> list[dict[str, Any]]:
    needed = f"The input must be a JSON dictionary with exactly one of the input fields {', '.join(FORMS)}"
    if not isinstance(value, dict):
        message = f"{needed}. Received a {'list' if isinstance(value, list) else 'plain value'}."
        raise RequestMalformed(message)
    found = [name for name in FORMS if name in value]
    if len(found) != 1:
        message = f"{needed}. Received {', '.join(found) or 'none of them'}."
        raise RequestMalformed(message)
    form, data = found[0], value[found[0]]
    rows: Sequence[Any] | None = data if isinstance(data, list) else None
    if form == "dataframe_split":
        rows = _of_split(data, endpoint)
    elif isinstance(data, dict) and form == "inputs":
        rows = _of_columns(data, endpoint)
    if rows is None or not all(isinstance(row, dict) for row in rows):
        message = f"The field {form} must hold a list of records, each an object of column names and values."
        raise RequestMalformed(message)
    if not rows:
        expected = f"1 to {endpoint.limits.max_rows} rows"
        raise RowsRefusedError([Fault(_ROWS, None, "row_count", expected, "no rows", "critical")], 1, 0)
    _refuse_many(len(rows), endpoint)
    known = endpoint.bundle.contract.schema.names
    sent = set().union(*rows)
    _name_missing(sent, endpoint)
    if sent == set(known) and set(map(len, rows)) == {len(known)}:
        return list(rows)
    if form == "dataframe_records":
        # A frame made of records has every column in every row; where a record leaves one out, it is a missing value.
        return [{name: row.get(name) for name in known} for row in rows]
    # Columns made of instances would differ in length, which is refused: here row by row, with the column's name.
    return [{name: row[name] for name in known if name in row} for row in rows]


def _of_split(data: object, endpoint: Endpoint) -> list[dict[str, Any]]:
    if not isinstance(data, dict) or "data" not in data or not set(data) <= {"columns", "data", "index"}:
        message = "Dataframe split format must have 'data' field and optionally 'columns' and 'index' fields."
        raise RequestMalformed(message)
    columns, rows = data.get("columns"), data["data"]
    names: list[str] = columns if isinstance(columns, list) and all(isinstance(name, str) for name in columns) else []
    if not names:
        _name_missing(set(), endpoint)
    if len(set(names)) != len(names) or len(names) > endpoint.n_columns + _SPARE_COLUMNS:
        message = "The columns of dataframe_split are there twice, or far more than the contract has."
        raise RequestMalformed(message)
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        message = "Provided dataframe_split field is not a valid dataframe: each row has one value per column."
        raise RequestMalformed(message)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _of_columns(data: Mapping[str, Any], endpoint: Endpoint) -> list[dict[str, Any]]:
    """Return rows of `{column: [value, ..]}`; a single value stands for one row, as in MLflow."""
    known = endpoint.bundle.contract.schema.names
    columns = {name: values if isinstance(values, list) else [values] for name, values in data.items() if name in known}
    _name_missing(set(data), endpoint)
    if len({len(values) for values in columns.values()}) > 1:
        message = "The length of values for each input/column name are not the same"
        raise RequestMalformed(message)
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _of_csv(body: bytes, endpoint: Endpoint, *, partial: bool) -> Asked:
    contract = endpoint.bundle.contract
    header = body[: body.find(b"\n")]
    if header.count(b",") > endpoint.n_columns + _SPARE_COLUMNS:
        message = f"The CSV has {header.count(b',') + 1} columns; the contract has {endpoint.n_columns}."
        raise RequestTooLarge(message)
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict(zip(contract.schema.names, contract.schema.types, strict=True)),
        null_values=_NULLS, strings_can_be_null=True, quoted_strings_can_be_null=True,
        true_values=["true", "True", "TRUE"], false_values=["false", "False", "FALSE"],
    )  # fmt: skip
    read = pyarrow.csv.ReadOptions(use_threads=False, block_size=max(len(body) + 1, 1 << 16))
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    try:
        body.decode("utf-8")
        table = pyarrow.csv.read_csv(io.BytesIO(body), read, parse, convert)
    except UnicodeDecodeError:
        message = "Ensure that input is a valid UTF-8 encoded string."
        raise RequestMalformed(message) from None
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise RequestMalformed(_csv_message(str(error), header)) from None
    _name_missing(set(table.column_names), endpoint)
    if table.num_rows == 0:
        expected = f"1 to {endpoint.limits.max_rows} rows"
        raise RowsRefusedError([Fault(_ROWS, None, "row_count", expected, "no rows", "critical")], 1, 0)
    _refuse_many(table.num_rows, endpoint)
    measure_texts(table, endpoint.limits.max_body_bytes)
    try:
        conformed = endpoint.bundle.checker.conform(table, source="The CSV")
    except SchemaMismatch as error:
        raise RequestMalformed(error.message) from None
    return Asked((), at=_ROWS, table=conformed.combine_chunks(), partial=partial)


def _csv_message(found: str, header: bytes) -> str:
    """Return a sentence that names the column at fault and none of its values."""
    said = "Failed to parse input as a Pandas DataFrame. Ensure that the input is a valid CSV-formatted DataFrame."
    place, _, rest = found.partition("#")[2].partition(":")
    if not (found.startswith("In CSV column") and place.isdigit()):
        return said
    names = header.decode("utf-8", "replace").strip().split(",")
    wanted = rest.partition("conversion error to ")[2].partition(":")[0]
    name = names[int(place)].strip('"')[:80] if int(place) < len(names) else place
    return f"{said} The column {name!r} has a value that is no {wanted or 'value of its type'}."


def _name_missing(sent: set[str], endpoint: Endpoint) -> None:
    known = endpoint.bundle.contract.schema.names
    missing = [name for name in known if name not in sent]
    if missing:
        extra = sorted(name[:80] for name in sent.difference(known))[:_FAULTS_SHOWN]
        note = f" Note that there were extra inputs: {extra}." if extra else ""
        message = f"Model is missing inputs {missing}.{note}"
        raise RequestMalformed(message, missing=missing)


def _refuse_many(n_rows: int, endpoint: Endpoint) -> None:
    if n_rows > endpoint.limits.max_rows:
        message = f"The request has {n_rows} rows; at most {endpoint.limits.max_rows} are read at a time."
        raise RequestTooLarge(message, rows=n_rows, max_rows=endpoint.limits.max_rows)
