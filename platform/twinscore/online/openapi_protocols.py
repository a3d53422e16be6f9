"""The part of the OpenAPI description about other people's protocols: MLflow's and the Open Inference Protocol.

Every example is sent through the wire format that it describes, so request and answer are real.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from twinscore.online.call import Call
from twinscore.online.wire.inference_v2 import InferenceV2, input_datatype
from twinscore.online.wire.inference_v2_pages import model_metadata
from twinscore.online.wire.mlflow import Invocations

if TYPE_CHECKING:
    from twinscore.online.endpoint import Endpoint
    from twinscore.online.wire.format import WireFormat

__all__ = ["PARTIAL", "protocol_paths", "protocol_schemas"]

PARTIAL = {
    "name": "x-partial",
    "in": "header",
    "required": False,
    "description": "`true`: rows that the contract accepts are scored, the others carry their errors. `false`: all or"
    " none. Absent: what the deployment says.",
    "schema": {"type": "string", "enum": ["true", "false"]},
}

_JSON = "application/json"
_MLFLOW = {
    "400": "The body cannot be read, or rows break the contract.",
    "413": "Too many bytes or rows.",
    "503": "The model is not ready or failed; try again.",
}
_INFER = {**_MLFLOW, "415": "The content type is not one that is read."}


def protocol_paths(endpoint: Endpoint, row: dict[str, Any]) -> dict[str, Any]:
    """Return the path items of both protocols, with `row` as the example."""
    at = f"/v2/models/{endpoint.model}"
    version = f"{at}/versions/{endpoint.version}"
    infer = _infer(endpoint, row)
    metadata = _page("Inputs and outputs of the model", model_metadata(endpoint))
    ready = _page("Is the model ready", {"name": endpoint.model, "ready": True}, unready=True)
    ping = _page("MLflow's health check", None, unready=True)
    return {
        "/invocations": {"post": _invocations(endpoint, row)},
        "/ping": {"get": ping},
        "/health": {"get": ping},
        "/v2": {"get": _page("The server", None)},
        "/v2/health/live": {"get": _page("Is the process up", {"live": True})},
        "/v2/health/ready": {"get": ready},
        at: {"get": metadata},
        version: {"get": metadata},
        f"{at}/ready": {"get": ready},
        f"{version}/ready": {"get": ready},
        f"{at}/infer": {"post": {"operationId": "infer", **infer}},
        f"{version}/infer": {"post": {"operationId": "infer_version", **infer}},
    }


def protocol_schemas() -> dict[str, Any]:
    """Return the schemas that the paths refer to."""
    return {"MlflowError": _MLFLOW_ERROR, "Invocation": _INVOCATION, "InferenceError": _INFERENCE_ERROR,
            "InferenceRequest": _INFERENCE_REQUEST, "InferenceResponse": _INFERENCE_RESPONSE}  # fmt: skip


def _invocations(endpoint: Endpoint, row: dict[str, Any]) -> dict[str, Any]:
    names = list(row)
    forms: dict[str, dict[str, Any]] = {
        "dataframe_records": {"dataframe_records": [row]},
        "dataframe_split": {"dataframe_split": {"columns": names, "data": [list(row.values())]}},
        "inputs": {"inputs": {name: [value] for name, value in row.items()}},
        "instances": {"instances": [row]},
    }
    answer = _answer(Invocations(), endpoint, "/invocations", forms["dataframe_records"])
    text = {"schema": {"type": "string"}}
    return {
        "operationId": "invocations",
        "summary": "Score rows in MLflow's forms; columns that the contract does not have are left out",
        "parameters": [PARTIAL],
        "requestBody": {
            "required": True,
            "content": {
                _JSON: {
                    "schema": _ref("Invocation"),
                    "examples": {name: {"value": value} for name, value in forms.items()},
                },
                "text/csv": text,
                "application/csv": text,
            },
        },
        "responses": {
            "200": {
                "description": "Per row what a scored row says; `refused` names the broken rules of a partial answer.",
                "content": {_JSON: {"schema": _PREDICTIONS, "example": answer}},
            },
            "415": {
                "description": "The content type is not one that is read.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **_refusals(_MLFLOW, "MlflowError"),
        },
    }


def _infer(endpoint: Endpoint, row: dict[str, Any]) -> dict[str, Any]:
    contract = endpoint.bundle.contract
    inputs = [{"name": name, "shape": [1], "datatype": input_datatype(name, contract), "data": [value]}
              for name, value in row.items()]  # fmt: skip
    request = {"id": "example", "inputs": inputs}
    return {
        "summary": "Open Inference Protocol: one input per column, one output per field of a score",
        "parameters": [PARTIAL],
        "requestBody": {
            "required": True,
            "content": {_JSON: {"schema": _ref("InferenceRequest"), "example": request}},
        },
        "responses": {
            "200": {
                "description": "The outputs; as bytes behind the JSON where `binary_data` asked for them.",
                "content": {
                    _JSON: {
                        "schema": _ref("InferenceResponse"),
                        "example": _answer(InferenceV2(), endpoint, "/infer", request),
                    },
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                },
            },
            **_refusals(_INFER, "InferenceError"),
        },
    }


def _answer(wire: WireFormat, endpoint: Endpoint, path: str, request: object) -> Any:
    call = Call("POST", path, {b"content-type": b"application/json"}, msgspec.json.encode(request), "example")
    asked = wire.read(call, endpoint)
    return msgspec.json.decode(wire.write(call, endpoint, asked, endpoint.score(asked), "live").body)


def _refusals(sentences: dict[str, str], schema: str) -> dict[str, Any]:
    content = {_JSON: {"schema": _ref(schema)}}
    return {status: {"description": sentence, "content": content} for status, sentence in sentences.items()}


def _page(summary: str, example: Any, *, unready: bool = False) -> dict[str, Any]:
    content = {_JSON: {} if example is None else {"example": example}}
    responses: dict[str, Any] = {"200": {"description": summary, "content": content}}
    if unready:
        responses["503"] = {"description": "The model is not verified yet."}
    return {"summary": summary, "responses": responses}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_MLFLOW_ERROR = {
    "type": "object",
    "required": ["error_code", "message"],
    "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
}
_RECORDS = {"type": "array", "minItems": 1, "items": {"type": "object"}}
_SPLIT = {
    "type": "object",
    "required": ["columns", "data"],
    "properties": {
        "columns": {"type": "array", "items": {"type": "string"}},
        "data": {"type": "array", "items": {"type": "array"}},
        "index": {"type": "array"},
    },
    "additionalProperties": False,
}
_INVOCATION = {
    "type": "object",
    "description": "Exactly one of the four forms; `params` are not used, as by any model of twinscore under MLflow.",
    "properties": {
        "dataframe_records": _RECORDS,
        "dataframe_split": _SPLIT,
        "inputs": {"anyOf": [{"type": "object"}, _RECORDS]},
        "instances": _RECORDS,
        "params": {"type": "object"},
    },
    "oneOf": [
        {"required": [name]} for name in ("dataframe_records", "dataframe_split", "inputs", "instances")
    ],
}  # fmt: skip
_PREDICTIONS = {
    "type": "object",
    "required": ["predictions"],
    "properties": {"predictions": {"type": "array", "items": {"type": "object"}}},
}
_INFERENCE_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_SHAPE = {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer", "minimum": 0}}
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {**_SHAPE, "description": "[n] or [n, 1]"},
        "datatype": {"type": "string"},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    },
}
_INFERENCE_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object", "properties": {"partial": {"type": "boolean"}}},
        "inputs": {"type": "array", "minItems": 1, "items": _TENSOR},
        "outputs": {
            "type": "array",
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
        },
    },
}
_INFERENCE_RESPONSE = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "outputs": {"type": "array", "items": _TENSOR},
    },
}
