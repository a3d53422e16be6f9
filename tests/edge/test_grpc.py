"""gRPC through the edge, asked of the real HAProxy: where calls go, what is refused, stripped and probed."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc  # type: ignore[import-untyped]
import pytest
import tritonclient.grpc as triton  # type: ignore[import-untyped]

from twinscore.edge.grpc_config import PROBE, READY

from .backend import Backend, serving
from .conftest import Edge, edge, own_port, wait_until

LIMIT = 200_000
INFER = "inference.GRPCInferenceService/ModelInfer"
META = "inference.GRPCInferenceService/ServerMetadata"
PER_ADDRESS = 24


class Answer(NamedTuple):
    """What a call came to."""

    code: str
    body: bytes
    text: str
    headers: dict[str, str]


class Echo:
    """A small real gRPC server that answers every method with its own name and what it was sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = True
        self.probed = 0
        self.hold = threading.Event()
        self.hold.set()
        # As a replica's: by itself gRPC refuses metadata above 8 KiB by chance.
        limits = [(f"grpc.{name}", 32 * 1024) for name in ("max_metadata_size", "absolute_max_metadata_size")]
        self._server = grpc.server(ThreadPoolExecutor(32), handlers=[self], options=limits)  # type: ignore[list-item]
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def service(self, asked: Any) -> Any:
        """Return the handler of a method; grpc calls this."""
        if asked.method.endswith("ServerReady"):
            return grpc.unary_unary_rpc_method_handler(self._ready)
        return grpc.unary_unary_rpc_method_handler(self._echo)

    def _ready(self, message: bytes, context: Any) -> bytes:
        del message, context
        self.probed += 1
        return READY[5:] if self.ready else b""

    def _echo(self, message: bytes, context: Any) -> bytes:
        self.hold.wait(10)
        context.set_trailing_metadata((("x-request-id", "mine"),))
        said = {"name": self.name, "bytes": len(message), "headers": context.invocation_metadata()}
        return json.dumps(said).encode()

    def close(self) -> None:
        """End at once."""
        self._server.stop(None).wait(5)


@contextmanager
def replicas(made: Edge, model: str, *names: str, limit: int = 64) -> Iterator[list[Echo]]:
    """Replicas that speak both protocols, in the roster until the block ends."""
    echoes = [Echo(name) for name in names]
    backends = [Backend(made.roster, model, name, limit=limit) for name in names]
    for backend, echo in zip(backends, echoes, strict=True):
        backend.grpc_port = echo.port
    with serving(*backends):
        try:
            wait_until(lambda: reached(made, model) == set(names))
            yield echoes
        finally:
            for echo in echoes:
                echo.hold.set()
                echo.close()


def named(model: str, beside: bytes = b"") -> bytes:
    """A message whose first field is the name of a model."""
    return b"\n" + bytes([len(model)]) + model.encode() + beside


def ask(
    made: Edge, method: str, message: bytes, headers: Sequence[tuple[str, str]] = (), compression: Any = None
) -> Answer:
    """Call on a connection of its own."""
    with grpc.insecure_channel(
        f"127.0.0.1:{made.settings.grpc_port}", [("grpc.use_local_subchannel_pool", 1)], compression=compression
    ) as channel:
        return call(channel, method, message, headers)


def call(channel: Any, method: str, message: bytes, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    unary = channel.unary_unary(f"/{method}")
    try:
        body, answer = unary.with_call(message, metadata=tuple(headers), timeout=10)
    except grpc.RpcError as error:
        body, answer = b"", error
    told = dict((*(answer.initial_metadata() or ()), *(answer.trailing_metadata() or ())))
    return Answer(answer.code().name, body, answer.details(), told)


def reached(made: Edge, model: str) -> set[str]:
    """Names of the replicas that a few calls meet."""
    answers = [ask(made, INFER, named(model)) for _ in range(4)]
    return {json.loads(one.body)["name"] for one in answers if one.code == "OK"}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """An edge for gRPC, too, in front of two replicas of one model and one of another."""
    home = tmp_path_factory.mktemp("grpc") / "home"
    options: dict[str, Any] = {"max_body_bytes": LIMIT, "edge_connections_per_address": PER_ADDRESS}
    with (
        edge(home, grpc_port=own_port(), **options) as made,
        replicas(made, "loans", "a", "b"),
        replicas(made, "other", "o"),
    ):
        yield made


def test_the_message_says_which_model(both: Edge) -> None:
    """Calls go to the replicas of the model that the message names, whatever its size; all replicas are used."""
    big = ask(both, INFER, named("loans", b"\x3a\xc0\x9a\x0c" + bytes(200_000)))
    big_said = json.loads(big.body)

    assert {"a", "b"} == reached(both, "loans")
    assert {"o"} == reached(both, "other")
    assert 200_011 == big_said["bytes"]
    assert "mine" == big.headers["x-request-id"]
    one = ask(both, INFER, named("other"), [("x-request-id", "order-17")])
    assert "order-17" == dict(json.loads(one.body)["headers"])["x-request-id"]


def test_calls_for_no_model_go_to_any(both: Edge) -> None:
    """The first model that has a replica answers for the server, or the one that the metadata name."""
    assert json.loads(ask(both, META, b"").body)["name"] in {"a", "b"}
    assert "o" == json.loads(ask(both, META, b"", [("x-model", "other")]).body)["name"]
    assert "NOT_FOUND" == ask(both, META, b"", [("x-model", "nobody")]).code


@pytest.mark.parametrize(
    ("method", "message", "code", "text"),
    [
        (INFER, named("nobody"), "NOT_FOUND", "No model of this name"),
        (INFER, named("loan"), "NOT_FOUND", "No model of this name"),
        (INFER, b"", "INVALID_ARGUMENT", "name of a model"),
        (INFER, b"\xff\xff\xff\xff", "INVALID_ARGUMENT", "name of a model"),
        (INFER, named("loans", bytes(LIMIT + 70_000)), "RESOURCE_EXHAUSTED", "message is too large"),
        ("inference.GRPCInferenceService/RepositoryIndex", b"", "UNIMPLEMENTED", "no such method"),
        ("grpc.health.v1.Health/Check", b"", "UNIMPLEMENTED", "no such method"),
    ],
    ids=["unknown", "a part of a name", "no name", "no message", "too large", "no method", "no service"],
)
def test_calls_are_refused_in_grpcs_own_form(both: Edge, method: str, message: bytes, code: str, text: str) -> None:
    """The edge answers by itself, with a code and a text, and says the id of the call."""
    answer = ask(both, method, message, [("x-request-id", "order-17")])

    assert (code, "order-17") == (answer.code, answer.headers["x-request-id"])
    assert text in answer.text


def test_compressed_messages_are_refused(both: Edge) -> None:
    """Which model is meant cannot be read, and what unpacks to gigabytes never reaches a replica."""
    message = named("loans", bytes(10_000))
    answer = ask(both, INFER, message, compression=grpc.Compression.Gzip)

    assert "UNIMPLEMENTED" == answer.code
    assert "Compressed messages are not read" in answer.text


def test_long_metadata_are_refused(both: Edge) -> None:
    """Headers have the limit that they have over HTTP."""
    answers = [ask(both, INFER, named("loans"), [("x-long", "a" * size)]).code for size in (8_000, 20_000)]

    assert ["OK", "RESOURCE_EXHAUSTED"] == answers


def test_metadata_of_the_platform_are_stripped(both: Edge) -> None:
    """What would turn off a timeout, choose a model or forge an address does not arrive; our own values do."""
    hostile = {
        "x-request-timeout-seconds": "evil", "serve-multiplexed-model-id": "evil", "serve_multiplexed_model_id": "evil",
        "x-serve-anything": "evil", "x_serve_anything": "evil", "x-haproxy-reload-id": "evil",
        "x-forwarded-for": "evil", "x-forwarded-host": "evil", "x_forwarded_for": "evil", "forwarded": "evil",
    }  # fmt: skip
    answer = ask(both, INFER, named("loans"), [*hostile.items(), ("authorization", "Bearer mine")])
    arrived = dict(json.loads(answer.body)["headers"])

    assert "evil" not in arrived.values()
    assert ("127.0.0.1", "http") == (arrived["x-forwarded-for"], arrived["x-forwarded-proto"])
    assert "Bearer mine" == arrived["authorization"]


def test_only_grpc_is_spoken(both: Edge) -> None:
    """Other HTTP/2 is told so, and what is no HTTP/2 gets no answer in it."""
    said = []
    for data in (PROBE.replace(b"application/grpc", b"application/json"), b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", both.settings.grpc_port or 0), timeout=5) as plain:
            plain.sendall(data)
            time.sleep(0.3)
            said.append(plain.recv(10_000))

    assert b"This port speaks gRPC only" in said[0]
    assert b"HTTP/1" not in said[1]
    assert "OK" == ask(both, INFER, named("loans")).code


def test_tls_is_spoken_with_the_certificate_of_http(tmp_path: Path, certificate: Path) -> None:
    """A client that trusts it is answered, the replica is told so, and who speaks no TLS gets no answer."""
    with edge(tmp_path / "home", grpc_port=own_port(), tls_certificate=certificate) as made:
        echo = Echo("a")
        backend = Backend(made.roster, "loans", "a")
        backend.grpc_port = echo.port
        target = f"localhost:{made.settings.grpc_port}"
        trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
        with serving(backend), grpc.secure_channel(target, trusted) as channel:
            wait_until(lambda: call(channel, INFER, named("loans")).code == "OK")
            arrived = dict(json.loads(call(channel, INFER, named("loans")).body)["headers"])
            with contextlib.closing(
                triton.InferenceServerClient(target, ssl=True, root_certificates=str(certificate))
            ) as client:
                ready = client.is_server_ready()
            plain = ask(made, INFER, named("loans")).code
        echo.close()

    assert (True, "UNAVAILABLE", "https") == (ready, plain, arrived["x-forwarded-proto"])


def test_a_message_that_does_not_come_is_cut_off(both: Edge) -> None:
    """A call whose message is not there after two seconds is ended, and reaches nobody."""
    began = time.monotonic()
    gone = threading.Event()

    def never() -> Iterator[bytes]:
        gone.wait(10)
        yield from ()

    with grpc.insecure_channel(f"127.0.0.1:{both.settings.grpc_port}") as channel:
        with pytest.raises(grpc.RpcError) as cut:
            channel.stream_unary(f"/{INFER}")(never(), timeout=10)
        took_s = time.monotonic() - began
        gone.set()

    assert grpc.StatusCode.DEADLINE_EXCEEDED == cut.value.code()
    assert "did not arrive in time" in cut.value.details()
    assert 1 < took_s < 6


def test_calls_at_a_time_are_bounded(both: Edge) -> None:
    """Over connections of their own one address has as many calls at a time as it may have connections; no more."""
    with replicas(both, "slow", "s", limit=1_000) as (slow,):
        slow.hold.clear()
        channels = [
            grpc.insecure_channel(
                f"127.0.0.1:{both.settings.grpc_port}", [("grpc.use_local_subchannel_pool", 1)]
            )
            for _ in range(3)
        ]  # fmt: skip
        each = PER_ADDRESS // 2
        with ThreadPoolExecutor(3 * each) as pool:
            calls = [pool.submit(call, channel, INFER, named("slow")) for channel in channels for _ in range(each)]
            wait_until(lambda: sum(one.done() for one in calls) >= each)
            slow.hold.set()
            codes = Counter(one.result().code for one in calls)
        for channel in channels:
            channel.close()

    assert {"OK": 2 * each, "RESOURCE_EXHAUSTED": each} == codes


def test_replicas_take_what_they_have_room_for(both: Edge) -> None:
    """Beyond the room of the one replica calls are UNAVAILABLE within milliseconds, and tell to call again."""
    with replicas(both, "full", "f", limit=2) as (full,):
        full.hold.clear()
        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(ask, both, INFER, named("full")) for _ in range(8)]
            wait_until(lambda: sum(one.done() for one in calls) >= 6)
            full.hold.set()
            answers = [one.result() for one in calls]

    assert {"OK": 2, "UNAVAILABLE": 6} == Counter(one.code for one in answers)
    assert {"", "No replica has room for the call now; call again"} == {one.text for one in answers}


def test_replicas_are_asked_whether_they_are_ready(both: Edge) -> None:
    """One that says no gets nothing until it says yes; where none is left calls are UNAVAILABLE."""
    with replicas(both, "sick", "s", "t") as (one, other):
        one.ready = False
        wait_until(lambda: reached(both, "sick") == {"t"})
        other.ready = False
        wait_until(lambda: reached(both, "sick") == set())
        refused = ask(both, INFER, named("sick")).code
        one.ready = other.ready = True
        wait_until(lambda: reached(both, "sick") == {"s", "t"})

        assert one.probed > 2
    assert "UNAVAILABLE" == refused
