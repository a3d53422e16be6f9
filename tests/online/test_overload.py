"""Three times as many requests as a replica can answer, through a real edge, sent whether answers come or not."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twinscore.edge.config import ADMIN_SOCKET
from twinscore.edge.runtime_api import ask
from twinscore.settings import Settings

from .killing import Nursery, below
from .standing import answers, edge_of, wait_for

CONNECTIONS = 60
ROWS = 100
"""Of a request: enough for the replica to be what is short, and not the client."""


@dataclass
class Told:
    """How long the answers took from the moment at which their requests were due, by status."""

    took: dict[int, list[float]] = field(default_factory=dict)
    without_retry_after: int = 0

    def p99(self, status: int) -> float:
        """Return the 99th percentile of a status in seconds."""
        return float(np.percentile(self.took[status], 99))


async def send(port: int, body: bytes, rate: float | None, seconds: float, connections: int = CONNECTIONS) -> Told:
    """Send at a rate; None asks again on each connection as soon as it is answered."""
    told = Told()
    head = b"POST /members/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    request = head % len(body) + body
    due: deque[float] = deque()
    began = time.monotonic()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() - began < seconds or due:
            if rate is not None and not due:
                await asyncio.sleep(0.002)
                continue
            at = time.monotonic() if rate is None else due.popleft()
            writer.write(request)
            said = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(said.split(b"content-length: ")[1].split(b"\r\n")[0]))
            told.took.setdefault(int(said[9:12]), []).append(time.monotonic() - at)
            told.without_retry_after += said[9:12] == b"503" and b"retry-after: 1" not in said
        writer.close()
        await writer.wait_closed()

    async def clock() -> None:
        sent = 0
        while rate is not None and time.monotonic() - began < seconds:
            until = int((time.monotonic() - began) * rate)
            due.extend(began + number / rate for number in range(sent, until))
            sent = until
            await asyncio.sleep(0.002)

    await asyncio.gather(clock(), *[client() for _ in range(connections)])
    return told


def rss_mb(pids: list[int]) -> float:
    """Return the memory of some processes."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * 4096 / 2**20


@pytest.mark.timeout(120)
def test_what_is_too_much_is_refused_and_the_rest_is_answered_soon(binary: Any, tmp_path: Path) -> None:
    """The replica goes on as fast as it can, nothing is sent to it twice, and its answers do not come late."""
    settings = Settings(home=tmp_path, serve_port=1)
    body = json.dumps({"instances": binary.rows[:ROWS]}).encode()
    with Nursery(binary.bundle.folder, binary.bundle.digest, tmp_path) as nursery:
        pid = nursery.fork("serve")
        nursery.port_of(pid)
        with edge_of(settings) as port:
            wait_for(lambda: answers(port, binary.rows[0]), 30)
            full = asyncio.run(send(port, body, None, 3.0, 8))
            capacity = len(full.took[200]) / 3.0
            calm = asyncio.run(send(port, body, capacity / 10, 3.0))
            edge = {one: title.split("\0") for one, title in below(os.getpid()) if "/haproxy.cfg" in title}
            before = rss_mb([pid, *edge])
            over = asyncio.run(send(port, body, 3 * capacity, 5.0))
            grown = rss_mb([pid, *edge]) - before
            words = next(iter(edge.values()))
            stat = ask(Path(words[words.index("-f") + 1]).parent / ADMIN_SOCKET, "show stat -1 2 -1")
    again = sum(int(row["wretr"]) for row in csv.DictReader(io.StringIO(stat)) if row["svname"] == "BACKEND")
    n_told = sum(len(took) for took in over.took.values())
    print(
        f"capacity {capacity:.0f}/s, unloaded p99 {1000 * calm.p99(200):.1f} ms; at three times as much"
        f" {len(over.took[200]) / 5:.0f}/s answered, p99 {1000 * over.p99(200):.1f} ms, refused p99"
        f" {1000 * over.p99(503):.1f} ms, {again} sent again, grown by {grown:.0f} MB"
    )

    assert {200, 503} == over.took.keys()
    assert 0 == over.without_retry_after
    assert len(over.took[200]) / 5 > capacity / 2
    assert again < n_told / 100
    assert grown < 150
    assert over.p99(200) < 20 * calm.p99(200)  # 6 to 8 on a quiet machine; without a room at the edge, hundreds
