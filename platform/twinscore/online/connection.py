"""One HTTP/1.1 connection of the listener: bytes to calls and answers to bytes; decides nothing about a call.

Source: RFC 9112; the parser is llhttp in its strict form, which refuses what two readers could take differently.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools

from twinscore.online.answer import Answer, Refusal, as_problem, sane_request_id
from twinscore.online.call import Call

if TYPE_CHECKING:
    from twinscore.online.listener import HttpListener

__all__ = ["RETRY", "HttpConnection", "split_target"]

_MOST_HEADER_BYTES = 32 * 1024
_MOST_PIPELINED = 8
"""Further requests of one connection that are read while one is being answered."""
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus if status >= 200
}
_CLOSE = b"connection: close\r\n"
RETRY = ((b"retry-after", b"1"),)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class HttpConnection(asyncio.Protocol):
    """Reads requests of one client and answers them in order; each attribute belongs to the listener's loop."""

    __slots__ = (
        "_body",
        "_closing",
        "_header_bytes",
        "_headers",
        "_listener",
        "_parser",
        "_queue",
        "_refused",
        "_url",
        "answering",
        "reading_since",
        "transport",
        "used_at",
    )

    def __init__(self, listener: HttpListener) -> None:
        self._listener = listener
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[tuple[Call, bool]] = deque()
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._refused = False
        self._closing = False
        self.answering = False
        """Whether a call of this connection is not answered yet."""
        self.reading_since: float | None = None
        """When the first byte of an unfinished request came, by the monotonic clock."""
        self.used_at = time.monotonic()
        self.transport: Any = None

    # What the loop calls.

    def connection_made(self, transport: Any) -> None:
        """Take the transport, or turn the client away when there are too many."""
        self.transport = transport
        if not self._listener.opened(self):
            self._closing = True
            answer = as_problem(
                Refusal("overloaded", "Too many connections; try again in a moment.", extra=RETRY),
                sane_request_id(None),
            )
            self._write(answer, keep=False)
            self._listener.tally.turned_away("overloaded", answer.status)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget what was not begun; a call under way is finished and recorded, its answer is dropped."""
        del error
        self._closing = True
        self._queue.clear()
        self._listener.closed(self)

    def data_received(self, data: bytes) -> None:
        """Parse; complete requests are dispatched inside."""
        if self._closing:
            return
        if self.reading_since is None and not self.answering:
            self.reading_since = time.monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # refused when its message was complete
        except httptools.HttpParserError as error:
            if not self._closing:
                self._refuse(Refusal("bad_request", f"The request is not HTTP/1.1: {str(error)[:100]}."))

    def eof_received(self) -> bool:
        """Keep the writing half open while an answer is due."""
        return self.answering

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url = b""
        self._headers = {}
        self._header_bytes = 0
        self._body = []
        self._refused = False

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers[name.lower()] = value
        self._count(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        """Refuse a body that is stated too long before it is sent."""
        most = self._listener.gateway.limits.max_body_bytes
        stated = self._headers.get(b"content-length")
        if stated is not None and (len(stated) > 15 or int(stated) > most):
            self._refuse(Refusal("too_large", f"The body is larger than {most} bytes; send fewer rows at a time."))
        elif self._headers.get(b"expect", b"").lower() == b"100-continue" and not self.answering:
            self.transport.write(_CONTINUE)

    def on_body(self, chunk: bytes) -> None:
        """Take a piece of the body."""
        if self._closing:
            return
        self._body.append(chunk)
        if len(self._body) > 1:
            most = self._listener.gateway.limits.max_body_bytes
            self._header_bytes += len(chunk)
            if self._header_bytes > most:
                self._refuse(Refusal("too_large", f"The body is larger than {most} bytes; send fewer rows at a time."))

    def on_message_complete(self) -> None:
        """Dispatch the request, or queue it behind the one that is being answered."""
        if self._closing:
            return
        if self._parser.should_upgrade():
            self._refuse(Refusal("bad_request", "The connection cannot be upgraded."))
            return
        self.reading_since = None
        headers, body = self._headers, self._body
        sent_id = headers.get(b"x-request-id")
        path, query = self._listener.path_of(self._url)
        call = Call(
            self._parser.get_method().decode("latin-1"),
            path,
            headers,
            body[0] if len(body) == 1 else b"".join(body),
            sane_request_id(sent_id.decode("latin-1") if sent_id is not None else None),
            query,
        )
        keep = self._parser.should_keep_alive()
        if self.answering:
            if len(self._queue) >= _MOST_PIPELINED:
                self._refuse(Refusal("overloaded", f"At most {_MOST_PIPELINED} requests may wait on one connection."))
                return
            self._queue.append((call, keep))
            return
        self.answering = True
        self._listener.dispatch(self, call, keep)

    # What the listener calls.

    def answer(self, answer: Answer, *, keep: bool, head: bool) -> bool:
        """Send an answer and go on with what waits; False when the client has gone."""
        self.answering = False
        self.used_at = time.monotonic()
        if self._closing:
            return False
        self._write(answer, keep=keep, head=head)
        if self._queue and not self._closing:
            call, keep_next = self._queue.popleft()
            self.answering = True
            self._listener.dispatch(self, call, keep_next)
        return True

    def time_out(self) -> None:
        """Refuse a request that takes too long to arrive."""
        self._refuse(Refusal("timeout", "The request did not arrive in time."))

    def close(self) -> None:
        """Close without a word; an answer under way is dropped."""
        self._closing = True
        self.transport.close()

    def _count(self, n_bytes: int) -> None:
        self._header_bytes += n_bytes
        if self._header_bytes > _MOST_HEADER_BYTES and not self._closing:
            self._refuse(Refusal("header_too_large", f"The headers are larger than {_MOST_HEADER_BYTES} bytes."))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer a request that cannot be read whole; the connection cannot go on after it."""
        if self._closing:
            return
        if self.answering:  # its place is behind an answer that is not there yet
            self.close()
            return
        self._closing = True
        self._write(as_problem(refusal, sane_request_id(None)), keep=False)
        self._listener.tally.turned_away(refusal.code, refusal.status)

    def _write(self, answer: Answer, *, keep: bool, head: bool = False) -> None:
        status, headers, body = answer
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        pieces = (
            _STATUS_LINES[status],
            lines,
            self._listener.fixed_headers,
            b"\r\n" if keep else _CLOSE + b"\r\n",
            b"" if head else body,
        )
        self.transport.write(b"".join(pieces))
        if not keep:
            self._closing = True
            self.transport.close()


def split_target(url: bytes) -> tuple[str, bytes]:
    """Return path and query of a request target; an absolute form loses its host.

    >>> split_target(b"/loans/predict?x=1")
    ('/loans/predict', b'x=1')
    """
    if not url.startswith(b"/"):
        try:
            parsed = httptools.parse_url(url)
            url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
        except httptools.HttpParserInvalidURLError:
            return "", b""
    path, _, query = url.partition(b"?")
    text = path.decode("latin-1")
    return (unquote(text, errors="replace") if "%" in text else text), query
