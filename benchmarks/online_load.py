"""The load: wrk as fast as a server answers, a paced client at a given rate, and one check of every answer.

Not a measurement by itself; knows addresses and bodies, nothing of servers.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httptools
import numpy as np
import uvloop
from online_model import read_bodies

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPT = Path(__file__).with_name("online_peers") / "post.lua"
JSON = "application/json"
_LAST_ANSWERS_MS = 10_000
_FAILURES = ("bad_status", "connect", "read", "write", "timeout")


class Refused(Exception):
    """A server gave a wrong answer, or none."""


def answers(url: str, body: bytes, *, timeout_s: float = 5.0) -> bool:
    """Say whether a server answers this body with a 200 in time."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("POST", parts.path, body, {"Content-Type": JSON})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def check(url: str, bodies: list[bytes], scores: list[float], read: Callable[[Any], float], *, exact: bool) -> float:
    """Send every body once and hold every score against the right one; return the largest difference.

    Raises:
        Refused: a status that is not 200, or another score.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    worst = 0.0
    try:
        for number, (body, expected) in enumerate(zip(bodies, scores, strict=True)):
            connection.request("POST", parts.path, body, {"Content-Type": JSON})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                message = f"request {number}: status {answer.status}, {text[:300]!r}"
                raise Refused(message)
            worst = max(worst, abs(read(json.loads(text)) - expected))
            if worst > (0.0 if exact else 1e-6):
                message = f"request {number}: score off by {worst}, answer {text[:300]!r}"
                raise Refused(message)
    finally:
        connection.close()
    return worst


def wrk(url: str, listed: Path, connections: int, seconds: float, content_type: str = JSON) -> dict[str, Any]:
    """Load a server from some connections, each sending as soon as it has its answer; one thread of wrk.

    Returns:
        requests/s, percentiles in milliseconds, and the count of everything that was not a 2xx.
    """
    command = [
        "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s",
        "-s", str(SCRIPT), url, "--", str(listed), content_type,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        message = f"wrk failed: {done.stdout[-500:]} {done.stderr[-500:]}"
        raise Refused(message)
    found = json.loads(lines[0].removeprefix("RESULT "))
    return {
        "answered": found["requests"],
        "per_s": round(found["requests"] / found["seconds"], 1),
        **{f"{name}_ms": round(found[f"{name}_us"] / 1000, 3) for name in ("p50", "p90", "p99", "max")},
        "failed": sum(found[name] for name in _FAILURES),
    }


def paced(url: str, listed: Path, rate: float, seconds: float, connections: int = 64) -> dict[str, Any]:
    """Send at a rate, whether answers come or not; a request that waits for a connection has waited.

    Times count from the moment at which a request was due, so that a stall shows in every request that it delayed.
    """
    bodies = read_bodies(listed)
    return uvloop.run(_paced(url, bodies, rate, seconds, connections))


async def _paced(url: str, bodies: list[bytes], rate: float, seconds: float, connections: int) -> dict[str, Any]:
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {JSON}\r\nContent-Length: "
    requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
    loop = asyncio.get_running_loop()
    pace = _Pace(requests)
    for _ in range(connections):
        await loop.create_connection(lambda: _Client(pace), parts.hostname, parts.port)
    total = int(rate * seconds)
    began = time.perf_counter()
    sent = 0
    while sent < total:
        now = time.perf_counter()
        while sent < total and began + sent / rate <= now:
            pace.due(began + sent / rate)
            sent += 1
        # At least a millisecond: the loop's timer has no finer grain, and turns idly instead.
        await asyncio.sleep(max(0.001, began + sent / rate - time.perf_counter()))
    for _ in range(_LAST_ANSWERS_MS):
        if not pace.open:
            break
        await asyncio.sleep(0.001)
    pace.close()
    if not pace.took:
        message = f"{url}: none of {total} requests was answered"
        raise Refused(message)
    p50, p90, p99 = np.percentile(np.array(pace.took) * 1000, [50, 90, 99]).tolist()
    late = float(np.percentile(np.array(pace.late) * 1000, 99))
    return {
        "rate": round(rate, 1), "sent": total, "p50_ms": round(p50, 3), "p90_ms": round(p90, 3),
        "p99_ms": round(p99, 3), "sent_late_p99_ms": round(late, 3), "failed": pace.bad + pace.open,
    }  # fmt: skip


class _Pace:
    """Requests that are due, connections that are free, and the times of what was answered."""

    def __init__(self, requests: list[bytes]) -> None:
        self.took: list[float] = []
        self.late: list[float] = []
        self.bad = 0
        self.open = 0
        self._requests = requests
        self._turn = 0
        self._free: deque[_Client] = deque()
        self._waiting: deque[float] = deque()
        self._closing = False

    def due(self, at: float) -> None:
        """Send on a free connection, or keep for the next one."""
        self.open += 1
        if self._free:
            self._send(self._free.popleft(), at)
        else:
            self._waiting.append(at)

    def ready(self, client: _Client) -> None:
        """Give a connection its next request, or keep it."""
        if self._closing:
            return
        if self._waiting:
            self._send(client, self._waiting.popleft())
        else:
            self._free.append(client)

    def answered(self, client: _Client, status: int) -> None:
        """Count one answer."""
        self.open -= 1
        if 200 <= status < 300:
            self.took.append(time.perf_counter() - client.at)
        else:
            self.bad += 1
        self.ready(client)

    def lost(self, client: _Client) -> None:
        """Count a connection that a server closed; its request was not answered."""
        if client in self._free:
            self._free.remove(client)
        elif not self._closing:
            self.open -= 1
            self.bad += 1

    def close(self) -> None:
        """Close the connections that are free."""
        self._closing = True
        for client in self._free:
            client.transport.close()

    def _send(self, client: _Client, at: float) -> None:
        self._turn = (self._turn + 1) % len(self._requests)
        client.at = at
        self.late.append(time.perf_counter() - at)
        client.transport.write(self._requests[self._turn])


class _Client(asyncio.Protocol):
    """One connection with one request at a time."""

    def __init__(self, pace: _Pace) -> None:
        self.at = 0.0
        self._pace = pace
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: Any) -> None:
        """Say that this connection is free."""
        self.transport = transport
        self._pace.ready(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Say that this connection is gone."""
        self._pace.lost(self)

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the parser."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Count the answer."""
        status = self._parser.get_status_code()
        self._parser = httptools.HttpResponseParser(self)
        self._pace.answered(self, status)
