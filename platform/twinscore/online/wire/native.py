"""The native form: one flat JSON object, or `{"instances": [row, ..]}`; problem documents for refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from twinscore.online.answer import Answer, Predictions, Refusal, as_json, as_problem
from twinscore.online.asked import Asked, Outcome
from twinscore.online.call import Call
from twinscore.online.request import read_rows

if TYPE_CHECKING:
    from twinscore.online.endpoint import Endpoint

__all__ = ["Native", "example_answer"]

PARTIAL_HEADER = b"x-partial"
"""`true` scores good rows beside refused ones, else one bad row refuses all; absent means the deployment's choice."""


class Native:
    """`POST /<model>/predict`."""

    name = "predict"

    def __init__(self, *, partial: bool = False) -> None:
        self._partial = partial

    def read(self, call: Call, endpoint: Endpoint) -> Asked:
        """Return the rows of a body, decoded by the contract; raises as `read_rows`."""
        instances, at = read_rows(
            call.body,
            call.header(b"content-type"),
            endpoint.limits,
            n_columns=endpoint.n_columns,
            has_instances_column=endpoint.has_instances_column,
        )
        rows, faults = endpoint.decode(instances, at=at)
        return Asked(rows, faults, at, partial=self._wants_partial(call))

    def write(self, call: Call, endpoint: Endpoint, asked: Asked, outcome: Outcome, arm: str) -> Answer:
        """Return one prediction per row, in the order sent."""
        del asked
        predictions = endpoint.predictions(outcome)
        body = Predictions(call.request_id, endpoint.model, endpoint.version, arm, predictions)
        return as_json(body, call.request_id)

    def _wants_partial(self, call: Call) -> bool:
        said = call.headers.get(PARTIAL_HEADER)
        return self._partial if said is None else said == b"true"

    def refuse(self, refusal: Refusal, call: Call) -> Answer:
        """Return a problem document (RFC 9457)."""
        return as_problem(refusal, call.request_id)


def example_answer(endpoint: Endpoint, row: dict[str, Any]) -> Any:
    """Return an endpoint's answer to one of its own rows as JSON values, for its description."""
    native = Native()
    call = Call("POST", "/predict", {b"content-type": b"application/json"}, msgspec.json.encode(row), "example")
    asked = native.read(call, endpoint)
    return msgspec.json.decode(native.write(call, endpoint, asked, endpoint.score(asked), "live").body)
