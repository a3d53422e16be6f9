"""What one model's replica answers: path to operation, access, scoring, audit; knows no listener and no Ray.

    POST /<model>/predict                     score one row or many; the other wire formats beside it
    GET  /<model>/health/live, /health/ready  is the process up, is the model verified and its log writable
    GET  /<model>/version                     which version, which digests, which scorer
    GET  /<model>/contract                    the contract as YAML
    GET  /<model>/openapi.json, /docs         the same for programs and for people

Every listener hands it a whole `Call` and sends what it returns, once the audit record is durable.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import structlog

from twinscore.contract.document import dumps_contract
from twinscore.errors import ModelNotReady, RequestError
from twinscore.online.answer import (
    Answer,
    Refusal,
    as_json,
    as_problem,
    as_text,
    contract_refusal,
    internal_refusal,
    refusal_of,
)
from twinscore.online.asked import Asked, Outcome, RowsRefusedError
from twinscore.online.openapi import describe
from twinscore.online.page import docs_page
from twinscore.online.request import Limits
from twinscore.online.wire.native import Native

if TYPE_CHECKING:
    from twinscore.online.arms import Arms, Part
    from twinscore.online.call import Call
    from twinscore.online.endpoint import Endpoint
    from twinscore.online.wire.format import WireFormat

__all__ = ["Gateway", "Reply"]

_INLINE_BODY_BYTES = 32 * 1024
"""Bodies up to this size are answered on the event loop; larger ones in a thread, so that health answers meanwhile."""

_PAGE_POLICY = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self';"
            b" img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
)
"""The page talks to its own server and nothing else, whatever a contract may have smuggled into it."""

_RETRY = ((b"retry-after", b"1"),)
_log = structlog.get_logger("twinscore.online")


class Reply(NamedTuple):
    """An answer, and the audit record that must be durable before it leaves (None: nothing to record)."""

    answer: Answer
    record: bytes | None = None


class Gateway:
    """Answers the calls of one model; 503 until it is given a verified endpoint.

    Args:
        model: the name that the paths start with.
        endpoint: the version to answer with; may come later, and be replaced at any time, by `swap`.
        limits: what one request may ask for.
    """

    def __init__(self, model: str, endpoint: Endpoint | None = None, *, limits: Limits | None = None) -> None:
        self.model = model
        self._serving: tuple[Endpoint | None, Arms | None] = (endpoint, None)
        self.limits = limits or (endpoint.limits if endpoint is not None else Limits())
        self._formats: dict[str, WireFormat] = {"/predict": Native()}
        self._pages: dict[str, Callable[[Endpoint, str], Answer]] = {
            "/health/ready": _ready,
            "/version": _version,
            "/contract": _contract,
            "/openapi.json": _openapi,
            "/docs": _docs,
        }

    @property
    def endpoint(self) -> Endpoint | None:
        """The live version, or None until there is one."""
        return self._serving[0]

    def swap(self, endpoint: Endpoint, arms: Arms | None = None) -> None:
        """Answer with another version and other arms from the next request on: one assignment, so never a mixture."""
        self._serving = (endpoint, arms)

    def handle(self, call: Call) -> Reply | Awaitable[Reply]:
        """Answer a call; every outcome is an answer, none an exception. A large body comes back as an awaitable."""
        wire = self._formats.get(call.path)
        if wire is None:
            return Reply(self._page(call))
        if call.method != "POST":
            return Reply(_wrong_method("POST", call))
        if len(call.body) <= _INLINE_BODY_BYTES:
            return self._predict(wire, call)
        return self._in_thread(wire, call)

    def unrecorded(self, call: Call, error: Exception) -> Answer:
        """Return what is said instead of an answer whose audit record could not be made durable."""
        _log.error("audit_unavailable", request_id=call.request_id, model=self.model, error=str(error)[:300])
        refusal = Refusal("audit_unavailable", "The answer could not be recorded, so it is not given.", extra=_RETRY)
        wire = self._formats.get(call.path)
        return as_problem(refusal, call.request_id) if wire is None else wire.refuse(refusal, call)

    def _predict(self, wire: WireFormat, call: Call) -> Reply | Awaitable[Reply]:
        try:
            endpoint, arms = self._ready_to_answer()
            asked = wire.read(call, endpoint)
            if arms is not None:
                parts = arms.split(asked, call)
                if parts is not None:
                    return self._by_arms(wire, call, asked, arms, parts)
            outcome = endpoint.score(asked)
            reply = self._answered(wire, call, endpoint, asked, outcome)
            if arms is not None:
                arms.mirror(asked, outcome, call)
            return reply
        except Exception as error:  # noqa: BLE001 - the promise is an answer to every request
            return self._failed(wire, call, error)

    async def _by_arms(self, wire: WireFormat, call: Call, asked: Asked, arms: Arms, parts: Sequence[Part]) -> Reply:
        try:
            outcome = await arms.score(asked, parts)
            reply = self._answered(wire, call, arms.view(outcome), asked, outcome)
            arms.mirror(asked, outcome, call)
            return reply
        except Exception as error:  # noqa: BLE001 - the promise is an answer to every request
            return self._failed(wire, call, error)

    async def _in_thread(self, wire: WireFormat, call: Call) -> Reply:
        reply = await asyncio.to_thread(self._predict, wire, call)
        return reply if isinstance(reply, Reply) else await reply

    def _answered(self, wire: WireFormat, call: Call, endpoint: Endpoint, asked: Asked, outcome: Outcome) -> Reply:
        return Reply(wire.write(call, endpoint, asked, outcome, outcome.arm))

    def _failed(self, wire: WireFormat, call: Call, error: Exception) -> Reply:
        if isinstance(error, RequestError | ModelNotReady):
            return Reply(wire.refuse(refusal_of(error), call))
        if isinstance(error, RowsRefusedError):
            return Reply(wire.refuse(contract_refusal(error.faults, error.n_faults, error.n_rows), call))
        # Not reachable by any input we know of; the caller learns the id, the log the cause.
        _log.error(
            "predict_failed",
            request_id=call.request_id,
            model=self.model,
            version=None if self.endpoint is None else self.endpoint.version,
            trace="".join(traceback.format_exception(error)),  # plain: a pretty one prints local variables
        )
        return Reply(wire.refuse(internal_refusal(), call))

    def _page(self, call: Call) -> Answer:
        page = self._pages.get(call.path)
        if page is None and call.path != "/health/live":
            known = ", ".join([*self._formats, "/health/live", *self._pages])
            detail = f"There is nothing at this path; {self.model} has {known}."
            return as_problem(Refusal("not_found", detail), call.request_id)
        if call.method not in ("GET", "HEAD"):
            return _wrong_method("GET, HEAD", call)
        if page is None:
            return as_json({"status": "live", "model": self.model}, call.request_id)
        try:
            return page(self._ready_endpoint(), call.request_id)
        except ModelNotReady as error:
            return as_problem(refusal_of(error), call.request_id)
        except Exception:  # noqa: BLE001 - the promise is an answer to every request
            _log.error("page_failed", request_id=call.request_id, model=self.model, trace=traceback.format_exc())
            return as_problem(internal_refusal(), call.request_id)

    def _ready_endpoint(self) -> Endpoint:
        return self._ready_to_answer()[0]

    def _ready_to_answer(self) -> tuple[Endpoint, Arms | None]:
        """Return the live version and what is done beside it, as one swap put them there."""
        endpoint, arms = self._serving
        if endpoint is None:
            message = f"The model {self.model} is not loaded and verified yet; try again in a moment."
            raise ModelNotReady(message)
        return endpoint, arms


def _ready(endpoint: Endpoint, request_id: str) -> Answer:
    return as_json({"status": "ready", "model": endpoint.model, "version": endpoint.version}, request_id)


def _version(endpoint: Endpoint, request_id: str) -> Answer:
    return as_json(endpoint.facts(), request_id)


def _contract(endpoint: Endpoint, request_id: str) -> Answer:
    return as_text(dumps_contract(endpoint.bundle.contract), "application/yaml; charset=utf-8", request_id)


def _openapi(endpoint: Endpoint, request_id: str) -> Answer:
    return as_json(describe(endpoint), request_id)


def _docs(endpoint: Endpoint, request_id: str) -> Answer:
    return as_text(docs_page(endpoint), "text/html; charset=utf-8", request_id, extra=_PAGE_POLICY)


def _wrong_method(allowed: str, call: Call) -> Answer:
    extra = ((b"allow", allowed.encode()),)
    return as_problem(Refusal("method_not_allowed", f"This path takes {allowed}.", extra=extra), call.request_id)
