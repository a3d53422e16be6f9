"""A small real listener for tests: answers any model's paths, and says what it was sent.

As a program, `python backend.py ROSTER MODEL REPLICA PORT LIMIT DELAY_MS`, it is a replica that can be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from twinscore.adapters.roster_folder import RosterFolder
from twinscore.ports.listener_roster import RENEW_S, Listener


class Conversation(asyncio.Protocol):
    """One connection: requests in, answers out, in order."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.waiting = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.backend.open.add(self.transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget it."""
        del error
        assert self.transport is not None
        self.backend.open.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        """Take whole requests out of what has come so far."""
        self.waiting += data
        while b"\r\n\r\n" in self.waiting:
            head, _, rest = self.waiting.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = [(name, value) for name, _, value in (line.lower().partition(": ") for line in lines)]
            length = int(dict(headers).get("content-length", 0))
            if len(rest) < length:
                return
            body, self.waiting = rest[:length], rest[length:]
            method, path, _ = first.split(" ")
            if path.endswith("/health/ready"):
                self.answer(200 if self.backend.ready else 503, b"")
            elif self.backend.delay_s:
                loop = asyncio.get_running_loop()
                loop.call_later(self.backend.delay_s, self.score, method, path, headers, len(body))
            else:
                self.score(method, path, headers, len(body))

    def score(self, method: str, path: str, headers: list[tuple[str, ...]], n_bytes: int) -> None:
        """Answer a request that is no probe."""
        self.backend.answered += 1
        if self.backend.small:
            self.answer(200, b'{"ok":true}')
            return
        said = {"replica": self.backend.replica, "method": method, "path": path, "headers": headers, "bytes": n_bytes}
        self.answer(self.backend.status, json.dumps(said).encode())

    def answer(self, status: int, body: bytes) -> None:
        """Send one answer."""
        assert self.transport is not None
        if not self.transport.is_closing():
            head = f"HTTP/1.1 {status} X\r\nx-served-by: {self.backend.replica}\r\ncontent-length: {len(body)}\r\n\r\n"
            self.transport.write(head.encode() + body)


class Backend:
    """One listener and its entry in the roster."""

    def __init__(self, roster: Path, model: str, replica: str, *, limit: int = 64, delay_ms: float = 0) -> None:
        self.roster = RosterFolder(roster)
        self.model, self.replica, self.limit = model, replica, limit
        self.delay_s = delay_ms / 1000
        self.ready, self.small, self.draining = True, False, False
        self.status = 200
        self.answered = 0
        self.port = 0
        self.grpc_port: int | None = None
        self.open: set[asyncio.Transport] = set()

    async def run(self, port: int = 0) -> None:
        """Listen and renew the entry until cancelled; then drain and withdraw."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Conversation(self), "127.0.0.1", port, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        try:
            while True:
                self.announce()
                await asyncio.sleep(RENEW_S)
        finally:
            self.draining = True
            self.announce()
            await asyncio.sleep(1.0)  # the edge takes a moment to read it
            self.roster.withdraw(self.model, self.replica)
            server.close()
            for transport in list(self.open):
                transport.close()

    def announce(self) -> None:
        """Enter or renew the entry."""
        state = "draining" if self.draining else "ready"
        now = datetime.now(UTC)
        self.roster.announce(
            Listener(self.model, self.replica, "127.0.0.1", self.port, self.limit, state, now, self.grpc_port)
        )


@contextlib.contextmanager
def serving(*backends: Backend, port: int = 0) -> Iterator[None]:
    """Run backends in a thread of this process, until the block ends; `port` is for one that must be found there."""
    import threading

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    tasks = [asyncio.run_coroutine_threadsafe(backend.run(port), loop) for backend in backends]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        pending = asyncio.run_coroutine_threadsafe(_rest(backends), loop)
        pending.result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _rest(backends: tuple[Backend, ...]) -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await asyncio.gather(*others, return_exceptions=True)
    for backend in backends:
        for transport in list(backend.open):
            transport.abort()
    await asyncio.sleep(0.05)  # a transport lets go of its socket in a later turn


def main() -> None:
    """Be one replica until SIGTERM."""
    roster, model, replica, port, limit, delay_ms = sys.argv[1:7]
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    backend = Backend(Path(roster), model, replica, limit=int(limit), delay_ms=float(delay_ms))
    backend.small = True

    async def life() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await backend.run(int(port))

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(life())


if __name__ == "__main__":
    sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    main()
