"""Open Inference Protocol v2 over HTTP: one input per column, one output per field of a score; knows no model.

    POST /<model>/v2/models/<model>[/versions/<version>]/infer

Source: Open Inference Protocol v2 REST, and MLServer's `pd` content type for tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinscore.contract.verdict import Fault, pointer
from twinscore.errors import MediaTypeUnsupported, RequestMalformed, RequestTooLarge
from twinscore.online import strict_json
from twinscore.online.answer import Answer, Refusal, as_bytes, as_json
from twinscore.online.asked import Asked, Outcome, RowsRefusedError
from twinscore.online.request import body_too_large
from twinscore.online.scored import DEGRADED, columns_of, degraded_rows, errors_of
from twinscore.online.wire.format import wants_partial
from twinscore.online.wire.tensors import DATATYPES, binary_of, cells_in, json_of

if TYPE_CHECKING:
    from twinscore.contract.model import Contract
    from twinscore.online.call import Call
    from twinscore.online.endpoint import Endpoint

__all__ = ["InferenceV2", "input_datatype", "outputs_of", "plain_path"]

_LENGTH_HEADER = b"inference-header-content-length"
_MEDIA = ("application/json", "application/octet-stream")
_ROWS = "/rows"
_FAULTS_SHOWN = 20
_WHOLE = frozenset(name for name in DATATYPES if "INT" in name)
_REAL = frozenset(name for name in DATATYPES if name.startswith("FP"))
_OUTPUTS = {
    "score": "FP64",
    "decision": "BYTES",
    "lower": "FP64",
    "upper": "FP64",
    "prediction_set": "BYTES",
    "uncertainty": "FP64",
    "review": "BOOL",
    "review_reason": "BYTES",
}
_OF_CLASSES, _OF_NUMBERS = {"decision", "prediction_set"}, {"lower", "upper"}
_ERRORS = "errors"


class InferenceV2:
    """`infer` of the Open Inference Protocol."""

    name = "infer"

    def __init__(self, *, partial: bool = False) -> None:
        self._partial = partial

    def read(self, call: Call, endpoint: Endpoint) -> Asked:
        """Return the rows that the inputs are columns of.

        Raises:
            MediaTypeUnsupported, RequestMalformed, RequestTooLarge: the body is no inference request.
            RowsRefusedError: a datatype does not fit its column, or there are no rows.
        """
        request, raw = _parts(call, endpoint)
        inputs = request.get("inputs")
        if not isinstance(inputs, list) or not inputs:
            message = "The request has no inputs; send one per column, each with name, shape, datatype and data."
            raise RequestMalformed(message)
        if len(inputs) > endpoint.n_columns + 1_000:
            message = f"The request has {len(inputs)} inputs; the contract has {endpoint.n_columns} columns."
            raise RequestTooLarge(message, inputs=len(inputs))
        columns, n_rows = _columns(inputs, raw, endpoint)
        parameters = request.get("parameters")
        asks = isinstance(parameters, dict) and parameters.get("partial") is True
        partial = asks or wants_partial(call, default=self._partial)
        names_none = not request.get("outputs")
        known = outputs_of(endpoint, partial=partial)
        wanted = _wanted(request, known if names_none else {**known, DEGRADED: "BOOL"})
        extra = (request.get("id"), wanted, names_none)
        if n_rows > endpoint.row_wise_max:
            table = endpoint.columns.table_of_columns(columns)
            if table is not None:
                return Asked((), at=_ROWS, table=table, partial=partial, extra=extra)
        names = list(columns)
        rows = [dict(zip(names, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
        return endpoint.ask(rows, at=_ROWS, partial=partial, extra=extra)

    def write(self, call: Call, endpoint: Endpoint, asked: Asked, outcome: Outcome, arm: str) -> Answer:
        """Return the outputs that were asked for, as JSON or as bytes behind it."""
        sent_id, wanted, names_none = asked.extra
        cells: dict[str, list[Any]] = columns_of(outcome)
        if _ERRORS in wanted:
            cells[_ERRORS] = list(errors_of(outcome))
        if outcome.degraded and names_none:
            wanted = {**wanted, DEGRADED: False}
        if DEGRADED in wanted:
            cells[DEGRADED] = degraded_rows(outcome)
        datatypes = {**outputs_of(endpoint, partial=asked.partial), DEGRADED: "BOOL"}
        outputs, blobs = [], []
        for name, binary in wanted.items():
            datatype, values = datatypes[name], cells[name]
            output: dict[str, Any] = {"name": name, "shape": [len(values)], "datatype": datatype}
            if binary:
                blobs.append(binary_of(values, datatype))
                output["parameters"] = {"binary_data_size": len(blobs[-1])}
            else:
                output["data"] = json_of(values, datatype)
            outputs.append(output)
        body: dict[str, Any] = {"model_name": endpoint.model, "model_version": str(endpoint.version)}
        if sent_id is not None:
            body["id"] = sent_id
        parameters: dict[str, Any] = {"arm": arm, "request_id": call.request_id}
        if outcome.degraded:
            parameters[DEGRADED] = True
        body |= {"parameters": parameters, "outputs": outputs}
        answer = as_json(body, call.request_id)
        if not blobs:
            return answer
        extra = ((_LENGTH_HEADER, b"%d" % len(answer.body)),)
        return as_bytes(answer.body + b"".join(blobs), _MEDIA[1], call.request_id, extra=extra)

    def refuse(self, refusal: Refusal, call: Call) -> Answer:
        """Return `{"error": text}`; rows that break the contract are a bad request here, not a 422."""
        faults = [f"{fault.path}: {fault.rule}, expected {fault.expected}, got {fault.value}"
                  for fault in refusal.faults[:_FAULTS_SHOWN]]  # fmt: skip
        text = " ".join([refusal.detail, "; ".join(faults)]).strip()
        status = 400 if refusal.code == "contract_broken" else refusal.status
        return as_json({"error": text}, call.request_id, status=status, extra=refusal.extra)


def plain_path(path: str, endpoint: Endpoint | None) -> str:
    """Return a path without `/versions/<version>` when that is the version served; others stay, and are not found.

    >>> plain_path("/v2/health/live", None)
    '/v2/health/live'
    """
    head, found, rest = path.partition("/versions/")
    if not found or endpoint is None:
        return path
    version, slash, operation = rest.partition("/")
    return head + slash + operation if version == str(endpoint.version) else path


def outputs_of(endpoint: Endpoint, *, partial: bool = False) -> dict[str, str]:
    """Return the outputs that a model has, each with its datatype."""
    never = _OF_CLASSES if endpoint.bundle.card.task == "regression" else _OF_NUMBERS
    found = {name: datatype for name, datatype in _OUTPUTS.items() if name not in never}
    return found | {_ERRORS: "BYTES"} if partial else found


def input_datatype(name: str, contract: Contract) -> str:
    """Return the datatype that a column is described with."""
    kind = contract.schema.field(name).type
    if pa.types.is_boolean(kind):
        return "BOOL"
    if pa.types.is_integer(kind):
        return "INT64"
    return "FP64" if pa.types.is_floating(kind) else "BYTES"


def _parts(call: Call, endpoint: Endpoint) -> tuple[dict[str, Any], bytes]:
    """Return the JSON part of a body and the bytes behind it."""
    media = (call.header(b"content-type") or _MEDIA[0]).partition(";")[0].strip().lower()
    if media not in _MEDIA or b"content-encoding" in call.headers:
        message = f"The content type is not one that is read; send {_MEDIA[0]}, or {_MEDIA[1]} with binary data."
        raise MediaTypeUnsupported(message, expected=_MEDIA[0])
    if len(call.body) > endpoint.limits.max_body_bytes:
        raise body_too_large(endpoint.limits)
    length = call.headers.get(_LENGTH_HEADER)
    n_json = len(call.body)
    if length is not None:
        n_json = int(length) if length.isdigit() and len(length) < 12 else -1
        if not 0 < n_json <= len(call.body):
            message = "The header inference-header-content-length is not the length of the JSON part of the body."
            raise RequestMalformed(message)
    request = strict_json.decode(call.body[:n_json])
    if not isinstance(request, dict):
        message = "The body is not a JSON object with inputs."
        raise RequestMalformed(message)
    sent_id = request.get("id")
    if sent_id is not None and not isinstance(sent_id, str):
        message = "The id is not a string."
        raise RequestMalformed(message)
    return request, call.body[n_json:]


def _columns(inputs: list[Any], raw: bytes, endpoint: Endpoint) -> tuple[dict[str, list[Any]], int]:
    """Return the cells of each input by its name, and how many each has."""
    contract = endpoint.bundle.contract
    columns: dict[str, list[Any]] = {}
    faults: list[Fault] = []
    n_rows: int | None = None
    place = 0
    for sent in inputs:
        name, datatype, rows = _head(sent)
        if name in columns:
            message = f"The input {name[:80]!r} is there twice."
            raise RequestMalformed(message)
        if n_rows is None:
            n_rows = rows
        elif rows != n_rows:
            message = f"The input {name[:80]!r} has {rows} rows, another has {n_rows}."
            raise RequestMalformed(message)
        if rows > endpoint.limits.max_rows:
            message = f"The request has {rows} rows; at most {endpoint.limits.max_rows} are read at a time."
            raise RequestTooLarge(message, rows=rows, max_rows=endpoint.limits.max_rows)
        size = _binary_size(sent, name, len(raw) - place)
        cut = None if size is None else raw[place : place + size]
        place += size or 0
        columns[name] = cells_in(name[:80], datatype, rows, sent.get("data"), cut)
        if name in contract.schema.names and datatype not in _taken(name, contract):
            expected = f"datatype {input_datatype(name, contract)}"
            faults.append(Fault(pointer("/inputs", name), name, "type", expected, datatype, "critical"))
    if place != len(raw):
        message = f"{len(raw) - place} bytes behind the JSON belong to no input; state binary_data_size for each."
        raise RequestMalformed(message)
    assert n_rows is not None
    if faults:
        raise RowsRefusedError(faults, len(faults), n_rows)
    if n_rows == 0:
        expected = f"1 to {endpoint.limits.max_rows} rows"
        raise RowsRefusedError([Fault("/inputs", None, "row_count", expected, "no rows", "critical")], 1, 0)
    return columns, n_rows


def _head(sent: object) -> tuple[str, str, int]:
    """Return name, datatype and rows of an input."""
    if not isinstance(sent, dict) or not isinstance(sent.get("name"), str):
        message = "An input is not an object with a name."
        raise RequestMalformed(message)
    name = sent["name"]
    datatype, shape = sent.get("datatype"), sent.get("shape")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        message = f"The datatype of the input {name[:80]!r} is not one of {', '.join(DATATYPES)}."
        raise RequestMalformed(message)
    sizes: list[Any] = shape if isinstance(shape, list) and all(type(size) is int for size in shape) else []
    if not sizes or sizes[0] < 0 or sizes[1:] not in ([], [1]):
        message = f"The shape of the input {name[:80]!r} is not [n] or [n, 1]."
        raise RequestMalformed(message)
    return name, datatype, sizes[0]


def _binary_size(sent: dict[str, Any], name: str, left: int) -> int | None:
    parameters = sent.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return None
    if type(size) is not int or not 0 <= size <= left:
        message = f"The input {name[:80]!r} states a binary_data_size that the body does not hold."
        raise RequestMalformed(message)
    return size


def _taken(name: str, contract: Contract) -> frozenset[str]:
    described = input_datatype(name, contract)
    if described == "FP64":
        return _REAL | _WHOLE
    return _WHOLE if described == "INT64" else frozenset({described})


def _wanted(request: dict[str, Any], known: dict[str, str]) -> dict[str, bool]:
    """Return the names of the outputs that are asked for, each with whether it goes as bytes."""
    parameters = request.get("parameters")
    binary = isinstance(parameters, dict) and parameters.get("binary_data_output") is True
    asked = request.get("outputs")
    if not asked:
        return dict.fromkeys(known, binary)
    wanted: dict[str, bool] = {}
    for output in asked if isinstance(asked, list) else [asked]:
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in known:
            message = f"An output that is asked for is not one of {', '.join(known)}."
            raise RequestMalformed(message)
        own = output.get("parameters")
        wanted[name] = bool(own.get("binary_data", binary)) if isinstance(own, dict) else binary
    return wanted
