"""The native form: one flat JSON object or `{"instances": [row, ..]}`, or an Arrow stream; problem documents.

An Arrow stream is answered by one and JSON by JSON, unless `accept` names the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from twinscore.online.answer import Answer, Predictions, Refusal, as_bytes, as_json, as_problem
from twinscore.online.asked import Asked, Outcome
from twinscore.online.call import Call
from twinscore.online.request import read_rows
from twinscore.online.wire.arrow import ARROW_STREAM, read_stream, write_stream
from twinscore.online.wire.format import wants_partial
from twinscore.online.wire.json_answer import bulk_answer

if TYPE_CHECKING:
    from twinscore.online.endpoint import Endpoint

__all__ = ["Native", "example_answer"]

_STREAM, _JSON = ARROW_STREAM.encode(), b"application/json"


class Native:
    """`POST /<model>/predict`."""

    name = "predict"

    def __init__(self, *, partial: bool = False) -> None:
        self._partial = partial

    def read(self, call: Call, endpoint: Endpoint) -> Asked:
        """Return the rows of a body; raises as `read_rows`, and as `read_stream` for an Arrow stream."""
        partial = wants_partial(call, default=self._partial)
        content_type = call.header(b"content-type")
        if content_type == ARROW_STREAM:
            return read_stream(call.body, endpoint, partial=partial)
        asked = endpoint.read(call.body, content_type, partial=partial)
        if asked is not None:
            return asked
        instances, at = read_rows(
            call.body,
            content_type,
            endpoint.limits,
            n_columns=endpoint.n_columns,
            has_instances_column=endpoint.has_instances_column,
        )
        return endpoint.ask(instances, at=at, partial=partial)

    def write(self, call: Call, endpoint: Endpoint, asked: Asked, outcome: Outcome, arm: str) -> Answer:
        """Return one prediction per row, in the order sent."""
        if _wants_stream(call):
            return write_stream(endpoint, outcome, call.request_id, arm, partial=asked.partial)
        if outcome.predictions is None and not outcome.degraded:
            bare = Predictions(call.request_id, endpoint.model, endpoint.version, arm, [])
            written = bulk_answer(bare, outcome, endpoint.key)
            if written is not None:
                return as_bytes(written, "application/json", call.request_id)
        predictions = endpoint.predictions(outcome)
        body = Predictions(call.request_id, endpoint.model, endpoint.version, arm, predictions)
        if outcome.degraded:
            body = structs.replace(body, degraded=True)
        return as_json(body, call.request_id)

    def refuse(self, refusal: Refusal, call: Call) -> Answer:
        """Return a problem document (RFC 9457)."""
        return as_problem(refusal, call.request_id)


def _wants_stream(call: Call) -> bool:
    accept = call.headers.get(b"accept", b"*/*")
    if accept == b"*/*" or (_STREAM in accept) is (_JSON in accept):
        return call.headers.get(b"content-type") == _STREAM
    return _STREAM in accept


def example_answer(endpoint: Endpoint, row: dict[str, Any]) -> Any:
    """Return an endpoint's answer to one of its own rows as JSON values, for its description."""
    native = Native()
    call = Call("POST", "/predict", {b"content-type": b"application/json"}, msgspec.json.encode(row), "example")
    asked = native.read(call, endpoint)
    return msgspec.json.decode(native.write(call, endpoint, asked, endpoint.score(asked), "live").body)
