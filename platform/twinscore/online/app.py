"""The gateway as a bare ASGI application: what Ray Serve's own ingress calls; knows bytes and headers only.

Bare ASGI and no framework, because a framework's routing and request objects cost more than the score. It is the
backup path: most requests come through `listener`, which needs no Serve between the socket and the gateway.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from twinscore.errors import RequestTooLarge
from twinscore.online.answer import Answer, as_problem, refusal_of, sane_request_id
from twinscore.online.call import Call
from twinscore.online.gateway import Reply
from twinscore.online.reply_gate import Commit, ReplyGate
from twinscore.online.request import Limits, body_too_large

if TYPE_CHECKING:
    from twinscore.online.gateway import Gateway

__all__ = ["GatewayApp"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class GatewayApp:
    """ASGI application of one model.

    Args:
        gateway: answers.
        commit: makes audit records durable before their answers leave; None where nothing is recorded.
        echo_request_id: send the id as a header; off under Ray Serve, which appends the same header itself.

    A `root_path` that already names the model is taken off the path.
    """

    def __init__(self, gateway: Gateway, *, commit: Commit | None = None, echo_request_id: bool = True) -> None:
        self.gateway = gateway
        self.echo_request_id = echo_request_id
        self._commit = commit
        self._gate: ReplyGate | None = None
        self._tally = gateway.metrics.tally()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":  # a WebSocket: refuse the handshake
            await send({"type": "websocket.close", "code": 1003})
            return
        call = await _read_call(scope, receive, self.gateway)
        if call is None:  # the client went away
            return
        status, headers, body = await self.answer(call)
        if not self.echo_request_id:
            headers = tuple([header for header in headers if header[0] != b"x-request-id"])
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def answer(self, call: Call | Answer) -> Answer:
        """Return the answer once its record is durable, or the one that says that it could not be made so."""
        if isinstance(call, Answer):
            self._tally.turned_away("too_large", call.status)
            return call
        found = self.gateway.handle(call)
        reply = found if isinstance(found, Reply) else await found
        answer, records, noted = reply
        if not records or self._commit is None:
            self._tally.left(noted, answer.status, time.monotonic_ns() - call.received_ns)
            return answer
        if self._gate is None:  # belongs to the loop that the requests come on
            self._gate = ReplyGate(self._commit, asyncio.get_running_loop())
        held_ns = time.monotonic_ns()
        try:
            await self._gate.durable(records)
            self._tally.recorded(answer.status, time.monotonic_ns() - held_ns, gone=False)
        except Exception as error:  # noqa: BLE001 - the promise is an answer to every request
            answer, noted = self.gateway.unrecorded(call, error), noted.unrecorded()
        self._tally.left(noted, answer.status, time.monotonic_ns() - call.received_ns)
        return answer


async def _read_call(scope: Scope, receive: Receive, gateway: Gateway) -> Call | Answer | None:
    """Return the call, the refusal of one that is too large, or None when the client went away."""
    headers = dict(scope["headers"])
    sent_id = headers.get(b"x-request-id")
    request_id = sane_request_id(sent_id.decode("latin-1") if sent_id else None)
    try:
        body = await _read_body(headers, receive, gateway.limits)
    except RequestTooLarge as error:
        return as_problem(refusal_of(error), request_id)
    if body is None:
        return None
    path: str = scope["path"]
    for prefix in (scope.get("root_path", ""), f"/{gateway.model}"):
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            path = path[len(prefix) :]
            break
    return Call(scope["method"], path, headers, body, request_id, scope.get("query_string", b""))


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
