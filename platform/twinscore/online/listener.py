"""A lean HTTP/1.1 listener on uvloop and httptools, in a thread of its own; knows sockets, and no model.

Serve's own ingress wrapper costs several times the work itself, so the replica listens by itself and Serve keeps
placement, health, restarts and updates. The edge in front normalises requests; still everything a client can send
straight to this port is bounded here: header and body bytes, connections, requests waiting, and the time for each.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import uvloop

from twinscore.online.answer import Refusal, as_problem
from twinscore.online.connection import RETRY, HttpConnection, split_target
from twinscore.online.gateway import Reply
from twinscore.online.load import FIRST_ROOM, Load, Turn, most_waiting
from twinscore.online.metrics import NOTHING
from twinscore.online.reply_gate import ReplyGate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from twinscore.online.answer import Answer
    from twinscore.online.call import Call
    from twinscore.online.gateway import Gateway
    from twinscore.online.metrics import Noted
    from twinscore.online.reply_gate import Commit, Log

__all__ = ["HttpListener", "ListenerLimits"]

_SWEEP_S = 1.0
_START_S = 10.0
_BACKLOG = 1024
_SLOW_S = 0.1
"""A request that has not arrived after this time waits for its client."""
_MOST_TOGETHER = 16
_TOGETHER_NS = 1_000_000
"""Calls that come together are answered side by side, as many as take about so long."""
_MOST_KNOWN = 64
"""Request targets whose split is remembered; a client may send endless others."""


Arrival = tuple[HttpConnection, "Call", bool]
"""A call, where it came from, and whether its connection stays open."""


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """Bounds of one listener."""

    max_connections: int = 1024
    max_waiting: int = 512
    """Calls that wait for their answer at a time; more are answered 503 at once."""
    max_wait_s: float = 0.04
    """Time that a request may wait to be read, and again for its record; under load later ones are answered 503."""
    read_timeout_s: float = 10.0
    """For a request to arrive, from its first byte to its last."""
    idle_timeout_s: float = 120.0


class HttpListener:
    """Listens in a thread of its own until it is closed.

    Args:
        gateway: answers the calls.
        host: address to bind.
        port: port to bind; 0 takes a free one.
        commit: makes audit records durable; None where nothing is recorded.
        log: what `commit` writes to, where the loop may append by itself.
        served_by: the replica's name, sent as `x-served-by`, so that an edge can tell our answers from Serve's.
        limits: connections, waiting calls and timeouts.
        load: what its counts are kept in, by whoever commits, too.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        commit: Commit | None = None,
        log: Log | None = None,
        served_by: str = "",
        limits: ListenerLimits | None = None,
        load: Load | None = None,
    ) -> None:
        self.gateway = gateway
        self.limits = limits or ListenerLimits()
        self.waiting = 0
        """Calls that are not answered yet."""
        self.load = load or Load()
        """What was answered in the last seconds."""
        self.room = min(FIRST_ROOM, self.limits.max_waiting)
        """How many requests the edge should send at a time."""
        self.fixed_headers = b""
        self.tally = gateway.metrics.tally()
        self.loop_lag_s = 0.0
        """How much later than asked for the loop came to the last sweep."""
        self._commit, self._log = commit, log
        self._gate: ReplyGate | None = None
        self._served_by = f"x-served-by: {served_by}\r\n".encode() if served_by else b""
        self._connections: set[HttpConnection] = set()
        self._known: dict[bytes, tuple[str, bytes]] = {}
        self._draining = False
        self._arrived: list[Arrival] = []
        """Calls that are not begun, or being begun."""
        self._each_ns = float(_TOGETHER_NS)
        self._together = 1
        self._beside = 0
        self._fits = self.room
        self._turn: Turn
        self._most_waiting = self.limits.max_waiting
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Any = None  # uvloop's own class
        started: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=(host, port, started), name="listener", daemon=True)
        self._thread.start()
        self.host = host
        self.port = started.result(_START_S)

    @property
    def alive(self) -> bool:
        """Whether the thread still listens."""
        return self._thread.is_alive()

    def drain(self, timeout_s: float) -> bool:
        """Stop accepting, answer what was begun, and return whether everything was answered in time."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._stop_accepting(), self._loop).result(timeout_s + 1)
        deadline = time.monotonic() + timeout_s
        while self._busy and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self._busy

    def close(self) -> None:
        """End the thread; connections are closed."""
        loop = self._loop
        if loop is not None and self._thread.is_alive():
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(_START_S)

    @property
    def _busy(self) -> bool:
        return bool(self._arrived or self.waiting)

    # What a connection calls, on the loop.

    def opened(self, connection: HttpConnection) -> bool:
        """Count a connection in; False when there are too many."""
        if len(self._connections) >= self.limits.max_connections or self._draining:
            return False
        self._connections.add(connection)
        return True

    def closed(self, connection: HttpConnection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)

    def path_of(self, url: bytes) -> tuple[str, bytes]:
        """Return the path without the model's prefix, and the query."""
        found = self._known.get(url)
        if found is None:
            path, query = split_target(url)
            prefix = f"/{self.gateway.model}"
            if path == prefix or path.startswith(f"{prefix}/"):
                path = path[len(prefix) :]
            found = path, query
            if len(self._known) < _MOST_KNOWN and len(url) < 256:
                self._known[url] = found
        return found

    def dispatch(self, connection: HttpConnection, call: Call, keep: bool) -> None:
        """Answer a call when all that has arrived with it was read: side by side, and their records are one batch."""
        assert self._loop is not None
        self._arrived.append((connection, call, keep))
        if len(self._arrived) == 1:
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Answer what has arrived; what comes up meanwhile, on a connection that was answered, is for the next turn."""
        assert self._loop is not None
        n_arrived = len(self._arrived)
        begun = 0
        try:
            while begun < n_arrived:
                some = self._arrived[begun : min(begun + self._together, n_arrived)]
                begun += len(some)
                self._answer_some(some)
        finally:  # whatever went wrong with some, the others are answered
            del self._arrived[:begun]
            if self._arrived:
                self._loop.call_soon(self._begin)

    def _answer_some(self, some: Sequence[Arrival]) -> None:
        """Answer calls now, or once their records are durable, or once their threads are done."""
        began_ns = time.monotonic_ns()
        late = self._turn.too_late(began_ns)
        room = self._most_waiting - self.waiting
        taken: list[Arrival] = []
        for connection, call, keep in some:
            held = 0 if self._gate is None else len(taken)  # without records none of them waits
            if call.method == "POST" and (late or held >= room):
                self.load.shed += 1
                refusal = Refusal("overloaded", "Too many requests wait; try again in a moment.", extra=RETRY)
                noted = NOTHING._replace(code=refusal.code)
                self._answer(connection, call, as_problem(refusal, call.request_id), noted, keep and not self._draining)
            else:
                taken.append((connection, call, keep))
        if not taken:
            return
        replies = self.gateway.handle_all([call for _, call, _ in taken])
        took_ns = time.monotonic_ns() - began_ns
        self.load.handled_ns += took_ns
        self._each_ns += (took_ns / len(taken) - self._each_ns) / 8
        self._together = max(1, min(_MOST_TOGETHER, int(_TOGETHER_NS / self._each_ns)))
        for (connection, call, keep), reply in zip(taken, replies, strict=True):
            self._take(connection, call, reply, keep and not self._draining)

    def _take(self, connection: HttpConnection, call: Call, reply: Reply | Awaitable[Reply], keep: bool) -> None:
        if isinstance(reply, Reply):
            self._release(connection, call, reply, keep)
            return
        self.waiting += 1
        self._beside += 1
        task = asyncio.ensure_future(reply)
        task.add_done_callback(lambda done: self._came(connection, call, done, keep))

    def _came(self, connection: HttpConnection, call: Call, done: asyncio.Future[Reply], keep: bool) -> None:
        self.waiting -= 1
        self._beside -= 1
        if done.cancelled():
            connection.close()
            return
        self._release(connection, call, done.result(), keep)

    def _release(self, connection: HttpConnection, call: Call, reply: Reply, keep: bool) -> None:
        answer, records, noted = reply
        if not records or self._gate is None:
            self._answer(connection, call, answer, noted, keep)
            return
        self.waiting += 1
        held_ns = time.monotonic_ns()

        def durable(error: Exception | None) -> None:
            self.waiting -= 1
            if error is not None:
                said = self.gateway.unrecorded(call, error)
                self._answer(connection, call, said, noted.unrecorded(), keep)
                return
            sent = self._answer(connection, call, answer, noted, keep)
            self.tally.recorded(answer.status, time.monotonic_ns() - held_ns, gone=not sent)

        self._gate.hold(records, durable)

    def _answer(self, connection: HttpConnection, call: Call, answer: Answer, noted: Noted, keep: bool) -> bool:
        """Send an answer and count it; False when the client had gone."""
        sent = connection.answer(answer, keep=keep, head=call.method == "HEAD")
        took_ns = time.monotonic_ns() - call.received_ns
        if noted.code != "overloaded":
            self.load.answered(took_ns)
        if sent:
            self.tally.left(noted, answer.status, took_ns)
        return sent

    # The thread.

    def _run(self, host: str, port: int, started: Future[int]) -> None:
        loop = uvloop.new_event_loop()
        self._loop = loop
        try:
            asyncio.set_event_loop(loop)
            try:
                self._server = loop.run_until_complete(
                    loop.create_server(lambda: HttpConnection(self), host, port, backlog=_BACKLOG)
                )
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the start
                started.set_exception(error)
                return
            if self._commit is not None:
                self._gate = ReplyGate(self._commit, loop, self._log)
            self._turn = Turn(loop, self.limits.max_wait_s)
            self._sweep(time.monotonic())
            started.set_result(self._server.sockets[0].getsockname()[1])
            loop.run_forever()
            self._end(loop)
        finally:
            loop.close()

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        for connection in list(self._connections):
            connection.close()
        if self._server is not None:
            self._server.close()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if self._gate is not None:
            self._gate.close()
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(loop.shutdown_default_executor())

    async def _stop_accepting(self) -> None:
        self._draining = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            if not connection.answering and connection.reading_since is None:
                connection.close()

    def _sweep(self, due_s: float) -> None:
        """Once a second: the date header, requests that drip, connections that nobody uses."""
        assert self._loop is not None
        self.fixed_headers = b"date: %b\r\n%b" % (formatdate(usegmt=True).encode(), self._served_by)
        second = self.load.tick(time.monotonic_ns(), time.thread_time_ns())
        if second is not None:
            bound, wait_s = self.limits.max_waiting, self.limits.max_wait_s
            self._most_waiting = most_waiting(second, self._most_waiting, bound, wait_s)
        now = time.monotonic()
        self.loop_lag_s = max(0.0, now - due_s)
        slow = self._beside
        for connection in list(self._connections):
            if connection.reading_since is not None:
                slow += now - connection.reading_since > _SLOW_S
                if now - connection.reading_since > self.limits.read_timeout_s:
                    connection.time_out()
            elif not connection.answering and now - connection.used_at > self.limits.idle_timeout_s:
                connection.close()
        # What waits for its client, or is scored in a thread, takes no place from what the loop answers.
        self._fits = self.load.room(self._fits)
        self.room = min(self._fits + slow, self.limits.max_waiting)
        self._loop.call_later(_SWEEP_S, self._sweep, now + _SWEEP_S)
