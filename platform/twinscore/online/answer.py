"""What leaves an endpoint: a status, headers and bytes; knows no HTTP library and no model.

Refusals are problem documents (RFC 9457). They name rules and places, and at most one cell's value cut
to 80 characters per fault: never the payload, never a stack trace.
"""

from __future__ import annotations

import copyreg
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import msgspec

from twinscore.access.gate import challenge
from twinscore.contract.verdict import Fault
from twinscore.errors import (
    AccessDenied,
    AuditUnavailable,
    Forbidden,
    MediaTypeUnsupported,
    ModelNotReady,
    RequestError,
    RequestMalformed,
    RequestTooLarge,
    TwinscoreError,
)

if TYPE_CHECKING:
    from twinscore.online.asked import Outcome

__all__ = [
    "DEGRADED_HEADER",
    "MAX_FAULTS",
    "PROBLEMS",
    "Answer",
    "Prediction",
    "Predictions",
    "Problem",
    "Refusal",
    "RowError",
    "Uncertainty",
    "as_bytes",
    "as_json",
    "as_problem",
    "as_row_error",
    "as_text",
    "contract_refusal",
    "internal_refusal",
    "marked",
    "refusal_of",
    "sane_request_id",
]

DEGRADED_HEADER = b"x-degraded"
"""`true` when the cheaper way answered every row, `some` when it answered some of them; else absent."""
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


class Refusal(msgspec.Struct, frozen=True):
    """Why a request got no scores, before a wire format gives it its form.

    `faults` are critical ones, cut at `MAX_FAULTS`; `extra` are headers.
    """

    code: str
    detail: str
    facts: Mapping[str, Any] = {}
    faults: Sequence[Fault] = ()
    extra: Headers = ()

    @property
    def status(self) -> int:
        """The HTTP status."""
        return PROBLEMS[self.code].status


PROBLEMS: dict[str, Problem] = {
    kind.code: kind
    for kind in (
        Problem("bad_json", 400, "The body is not strict JSON"),
        Problem("bad_stream", 400, "The body is not an Arrow stream that is read"),
        Problem("bad_request", 400, "The request is not HTTP/1.1"),
        Problem("unauthenticated", 401, "The caller is not known"),
        Problem("forbidden", 403, "The caller may not do this"),
        Problem("not_found", 404, "There is nothing at this path"),
        Problem("method_not_allowed", 405, "The path does not take this method"),
        Problem("timeout", 408, "The request did not arrive in time"),
        Problem("too_large", 413, "The request is too large"),
        Problem("unsupported_media_type", 415, "The content type is not one that is read here"),
        Problem("contract_broken", 422, "Rows do not fit the contract"),
        Problem("header_too_large", 431, "The headers are too large"),
        Problem("model_not_ready", 503, "The model is not ready"),
        Problem("overloaded", 503, "The model is busy"),
        Problem("audit_unavailable", 503, "The answer could not be recorded"),
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


class RowError(msgspec.Struct, frozen=True):
    """Why a row was refused: one broken rule."""

    path: str
    rule: str
    expected: str
    value: str


class Prediction(msgspec.Struct):
    """The answer to one row; `row` counts from 0 in the order sent. A refused row has errors and no score.

    `arm` and `version` are there in answers in which a challenger had a part, and left out of all others.
    """

    row: int
    key: dict[str, Any]
    score: float | None
    decision: str | None
    uncertainty: Uncertainty | None
    review: bool
    review_reason: str | None
    explanation: Any = None
    explanation_reason: str | None = "not_requested"
    errors: list[RowError] = []
    arm: str | msgspec.UnsetType = msgspec.UNSET
    version: str | msgspec.UnsetType = msgspec.UNSET
    source: str | msgspec.UnsetType = msgspec.UNSET
    """`cache` or `model`; this and what follows only where the deployment has a cache."""
    run_id: str | msgspec.UnsetType = msgspec.UNSET
    """Batch run of a cached answer."""
    age_s: float | msgspec.UnsetType = msgspec.UNSET
    """How old a cached answer is."""
    features: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """What became of each feature that was looked up."""
    degraded: bool | msgspec.UnsetType = msgspec.UNSET
    """True where the cheaper way answered, and left out everywhere else."""


def _reduce_unset(_: msgspec.UnsetType) -> tuple[type[msgspec.UnsetType], tuple[()]]:
    return msgspec.UnsetType, ()


# What msgspec says itself is a bare name, which pickle looks for in every module there is: milliseconds a call of a
# challenger, whose process has thousands of modules.
copyreg.pickle(msgspec.UnsetType, _reduce_unset)


class Predictions(msgspec.Struct, frozen=True):
    """The body of a 200."""

    request_id: str
    model: str
    version: str
    arm: str
    predictions: list[Prediction]
    degraded: bool | msgspec.UnsetType = msgspec.UNSET
    """True where the cheaper way answered at least one row."""


_SHOWN_CHARS = 200  # of a path: the keys of a row are the caller's text, and a payload is never sent back
_encode = msgspec.json.Encoder().encode
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_FIXED_HEADERS: Headers = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
_STATUS_BY_ERROR: tuple[tuple[type[TwinscoreError], str], ...] = (
    (RequestMalformed, "bad_json"),
    (RequestTooLarge, "too_large"),
    (MediaTypeUnsupported, "unsupported_media_type"),
    (ModelNotReady, "model_not_ready"),
    (AuditUnavailable, "audit_unavailable"),
    (Forbidden, "forbidden"),
    (AccessDenied, "unauthenticated"),
)
_NOT_SHOWN = {"status", "code", "type", "reason", "problem"}


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


def as_bytes(body: bytes, content_type: str, request_id: str, *, status: int = 200, extra: Headers = ()) -> Answer:
    """Return a body that a wire format has written itself."""
    return _answer(status, content_type.encode(), body, request_id, extra)


def as_text(text: str, content_type: str, request_id: str, *, status: int = 200, extra: Headers = ()) -> Answer:
    """Return a text of the given content type, such as the contract or the docs page."""
    return _answer(status, content_type.encode(), text.encode(), request_id, extra)


def as_problem(refusal: Refusal, request_id: str) -> Answer:
    """Return a refusal as a problem document (RFC 9457)."""
    kind = PROBLEMS[refusal.code]
    document = {
        "type": f"urn:twinscore:problem:{refusal.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": refusal.detail,
        "code": refusal.code,
        "request_id": request_id,
        **refusal.facts,
    }
    if refusal.faults:
        document["faults"] = [as_row_error(fault) for fault in refusal.faults]
    return _answer(kind.status, b"application/problem+json", _encode(document), request_id, refusal.extra)


def refusal_of(error: RequestError | ModelNotReady | AuditUnavailable | AccessDenied) -> Refusal:
    """Return the refusal of an error that names what the caller can change, or that it should come again."""
    known = next((code for kind, code in _STATUS_BY_ERROR if isinstance(error, kind)), "bad_json")
    code = str(error.fields.get("problem", known))
    facts = {name: value for name, value in error.fields.items() if name not in _NOT_SHOWN}
    extra: Headers = ()
    if PROBLEMS[code].status == 503:
        extra = ((b"retry-after", b"1"),)
    elif isinstance(error, AccessDenied):
        extra = ((b"www-authenticate", challenge(error)),)
    return Refusal(code, error.message, facts, extra=extra)


def contract_refusal(faults: Sequence[Fault], n_faults: int, n_rows: int) -> Refusal:
    """Return the refusal of rows: the first `MAX_FAULTS` faults and the count of all of them."""
    noun = "fault" if n_faults == 1 else "faults"
    shown = "" if n_faults <= MAX_FAULTS else f" The first {MAX_FAULTS} are listed."
    detail = f"{n_faults} {noun} in {n_rows} row{'' if n_rows == 1 else 's'}; nothing was scored.{shown}"
    return Refusal("contract_broken", detail, {"fault_count": n_faults}, faults[:MAX_FAULTS])


def internal_refusal() -> Refusal:
    """Return the refusal of a failure of ours: not a word about the cause, which is in the log under the request id."""
    detail = "The model could not answer. The log of the endpoint tells why under this request id."
    return Refusal("predict_failed", detail, extra=((b"retry-after", b"1"),))


def marked(answer: Answer, outcome: Outcome) -> Answer:
    """Return an answer with the header that says that the cheaper way answered some of it, or all."""
    if not outcome.degraded:
        return answer
    value = b"some" if outcome.arm == "mixed" else b"true"
    return answer._replace(headers=(*answer.headers, (DEGRADED_HEADER, value)))


def as_row_error(fault: Fault) -> RowError:
    """Return a fault as an answer shows it."""
    return RowError(fault.path[:_SHOWN_CHARS], fault.rule, fault.expected, fault.value)


def _answer(status: int, content_type: bytes, body: bytes, request_id: str, extra: Headers) -> Answer:
    headers = (
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
        *_FIXED_HEADERS,
        *extra,
    )
    return Answer(status, headers, body)
