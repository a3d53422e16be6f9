"""What leaves an endpoint: a status, headers and bytes; knows no HTTP library and no model.

Refusals are problem documents (RFC 9457). They name rules and places, and at most one cell's value cut
to 80 characters per fault: never the payload, never a stack trace.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import msgspec

from twinscore.errors import (
    MediaTypeUnsupported,
    ModelNotReady,
    RequestError,
    RequestMalformed,
    RequestTooLarge,
    TwinscoreError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.contract.check import Fault

__all__ = [
    "MAX_FAULTS",
    "PROBLEMS",
    "Answer",
    "Prediction",
    "Predictions",
    "Problem",
    "Uncertainty",
    "as_json",
    "as_text",
    "contract_problem",
    "internal_problem",
    "problem",
    "refusal",
    "sane_request_id",
]

MAX_FAULTS = 100
"""Most faults listed in one problem document; `fault_count` tells how many there are."""

Headers = tuple[tuple[bytes, bytes], ...]


class Answer(NamedTuple):
    """Status, headers (lower-case names) and body; enough for any listener to send."""

    status: int
    headers: Headers
    body: bytes


class Problem(NamedTuple):
    """A kind of refusal: its stable code, status and title."""

    code: str
    status: int
    title: str


PROBLEMS: dict[str, Problem] = {
    kind.code: kind
    for kind in (
        Problem("bad_json", 400, "The body is not strict JSON"),
        Problem("not_found", 404, "There is nothing at this path"),
        Problem("method_not_allowed", 405, "The path does not take this method"),
        Problem("too_large", 413, "The request is too large"),
        Problem("unsupported_media_type", 415, "The content type is not application/json"),
        Problem("contract_broken", 422, "Rows do not fit the contract"),
        Problem("model_not_ready", 503, "The model is not ready"),
        Problem("predict_failed", 503, "The prediction failed"),
    )
}
"""Every refusal an endpoint can give, by code."""


class Uncertainty(msgspec.Struct, frozen=True):
    """How sure the model is: an interval for numbers, a prediction set for classes."""

    value: float | None
    lower: float | None
    upper: float | None
    prediction_set: list[str] | None


class Prediction(msgspec.Struct, frozen=True):
    """The answer to one row; `row` counts from 0 in the order sent."""

    row: int
    key: dict[str, Any]
    score: float
    decision: str | None
    uncertainty: Uncertainty
    review: bool
    review_reason: str | None
    explanation: None = None
    explanation_reason: str = "not_requested"


class Predictions(msgspec.Struct, frozen=True):
    """The body of a 200."""

    request_id: str
    model: str
    version: str
    arm: str
    predictions: list[Prediction]


_SHOWN_CHARS = 200  # of a path: the keys of a row are the caller's text, and a payload is never sent back
_encode = msgspec.json.Encoder().encode
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_FIXED_HEADERS: Headers = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
_STATUS_BY_ERROR: tuple[tuple[type[TwinscoreError], str], ...] = (
    (RequestMalformed, "bad_json"),
    (RequestTooLarge, "too_large"),
    (MediaTypeUnsupported, "unsupported_media_type"),
    (ModelNotReady, "model_not_ready"),
)


def sane_request_id(sent: str | None) -> str:
    """Return the caller's id when it is 1 to 128 characters of `[A-Za-z0-9._-]`, else a new one.

    >>> sane_request_id("order-17")
    'order-17'
    """
    if sent is not None and _SANE_ID.fullmatch(sent):
        return sent
    return uuid4().hex


def as_json(value: object, request_id: str, *, status: int = 200, extra: Headers = ()) -> Answer:
    """Return `value` as JSON; floats print so that they read back to the same bits."""
    return _answer(status, b"application/json", _encode(value), request_id, extra)


def as_text(text: str, content_type: str, request_id: str, *, extra: Headers = ()) -> Answer:
    """Return a text of the given content type, such as the contract or the docs page."""
    return _answer(200, content_type.encode(), text.encode(), request_id, extra)


def problem(
    code: str,
    detail: str,
    request_id: str,
    *,
    extra: Headers = (),
    **facts: Any,
) -> Answer:
    """Return the problem document of `code` with one sentence of detail and more members."""
    kind = PROBLEMS[code]
    document = {
        "type": f"urn:twinscore:problem:{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        **facts,
    }
    return _answer(kind.status, b"application/problem+json", _encode(document), request_id, extra)


def refusal(error: RequestError | ModelNotReady, request_id: str) -> Answer:
    """Return the problem document of an error that names what the caller can change."""
    code = next((code for kind, code in _STATUS_BY_ERROR if isinstance(error, kind)), "bad_json")
    facts = {name: value for name, value in error.fields.items() if name not in {"status", "code", "type"}}
    extra = ((b"retry-after", b"1"),) if code == "model_not_ready" else ()
    return problem(code, error.message, request_id, extra=extra, **facts)


def contract_problem(faults: Sequence[Fault], n_faults: int, n_rows: int, request_id: str) -> Answer:
    """Return 422 with the first `MAX_FAULTS` faults and the count of all of them."""
    listed = [
        {"path": fault.path[:_SHOWN_CHARS], "rule": fault.rule, "expected": fault.expected, "value": fault.value}
        for fault in faults[:MAX_FAULTS]
    ]
    noun = "fault" if n_faults == 1 else "faults"
    shown = "" if n_faults <= MAX_FAULTS else f" The first {MAX_FAULTS} are listed."
    detail = f"{n_faults} {noun} in {n_rows} row{'' if n_rows == 1 else 's'}; nothing was scored.{shown}"
    return problem("contract_broken", detail, request_id, fault_count=n_faults, faults=listed)


def internal_problem(request_id: str) -> Answer:
    """Return 503 without a word about the cause, which is in the log under the request id."""
    detail = "The model could not answer. The log of the endpoint tells why under this request id."
    return problem("predict_failed", detail, request_id, extra=((b"retry-after", b"1"),))


def _answer(status: int, content_type: bytes, body: bytes, request_id: str, extra: Headers) -> Answer:
    headers = (
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
        *_FIXED_HEADERS,
        *extra,
    )
    return Answer(status, headers, body)
