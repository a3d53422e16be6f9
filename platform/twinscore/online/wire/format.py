"""What a wire format is: a way to read rows out of a request and to write what became of them; knows none by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from twinscore.online.answer import Answer, Refusal
    from twinscore.online.asked import Asked, Outcome
    from twinscore.online.call import Call
    from twinscore.online.endpoint import Endpoint

__all__ = ["PARTIAL_HEADER", "WireFormat", "wants_partial"]

PARTIAL_HEADER = b"x-partial"
"""`true` scores good rows beside refused ones, else one bad row refuses all; absent means the deployment's choice."""


class WireFormat(Protocol):
    """One form of request and answer; holds no state of a request."""

    name: str
    """How the audit log calls the operation, such as `predict`."""

    def read(self, call: Call, endpoint: Endpoint) -> Asked:
        """Return the rows that a request asks for.

        Raises:
            RequestError: the body cannot be read.
            RowsRefusedError: it can, and holds no rows.
        """
        ...

    def write(self, call: Call, endpoint: Endpoint, asked: Asked, outcome: Outcome, arm: str) -> Answer:
        """Return the answer to rows that were scored by `arm`."""
        ...

    def refuse(self, refusal: Refusal, call: Call) -> Answer:
        """Return the answer to a request that got no scores."""
        ...


def wants_partial(call: Call, *, default: bool) -> bool:
    """Tell whether good rows are to be scored beside refused ones: the header's word, else the deployment's."""
    sent = call.headers.get(PARTIAL_HEADER)
    return default if sent is None else sent.lower() == b"true"
