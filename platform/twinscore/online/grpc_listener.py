"""The Open Inference Protocol's gRPC service beside a replica's HTTP listener: same gateway, access and audit.

Edges send to a port of the replica's own. Replicas of one machine may share one beside it, that is called without an
edge: the kernel spreads connections over them (SO_REUSEPORT), and one that drains tells its clients to connect anew.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]
import msgspec

from twinscore.errors import RequestMalformed, SettingsInvalid
from twinscore.online.app import GatewayApp
from twinscore.online.load import Load
from twinscore.online.wire.inference_grpc import call_of, response_of
from twinscore.online.wire.inference_proto import MESSAGES, METHODS, SERVICE
from twinscore.settings import address_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twinscore.online.answer import Answer
    from twinscore.online.call import Call
    from twinscore.online.gateway import Gateway
    from twinscore.online.reply_gate import Commit

__all__ = ["GrpcListener"]

_THREADS = 8
"""They wait for the loop, which does the work."""
_BEYOND = 64
"""Calls beyond those that may wait: whoever asks for health, and who is told that there is no room."""
_TICK_S = 1.0
_BESIDE_DATA = 64 * 1024
"""Bytes of a message beside its tensors."""
_METADATA_BYTES = 32 * 1024
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    503: grpc.StatusCode.UNAVAILABLE,
}
_READY = ("ServerReady", "ModelReady")
_HEALTH = ("ServerLive", *_READY)


class GrpcListener:
    """One replica's gRPC server; listens from its constructor on.

    Args:
        gateway: answers.
        host: address to bind.
        ports: to bind; 0 takes a free one.
        commit: makes audit records durable before their answers leave; None where nothing is recorded.
        max_waiting: predictions and metadata at a time; further ones are refused at once, and count as such. Health is
            told all the same: an edge that cannot ask a full replica whether it is ready would leave it out.

    Raises:
        SettingsInvalid: a port is taken by another program.
    """

    def __init__(
        self, gateway: Gateway, *, host: str, ports: Sequence[int], commit: Commit | None, max_waiting: int
    ) -> None:
        self.load = Load()
        """Of predictions and metadata; those who ask for health are no load."""
        self._cpu_ns: dict[int, int] = {}
        """Of each thread that answers, since it began."""
        self._app = GatewayApp(gateway, commit=commit)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="grpc", daemon=True)
        self._max_waiting = max_waiting
        self._calls = _Pool(_THREADS, thread_name_prefix="grpc")
        self._probes = ThreadPoolExecutor(1, thread_name_prefix="grpc-health")
        self._refusals = ThreadPoolExecutor(1, thread_name_prefix="grpc-full")
        refuse: Any = partial(self._refuse)
        refuse.experimental_thread_pool = self._refusals
        self._full = grpc.unary_unary_rpc_method_handler(refuse)  # messages are not read
        self._server = grpc.server(
            self._calls,
            handlers=[_Service(self._handler)],
            maximum_concurrent_rpcs=2 * max_waiting + _BEYOND,
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", gateway.limits.max_body_bytes + _BESIDE_DATA),
                ("grpc.max_send_message_length", -1),
                # Beyond the first gRPC refuses by chance, beyond the second always; the edge has a limit below.
                ("grpc.max_metadata_size", _METADATA_BYTES),
                ("grpc.absolute_max_metadata_size", _METADATA_BYTES),
            ],
        )
        self._loop.set_debug(False)
        try:
            self.ports = tuple([self._bind(host, port) for port in ports])
            """Where it listens, in the order of the argument."""
        except SettingsInvalid:
            self._loop.close()
            raise
        self._thread.start()
        self._loop.call_soon_threadsafe(self._tick)
        self._server.start()

    def close(self, timeout_s: float = 10.0) -> None:
        """Take nothing new, answer what was begun, and end."""
        self._server.stop(timeout_s).wait(timeout_s + 1)
        for pool in (self._calls, self._probes, self._refusals):
            pool.shutdown(wait=False)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout_s)
        self._loop.close()

    def _bind(self, host: str, port: int) -> int:
        try:
            return int(self._server.add_insecure_port(address_of(host, port)))
        except RuntimeError as error:
            message = f"gRPC cannot listen at {host}:{port}; another program does. Choose another `grpc_port`."
            raise SettingsInvalid(message, setting="grpc_port", port=port) from error

    def _handler(self, method: str, arrived_ns: int) -> Any:
        answer: Any = partial(self._answer, method, arrived_ns)
        if method in _HEALTH:
            answer.experimental_thread_pool = self._probes  # grpc's own name: not behind the calls that wait
        elif self._calls.inside >= self._max_waiting:
            return self._full
        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=MESSAGES[f"{method}Request"].FromString,
            response_serializer=MESSAGES[f"{method}Response"].SerializeToString,
        )

    def _tick(self) -> None:
        """Once a second, on the loop, which alone writes what is counted."""
        self.load.tick(time.monotonic_ns(), time.thread_time_ns() + sum(list(self._cpu_ns.values())))
        self._loop.call_later(_TICK_S, self._tick)

    def _refuse(self, request: bytes, context: grpc.ServicerContext) -> None:
        del request
        self._loop.call_soon_threadsafe(self._shed)
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{self._max_waiting} calls wait already; try again later.")

    def _shed(self) -> None:
        self.load.shed += 1

    async def _counted(self, call: Call, arrived_ns: int, *, load: bool) -> Answer:
        answer = await self._app.answer(call)
        if load:
            self.load.answered(time.monotonic_ns() - arrived_ns)
        return answer

    def _answer(self, method: str, arrived_ns: int, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            call = call_of(method, request, _headers(context))
        except RequestMalformed as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        coming = self._counted(call, arrived_ns, load=method not in _HEALTH)
        answer = asyncio.run_coroutine_threadsafe(coming, self._loop).result()
        self._cpu_ns[threading.get_ident()] = time.thread_time_ns()
        context.set_trailing_metadata((("x-request-id", call.request_id),))
        if answer.status == 200 or (method in _READY and answer.status == 503):
            return response_of(method, answer)
        document = msgspec.json.decode(answer.body)
        text = str(document.get("error") or document.get("detail") or "")
        context.abort(_CODES.get(answer.status, grpc.StatusCode.INTERNAL), text)
        return None  # not reached: abort raises


class _Pool(ThreadPoolExecutor):
    """Threads that know how many calls wait for them or are being answered; only one thread submits."""

    def __init__(self, max_workers: int, thread_name_prefix: str) -> None:
        super().__init__(max_workers, thread_name_prefix)
        self._lock = threading.Lock()
        self.inside = 0

    def submit(self, call: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Have a call answered, and count it until it is."""
        with self._lock:
            self.inside += 1
        found = super().submit(call, *args, **named)
        found.add_done_callback(self._left)
        return found

    def _left(self, call: Future[Any]) -> None:
        del call
        with self._lock:
            self.inside -= 1


class _Service(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds a call's handler when the call arrives, so that its wait for a thread is part of what it took.

    Args:
        handler: returns what answers a method, from when it arrived.
    """

    def __init__(self, handler: Callable[[str, int], Any]) -> None:
        self._handler = handler

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return what answers a call, None when there is no such method."""
        service, _, method = handler_call_details.method.lstrip("/").partition("/")
        return self._handler(method, time.monotonic_ns()) if service == SERVICE and method in METHODS else None


def _headers(context: grpc.ServicerContext) -> dict[bytes, bytes]:
    """Return the caller's metadata as the headers that they are; of one that comes twice the last counts."""
    return {
        name.encode(): value if isinstance(value, bytes) else value.encode()
        for name, value in context.invocation_metadata() or ()
    }
