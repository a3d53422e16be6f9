"""A client that sends at a rate, whether answers come or not, and tells what came of each request, by status.

Not a measurement by itself. Times count from the moment at which a request was due, so that a stall, of the server or
of this client, shows in each request that it delayed.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import uvloop

if TYPE_CHECKING:
    from collections.abc import Sequence

LAST_ANSWERS_S = 15.0
BROKEN = 0
"""What a request is told whose connection ended before an answer."""


def open_loop(url: str, bodies: Sequence[bytes], rate: float, seconds: float, connections: int) -> dict[str, Any]:
    """Send bodies in turn at a rate.

    Returns:
        requests sent, by status how many and how long they took in milliseconds, and how late this client was itself.
    """
    gc.disable()  # a collection would stop the client for as long as some answers take
    try:
        return uvloop.run(_send(url, bodies, rate, seconds, connections))
    finally:
        gc.enable()


async def _send(url: str, bodies: Sequence[bytes], rate: float, seconds: float, connections: int) -> dict[str, Any]:
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\nContent-Length: "
    loop = asyncio.get_running_loop()
    pace = _Pace([f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies])
    for _ in range(connections):
        await loop.create_connection(lambda: _Client(pace, parts.hostname, parts.port), parts.hostname, parts.port)
    total, sent = int(rate * seconds), 0
    began, cpu = time.perf_counter(), time.process_time()
    while sent < total:
        due = min(total, int((time.perf_counter() - began) * rate) + 1)
        for number in range(sent, due):
            pace.due(began + number / rate)
        sent = due
        # At least a millisecond: the loop's timer has no finer grain, and turns idly instead.
        await asyncio.sleep(max(0.001, began + sent / rate - time.perf_counter()))
    took_s, cpu = time.perf_counter() - began, time.process_time() - cpu
    for _ in range(int(LAST_ANSWERS_S / 0.01)):
        if not pace.open:
            break
        await asyncio.sleep(0.01)
    pace.close()
    return {
        "rate": round(total / took_s, 1),
        "sent": total,
        "unanswered": pace.open,
        "without_retry_after": pace.unsaid,
        "client": {"late_ms": _quantiles(pace.late), "cores": round(cpu / took_s, 2)},
        "status": {
            str(status): {
                "count": len(took),
                "per_s": round(len(took) / took_s, 1),
                "ms": _quantiles([from_due for from_due, _ in took]),
                "from_sent_ms": _quantiles([from_sent for _, from_sent in took]),
            }
            for status, took in sorted(pace.took.items())
        },
    }


def _quantiles(seconds: list[float]) -> dict[str, float]:
    found = np.percentile(np.array(seconds) * 1000, [50, 90, 99, 99.9, 100]).tolist()
    return dict(zip(("p50", "p90", "p99", "p999", "max"), (round(value, 2) for value in found), strict=True))


class _Pace:
    """Requests that are due, connections that are free, and the times of what was answered."""

    def __init__(self, requests: list[bytes]) -> None:
        self.took: dict[int, list[tuple[float, float]]] = {}
        """By status, seconds since a request was due and since it was sent."""
        self.late: list[float] = []
        self.open = 0
        self.unsaid = 0
        """Answers of 503 that do not say when to come again."""
        self.closing = False
        self._requests = requests
        self._turn = 0
        self._free: list[_Client] = []
        self._waiting: deque[float] = deque()

    def due(self, at: float) -> None:
        """Send on a free connection, or keep for the next one."""
        self.open += 1
        if self._free:
            self._send(self._free.pop(), at)
        else:
            self._waiting.append(at)

    def ready(self, client: _Client) -> None:
        """Give a connection its next request, or keep it."""
        if self._waiting:
            self._send(client, self._waiting.popleft())
        else:
            self._free.append(client)

    def told(self, client: _Client, status: int) -> None:
        """Note what came of the request of a connection."""
        if client.at:
            self.open -= 1
            now = time.perf_counter()
            self.took.setdefault(status, []).append((now - client.at, now - client.sent))
            client.at = 0.0

    def lost(self, client: _Client) -> None:
        """Forget a connection."""
        if client in self._free:
            self._free.remove(client)

    def close(self) -> None:
        """Close the connections that are free."""
        self.closing = True
        for client in self._free:
            client.transport.close()

    def _send(self, client: _Client, at: float) -> None:
        self._turn = (self._turn + 1) % len(self._requests)
        client.at, client.sent = at, time.perf_counter()
        self.late.append(client.sent - at)
        client.transport.write(self._requests[self._turn])


class _Client(asyncio.Protocol):
    """One connection with one request at a time; another one is made when it ends."""

    def __init__(self, pace: _Pace, host: str | None, port: int | None) -> None:
        self.at = self.sent = 0.0
        self._pace = pace
        self._place = host, port
        self._said = b""

    def connection_made(self, transport: Any) -> None:
        """Say that this connection is free."""
        self.transport = transport
        self._pace.ready(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Count a request that nobody answered, and connect again."""
        del error
        self._pace.lost(self)
        self._pace.told(self, BROKEN)
        if not self._pace.closing:
            loop, pace, place = asyncio.get_running_loop(), self._pace, self._place
            again = loop.create_task(loop.create_connection(lambda: _Client(pace, *place), *place))
            again.add_done_callback(lambda done: done.exception())

    def data_received(self, data: bytes) -> None:
        """Take an answer once it is whole; only as much is read of it as is counted."""
        said = self._said + data if self._said else data
        head, end, body = said.partition(b"\r\n\r\n")
        lower = head.lower()
        _, stated, rest = lower.partition(b"\r\ncontent-length: ")
        if not end or (stated and len(body) < int(rest.partition(b"\r\n")[0])):
            self._said = said
            return
        self._said = b""
        status = int(said[9:12])
        if status == 503 and b"\r\nretry-after: " not in lower:
            self._pace.unsaid += 1
        self._pace.told(self, status)
        if not stated:
            self.transport.abort()  # such an answer lasts until the connection ends
        elif b"\r\nconnection: close" not in lower:
            self._pace.ready(self)
