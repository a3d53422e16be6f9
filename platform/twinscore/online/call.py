"""One HTTP request as the gateway sees it, whichever listener read it; knows no HTTP library."""

from __future__ import annotations

import time
from collections.abc import Mapping

__all__ = ["Call"]


class Call:
    """A whole request: its body has arrived.

    Args:
        method: in capitals.
        path: without the model's own prefix, such as `/predict`.
        headers: names in lower case; of a header sent twice, the last.
        body: all of it, within the listener's limit.
        request_id: the caller's when it is sane, else a new one.
        query: what stands behind `?`, raw.
        received_ns: `time.monotonic_ns` when the body was whole.
    """

    __slots__ = ("body", "headers", "method", "path", "query", "received_ns", "request_id")

    def __init__(
        self,
        method: str,
        path: str,
        headers: Mapping[bytes, bytes],
        body: bytes,
        request_id: str,
        query: bytes = b"",
        received_ns: int | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.request_id = request_id
        self.query = query
        self.received_ns = time.monotonic_ns() if received_ns is None else received_ns

    def header(self, name: bytes) -> str | None:
        """Return a header as text, or None; bytes beyond ASCII read as Latin-1."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")
