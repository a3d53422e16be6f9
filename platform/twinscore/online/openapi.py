"""The OpenAPI 3.1 description of one endpoint, generated from its contract; knows no HTTP library.

Types, ranges and categories come from the contract's own row rules, and every example is a real row of
the bundle with the endpoint's real answer to it, so the description cannot drift from the behaviour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.online.answer import MAX_FAULTS, PROBLEMS
from twinscore.online.column_schema import column_schema
from twinscore.online.openapi_protocols import PARTIAL, protocol_paths, protocol_schemas
from twinscore.online.wire.arrow import ARROW_STREAM
from twinscore.online.wire.native import example_answer

if TYPE_CHECKING:
    from twinscore.contract.model import Contract
    from twinscore.online.endpoint import Endpoint

__all__ = ["describe"]

_OPENAPI_VERSION = "3.1.0"
_SENTENCES = {
    "bad_json": "The body is not strict JSON: syntax, NaN, numbers beyond a double, duplicate keys, encoding, nesting.",
    "bad_stream": "The body is no Arrow stream, or one with compression or extension types.",
    "too_large": "Too many bytes, rows, or characters in a string.",
    "unsupported_media_type": "The content type is neither JSON nor an Arrow stream.",
    "contract_broken": "One or more rows break the contract; nothing was scored.",
    "predict_failed": "The model is not ready, or failed to answer; try again.",
}


def describe(endpoint: Endpoint) -> dict[str, Any]:
    """Return the OpenAPI document of an endpoint as JSON values."""
    model, contract = endpoint.model, endpoint.bundle.contract
    row = endpoint.example()
    answer = example_answer(endpoint, row)
    return {
        "openapi": _OPENAPI_VERSION,
        "info": {
            "title": f"{model}: predictions",
            "version": str(endpoint.version),
            "description": f"Bundle `{endpoint.bundle.digest}`, contract `{endpoint.bundle.contract_digest}`.",
        },
        "servers": [{"url": f"/{model}"}],
        "paths": {
            "/predict": {"post": _predict_operation(endpoint, row, answer)},
            "/health/live": {"get": _get("Is the process up", "application/json")},
            "/health/ready": {"get": _get("Is the model verified and ready", "application/json", may_be_unready=True)},
            "/version": {"get": _get("Version, digests and scorer", "application/json", may_be_unready=True)},
            "/contract": {"get": _get("The contract", "application/yaml", may_be_unready=True)},
            "/metrics": {"get": _get("What this replica counted, for Prometheus", "text/plain", may_be_unready=True)},
            **protocol_paths(endpoint, row),
        },
        "components": {"schemas": _schemas(contract) | protocol_schemas()},
    }


def _predict_operation(endpoint: Endpoint, row: dict[str, Any], answer: object) -> dict[str, Any]:
    statuses: dict[str, list[str]] = {}
    for code, sentence in _SENTENCES.items():
        statuses.setdefault(str(PROBLEMS[code].status), []).append(sentence)
    refusals = {status: _problem(" ".join(sentences)) for status, sentences in statuses.items()}
    body = {"anyOf": [_ref("Row"), _ref("Rows")]}
    return {
        "operationId": "predict",
        "summary": f"Score one row or up to {endpoint.limits.max_rows} rows",
        "parameters": [
            {
                "name": "x-request-id",
                "in": "header",
                "required": False,
                "description": "Comes back in the answer. Another text than this pattern is replaced.",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
            },
            PARTIAL,
            _EXPLAIN,
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": body,
                    "examples": {"one": {"value": row}, "many": {"value": {"instances": [row]}}},
                },
                ARROW_STREAM: {"schema": _STREAM},
            },
        },
        "responses": {
            "200": {
                "description": "Every row, in the order sent; all are scored unless a partial answer was asked for.",
                "content": {
                    "application/json": {"schema": _ref("Predictions"), "example": answer},
                    ARROW_STREAM: {"schema": _STREAM},
                },
            },
            **refusals,
        },
    }


def _schemas(contract: Contract) -> dict[str, Any]:
    return {
        "Row": {
            "type": "object",
            "properties": {column.name: column_schema(column, contract) for column in contract.columns},
            "required": [column.name for column in contract.columns],
            "additionalProperties": False,
        },
        "Rows": {
            "type": "object",
            "properties": {"instances": {"type": "array", "minItems": 1, "items": _ref("Row")}},
            "required": ["instances"],
            "additionalProperties": False,
        },
        "Predictions": _PREDICTIONS,
        "Problem": _PROBLEM,
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/problem+json": {"schema": _ref("Problem")}}}


def _get(summary: str, content_type: str, *, may_be_unready: bool = False) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": summary, "content": {content_type: {}}}}
    if may_be_unready:
        responses["503"] = _problem("The model is not verified yet.")
    return {"summary": summary, "responses": responses}


def _nullable(kind: str) -> dict[str, Any]:
    return {"type": [kind, "null"]}


_STREAM = {
    "type": "string",
    "format": "binary",
    "description": "Arrow IPC stream: the contract's columns in; key columns, the fields of a score and, in a partial"
    " answer, `errors` out. It is what an Arrow request gets, and what `accept` may ask for.",
}
_FAULT = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "description": "JSON pointer of the cell, such as `/instances/3/age`"},
        "rule": {"type": "string"},
        "expected": {"type": "string"},
        "value": {"type": "string", "description": "The cell, cut at 80 characters"},
    },
}
_PROBLEM = {
    "type": "object",
    "description": "A refusal (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": list(PROBLEMS)},
        "request_id": {"type": "string"},
        "fault_count": {"type": "integer"},
        "faults": {"type": "array", "maxItems": MAX_FAULTS, "items": _FAULT},
    },
}
_EXPLAIN = {
    "name": "x-explain",
    "in": "header",
    "required": False,
    "description": "`true`, or how many features to show: rows are explained. `false`: none is. Absent: what the"
    " deployment says.",
    "schema": {"type": "string", "pattern": "^(true|false|[1-9][0-9]{0,2})$"},
}
_EXPLANATION = {
    "type": ["object", "null"],
    "description": "What each feature did to the margin: base + contributions + rest. Asked for with `x-explain`",
    "properties": {
        "base": {"type": "number"},
        "contributions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "feature": {"type": "string"},
                    "value": {"description": "As the row has it"},
                    "reference": {"description": "What is usual: a median, or the most frequent category"},
                    "contribution": {"type": "number"},
                },
            },
        },
        "rest": {"type": "number", "description": "What the features that are not listed did together"},
        "additivity_error": {"type": "number"},
    },
}
_PREDICTION = {
    "type": "object",
    "properties": {
        "row": {"type": "integer", "description": "Position in the request, from 0"},
        "key": {"type": "object", "description": "The key columns of the row"},
        "score": {
            "type": ["number", "null"],
            "description": "Probability of the positive or decided class, or the number; null for a refused row",
        },
        "decision": _nullable("string"),
        "uncertainty": {
            "type": ["object", "null"],
            "properties": {
                "value": _nullable("number"),
                "lower": _nullable("number"),
                "upper": _nullable("number"),
                "prediction_set": {"type": ["array", "null"], "items": {"type": "string"}},
            },
        },
        "review": {"type": "boolean", "description": "Whether a person should look at this row"},
        "review_reason": _nullable("string"),
        "explanation": _EXPLANATION,
        "explanation_reason": _nullable("string"),
        "errors": {"type": "array", "items": _FAULT, "description": "Why a row was refused, in a partial answer"},
        "arm": {"type": "string", "description": "Who answered the row; only where a challenger had a part"},
        "version": {"type": "string", "description": "Its version; only with an arm, or where a cheaper way answered"},
        "source": {"type": "string", "enum": ["model", "cache"]},
        "run_id": {"type": "string", "description": "Batch run of a cached score"},
        "age_s": {"type": "number", "description": "How old a cached score is"},
        "features": {"type": "object", "description": "What became of each feature that was filled in"},
        "degraded": {"type": "boolean", "description": "True where a cheaper way answered the row; else absent"},
    },
}
_PREDICTIONS = {
    "type": "object",
    "required": ["request_id", "model", "version", "arm", "predictions"],
    "properties": {
        "request_id": {"type": "string"},
        "model": {"type": "string"},
        "version": {"type": "string"},
        "arm": {"type": "string", "description": "Who answered: live, another arm, degraded, or mixed"},
        "predictions": {"type": "array", "items": _PREDICTION},
        "degraded": {"type": "boolean", "description": "True where a cheaper way answered a row; else absent"},
    },
}
