"""The HTTP face of one endpoint as a bare ASGI application; knows paths and methods, no scoring and no Ray.

    POST /<model>/predict                     score one row or many
    GET  /<model>/health/live, /health/ready  is the process up, is the model verified
    GET  /<model>/version                     which version, which digests, which scorer
    GET  /<model>/contract                    the contract as YAML
    GET  /<model>/openapi.json, /docs         the same for programs and for people

Bare ASGI and no framework, because a framework's routing and request objects cost more than the score.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import structlog

from twinscore.contract.document import dumps_contract
from twinscore.errors import ModelNotReady, RequestTooLarge
from twinscore.online.answer import Answer, as_json, as_text, internal_problem, problem, refusal, sane_request_id
from twinscore.online.openapi import describe
from twinscore.online.page import docs_page
from twinscore.online.request import Limits, body_too_large

if TYPE_CHECKING:
    from twinscore.online.endpoint import Endpoint

__all__ = ["PredictApp"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

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

_log = structlog.get_logger("twinscore.online")


class PredictApp:
    """ASGI application of one model; answers 503 until it is given a verified endpoint.

    Args:
        model: the name that the paths start with; a `root_path` that already names it is taken off.
        endpoint: the version to answer with; may be set later through the attribute.
        echo_request_id: send the id as a header; off under Ray Serve, which appends the same header itself.
    """

    def __init__(self, model: str, endpoint: Endpoint | None = None, *, echo_request_id: bool = True) -> None:
        self.model = model
        self.echo_request_id = echo_request_id
        self.endpoint = endpoint
        self._pages: dict[str, Callable[[Endpoint, str], Answer]] = {
            "/health/ready": _ready,
            "/version": _version,
            "/contract": _contract,
            "/openapi.json": _openapi,
            "/docs": _docs,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":  # a WebSocket: refuse the handshake
            await send({"type": "websocket.close", "code": 1003})
            return
        answer = await self._answer(scope, receive)
        if answer is None:
            return
        status, headers, body = answer
        if not self.echo_request_id:
            headers = tuple([header for header in headers if header[0] != b"x-request-id"])
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer | None:
        """Return the answer, or None when the client went away before its body was whole."""
        headers = dict(scope["headers"])
        sent_id = headers.get(b"x-request-id")
        request_id = sane_request_id(sent_id.decode("latin-1") if sent_id else None)
        try:
            path = self._path(scope)
            if path == "/predict":
                if scope["method"] != "POST":
                    return _wrong_method("POST", request_id)
                return await self._predict(headers, receive, request_id)
            return self._page(path, scope["method"], request_id)
        except (RequestTooLarge, ModelNotReady) as error:
            return refusal(error, request_id)
        except Exception:  # noqa: BLE001 - the promise is an answer to every request
            _log.error("answer_failed", request_id=request_id, model=self.model, trace=traceback.format_exc())
            return internal_problem(request_id)

    async def _predict(self, headers: dict[bytes, bytes], receive: Receive, request_id: str) -> Answer | None:
        endpoint = self._ready_endpoint()
        body = await _read_body(headers, receive, endpoint.limits)
        if body is None:
            return None
        content_type = headers.get(b"content-type")
        stated = content_type.decode("latin-1") if content_type is not None else None
        if len(body) <= _INLINE_BODY_BYTES:
            return endpoint.predict(body, stated, request_id)
        return await asyncio.to_thread(endpoint.predict, body, stated, request_id)

    def _page(self, path: str, method: str, request_id: str) -> Answer:
        page = self._pages.get(path)
        if page is None and path != "/health/live":
            known = ", ".join(["/predict", "/health/live", *self._pages])
            return problem("not_found", f"There is nothing at this path; {self.model} has {known}.", request_id)
        if method not in ("GET", "HEAD"):
            return _wrong_method("GET, HEAD", request_id)
        if page is None:
            return as_json({"status": "live", "model": self.model}, request_id)
        return page(self._ready_endpoint(), request_id)

    def _path(self, scope: Scope) -> str:
        path: str = scope["path"]
        for prefix in (scope.get("root_path", ""), f"/{self.model}"):
            if prefix and (path == prefix or path.startswith(f"{prefix}/")):
                return path[len(prefix) :]
        return path

    def _ready_endpoint(self) -> Endpoint:
        if self.endpoint is None:
            message = f"The model {self.model} is not loaded and verified yet; try again in a moment."
            raise ModelNotReady(message)
        return self.endpoint


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


def _wrong_method(allowed: str, request_id: str) -> Answer:
    extra = ((b"allow", allowed.encode()),)
    return problem("method_not_allowed", f"This path takes {allowed}.", request_id, extra=extra)


async def _read_body(headers: dict[bytes, bytes], receive: Receive, limits: Limits) -> bytes | None:
    """Return the whole body, or None when the client went away.

    Raises:
        RequestTooLarge: the stated or the received length is beyond the limit; the rest is not read.
    """
    stated = headers.get(b"content-length", b"")
    if stated.isdigit() and len(stated) < 20 and int(stated) > limits.max_body_bytes:
        raise body_too_large(limits)
    chunks: list[bytes] = []
    n_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        n_bytes += len(chunk)
        if n_bytes > limits.max_body_bytes:
            raise body_too_large(limits)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
