"""The listener on real sockets: the app's answers, HTTP's corners, bounds, and no answer before its record."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.online.call import Call
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway, Reply
from twinscore.online.listener import HttpListener, ListenerLimits
from twinscore.online.request import Limits

from .conftest import ask
from .shadowing import until

TIGHT = ListenerLimits(max_connections=4, max_waiting=2, read_timeout_s=0.2, idle_timeout_s=60)


class Recorded(Gateway):
    """A gateway whose every prediction has a record."""

    def _stages(self, wire: Any, call: Call) -> Iterator[Any]:
        for came in super()._stages(wire, call):
            yield came._replace(records=(call.request_id.encode(),)) if isinstance(came, Reply) else came


@pytest.fixture(scope="module")
def listener(binary: Any) -> Iterator[HttpListener]:
    """A listener of the binary model, without an audit log."""
    endpoint = Endpoint(binary.bundle, model="members", version="1", limits=Limits(max_body_bytes=100_000))
    found = HttpListener(Gateway("members", endpoint), served_by="r1")
    yield found
    found.close()


def url_of(listener: HttpListener, path: str = "/members/predict") -> str:
    return f"http://127.0.0.1:{listener.port}{path}"


def talk(listener: HttpListener, sent: bytes, *, wait_s: float = 5.0) -> bytes:
    """Send raw bytes on a new connection and return everything that comes back until it is closed or silent."""
    with socket.create_connection(("127.0.0.1", listener.port), timeout=wait_s) as peer:
        peer.sendall(sent)
        said = b""
        peer.settimeout(wait_s)
        try:
            while chunk := peer.recv(65_536):
                said += chunk
        except TimeoutError:
            pass
        return said


def request(body: bytes, *, close: bool = True, extra: bytes = b"") -> bytes:
    """Return a prediction request as bytes."""
    ending = b"connection: close\r\n" if close else b""
    head = b"POST /members/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    return head % len(body) + extra + ending + b"\r\n" + body


@pytest.mark.parametrize("n_rows", [1, 100])
def test_answers_are_those_of_the_gateway(listener: HttpListener, binary: Any, n_rows: int) -> None:
    """Small bodies and large ones come back byte for byte, with the replica's name."""
    body = json.dumps({"instances": binary.rows[:n_rows]}).encode()
    headers = {"content-type": "application/json", "x-request-id": "r"}
    answer = httpx.post(url_of(listener), content=body, headers=headers, trust_env=False)

    assert ask(binary.endpoint, body).body == answer.content
    assert ("r1", "r") == (answer.headers["x-served-by"], answer.headers["x-request-id"])


def test_one_connection_serves_many_requests_in_order(listener: HttpListener, binary: Any) -> None:
    """Pipelined requests are answered one after the other, each with its own body."""
    bodies = [json.dumps(row).encode() for row in binary.rows[:5]]
    sent = b"".join([request(body, close=number == 4) for number, body in enumerate(bodies)])
    said = talk(listener, sent)

    assert 5 == said.count(b"HTTP/1.1 200 OK")
    keys = [row["row_id"].encode() for row in binary.rows[:5]]
    places = [said.index(b'"row_id":"%b"' % key) for key in keys]
    assert sorted(places) == places


def test_bodies_may_come_in_pieces(listener: HttpListener, binary: Any) -> None:
    """Chunked bodies, and bytes that arrive one by one, read the same."""
    body = json.dumps(binary.rows[0]).encode()
    halves = [body[:20], body[20:]]
    chunks = b"".join([b"%x\r\n%b\r\n" % (len(half), half) for half in halves]) + b"0\r\n\r\n"
    head = b"POST /members/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
    chunked = talk(listener, head + b"transfer-encoding: chunked\r\n\r\n" + chunks)
    with socket.create_connection(("127.0.0.1", listener.port), timeout=5) as peer:
        for byte in request(body):
            peer.sendall(bytes([byte]))
        dripped = b""
        while chunk := peer.recv(65_536):
            dripped += chunk

    assert chunked.startswith(b"HTTP/1.1 200 OK")
    assert dripped.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", b"400"),
        (b"GET /members/version HTTP/1.1\r\nhost: x\r\n" + b"a: " + b"b" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"POST /members/predict HTTP/1.1\r\ncontent-length: 100001\r\n\r\n", b"413"),
        (b"POST /members/predict HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n", b"4"),
        (b"POST /members/predict HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", b"400"),
        (b"POST /members/predict HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", b"400"),
        (b"POST /members/predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + b"fff\r\n" + b" " * 4095
         + b"\r\n" + (b"fff\r\n" + b" " * 4095 + b"\r\n") * 30, b"413"),
        (b"GET /members/version HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", b"400"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_and_closed(listener: HttpListener, sent: bytes, status: bytes) -> None:
    """Each gets one problem document and the end of the connection; the listener goes on."""
    said = talk(listener, sent)

    assert said.startswith(b"HTTP/1.1 " + status)
    assert b"connection: close" in said
    assert b"application/problem+json" in said
    assert 200 == httpx.get(url_of(listener, "/members/health/ready"), trust_env=False).status_code


class Watched(Recorded):
    """A gateway that remembers how many calls it was handed together."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sizes: list[int] = []

    def handle_all(self, calls: Sequence[Call]) -> list[Any]:
        """Count, and answer."""
        self.sizes.append(len(calls))
        return super().handle_all(calls)


def test_calls_that_come_together_are_answered_each_for_itself(binary: Any) -> None:
    """Side by side with refused, broken, large and other calls, each client gets what it gets alone."""
    gateway = Watched("members", Endpoint(binary.bundle, model="members", version="1"))
    committed: list[bytes] = []
    listener = HttpListener(gateway, commit=committed.extend, limits=ListenerLimits(max_wait_s=5))
    row, many = binary.rows[0], {"instances": binary.rows[:100]}
    asked = [*binary.rows[:20], {**row, "amount": "much"}, [], many]
    bodies = [*[json.dumps(one).encode() for one in asked], b"{"]
    sent = [request(body, extra=b"x-request-id: %d\r\n" % place) for place, body in enumerate(bodies)]
    sent.append(b"GET /members/version HTTP/1.1\r\nhost: x\r\nx-request-id: p\r\nconnection: close\r\n\r\n")
    alone = [told(talk(listener, one)) for one in sent]
    for _ in range(100):  # the first calls of a listener are long ones
        talk(listener, sent[0])
    gateway.sizes.clear()
    committed.clear()
    with ExitStack() as open_:
        open_.callback(listener.close)
        connect = partial(socket.create_connection, ("127.0.0.1", listener.port), timeout=5)
        peers = [open_.enter_context(connect()) for _ in sent]
        until(lambda: len(listener._connections) == len(sent))
        assert listener._loop is not None
        listener._loop.call_soon_threadsafe(time.sleep, 0.5)
        for peer, one in zip(peers, sent, strict=True):
            peer.sendall(one)
        together = [told(b"".join(iter(partial(peer.recv, 65_536), b""))) for peer in peers]

    assert together == alone
    assert sorted(committed) == sorted(b"%d" % place for place in range(len(bodies)))
    assert max(gateway.sizes) > 1


def told(said: bytes) -> tuple[bytes, bytes]:
    """Return the status line and the body of an answer."""
    head, _, body = said.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], body


def test_a_request_that_drips_is_timed_out(binary: Any) -> None:
    """A header that never ends and a body that never comes get 408."""
    listener = HttpListener(Gateway("members", binary.endpoint), limits=TIGHT)
    try:
        said = [
            talk(listener, b"POST /members/predict HTTP/1.1\r\nhost:"),
            talk(listener, b"POST /members/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{"),
        ]
    finally:
        listener.close()

    assert [b"HTTP/1.1 408"] * 2 == [text[:12] for text in said]


def test_head_has_no_body(listener: HttpListener) -> None:
    """HEAD tells the length and sends nothing."""
    head = httpx.head(url_of(listener, "/members/version"), trust_env=False)
    get = httpx.get(url_of(listener, "/members/version"), trust_env=False)

    assert (b"", str(len(get.content))) == (head.content, head.headers["content-length"])


def test_too_many_connections_are_turned_away(binary: Any) -> None:
    """Beyond the bound a client reads 503 at once, and those inside are served on."""
    listener = HttpListener(Gateway("members", binary.endpoint), limits=TIGHT)
    inside = [socket.create_connection(("127.0.0.1", listener.port), timeout=5) for _ in range(4)]
    try:
        for peer in inside:
            peer.sendall(b"GET /members/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            assert peer.recv(65_536).startswith(b"HTTP/1.1 200")
        turned = talk(listener, b"")
    finally:
        for peer in inside:
            peer.close()
        listener.close()

    assert turned.startswith(b"HTTP/1.1 503")


def test_an_answer_waits_for_its_record(binary: Any) -> None:
    """Nothing reaches the client before its batch is committed; what gathers meanwhile is one more batch."""
    may_commit, batches = threading.Event(), []

    def commit(payloads: Sequence[bytes]) -> None:
        may_commit.wait(10)
        batches.append(len(payloads))

    listener = HttpListener(Recorded("members", binary.endpoint), commit=commit)
    body = json.dumps(binary.rows[0]).encode()
    try:
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(talk, listener, request(body)) for _ in range(8)]
            while listener.waiting < 8:
                time.sleep(0.01)
            answered_before = sum(one.done() for one in asked)
            may_commit.set()
            statuses = [one.result()[:12] for one in asked]
    finally:
        listener.close()

    assert (0, [b"HTTP/1.1 200"] * 8, 8) == (answered_before, statuses, sum(batches))
    assert len(batches) <= 3


def test_an_answer_without_a_record_is_not_given(binary: Any) -> None:
    """When the log cannot be written the caller reads 503 with Retry-After, and no score."""

    def commit(payloads: Sequence[bytes]) -> None:
        raise OSError(28, "No space left on device")

    listener = HttpListener(Recorded("members", binary.endpoint), commit=commit)
    try:
        answer = httpx.post(url_of(listener), json=binary.rows[0], trust_env=False)
    finally:
        listener.close()

    assert (503, "audit_unavailable", "1") == (answer.status_code, answer.json()["code"], answer.headers["retry-after"])
    assert "predictions" not in answer.json()


def test_more_waiting_calls_than_allowed_get_503_at_once(binary: Any) -> None:
    """While two answers wait for the log, a third caller is turned away without a score."""
    may_commit = threading.Event()
    limits = ListenerLimits(max_connections=8, max_waiting=2)
    listener = HttpListener(
        Recorded("members", binary.endpoint), commit=lambda _: may_commit.wait(10) and None, limits=limits
    )
    body = json.dumps(binary.rows[0]).encode()
    try:
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(talk, listener, request(body)) for _ in range(2)]
            while listener.waiting < 2:
                time.sleep(0.01)
            third = talk(listener, request(body))
            may_commit.set()
            said = [one.result() for one in waiting]
    finally:
        listener.close()

    assert third.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in third
    assert all(text.startswith(b"HTTP/1.1 200") for text in said)


def test_draining_answers_what_was_begun(binary: Any) -> None:
    """New connections are refused, the call under way gets its answer and the end of its connection."""
    may_commit = threading.Event()
    listener = HttpListener(Recorded("members", binary.endpoint), commit=lambda _: may_commit.wait(10) and None)
    try:
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(talk, listener, request(json.dumps(binary.rows[0]).encode(), close=False))
            while not listener.waiting:
                time.sleep(0.01)
            drained = pool.submit(listener.drain, 5.0)
            while not listener._draining:
                time.sleep(0.01)
            with pytest.raises(OSError):  # noqa: PT012 - refused, or closed before a word
                if not talk(listener, b"GET /members/version HTTP/1.1\r\nhost: x\r\n\r\n"):
                    raise ConnectionRefusedError
            may_commit.set()
            said = one.result()
            assert drained.result()
    finally:
        listener.close()

    assert said.startswith(b"HTTP/1.1 200")


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6))
@settings(max_examples=60)
def test_any_bytes_leave_the_listener_well(listener: HttpListener, pieces: list[bytes]) -> None:
    """Whatever a peer sends, in whatever pieces, the next client is served."""
    with socket.create_connection(("127.0.0.1", listener.port), timeout=5) as peer:
        try:
            for piece in pieces:
                peer.sendall(piece)
        except OSError:
            pass  # it was told to go before it had said everything

    assert 200 == httpx.get(url_of(listener, "/members/health/live"), trust_env=False).status_code
