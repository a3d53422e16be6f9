"""What the edge refuses, strips and sets, asked of the real HAProxy with POST bodies."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..queries import wanted_names
from .backend import Backend, serving
from .conftest import BODY, JSON, Edge, edge, wait_until

LIMIT = 1_000_000
MIB = 1 << 20


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """An edge in front of one listener that echoes."""
    home = tmp_path_factory.mktemp("rules") / "home"
    with edge(home, max_body_bytes=LIMIT) as made, serving(Backend(made.roster, "loans", "a")):
        wait_until(lambda: made.reached("loans") == {"a"})
        yield made


def post(*lines: str, body: bytes = BODY) -> bytes:
    return "\r\n".join(["POST /loans/predict HTTP/1.1", "host: x", *lines, "", ""]).encode() + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


def refused(answer: bytes) -> tuple[int, str]:
    """Status, and the code of the problem document that comes with it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    document = json.loads(body)
    assert document["status"] == status(answer)
    return status(answer), document["code"]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (post("content-type: application/json", "content-length: 104857600", body=b"{"), (413, "too_large")),
        (post("content-type: application/json", f"content-length: {LIMIT + 1}", body=b""), (413, "too_large")),
        (
            post("content-type: application/json", "transfer-encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"),
            (411, "length_required"),
        ),
        (post("content-type: application/json", body=b""), (411, "length_required")),
        (post("content-type: text/html", f"content-length: {len(BODY)}"), (415, "unsupported_media_type")),
        (post("content-type: application/jsonx", f"content-length: {len(BODY)}"), (415, "unsupported_media_type")),
        (post(f"content-length: {len(BODY)}"), (415, "unsupported_media_type")),
        (
            post("content-type: application/json", f"x-long: {'a' * 20_000}", f"content-length: {len(BODY)}"),
            (400, "bad_request"),
        ),
        (b"DELETE /loans/predict HTTP/1.1\r\nhost: x\r\n\r\n", (405, "method_not_allowed")),
        (b"PUT /loans/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", (405, "method_not_allowed")),
        (b"GET /loans/evidence?all=1 HTTP/1.1\r\nhost: x\r\n\r\n", (404, "not_found")),
        (b"GET /loans/%65vidence HTTP/1.1\r\nhost: x\r\n\r\n", (404, "not_found")),
    ],
    ids=["100 MB", "a byte more", "chunked", "no length", "html", "jsonx", "no type", "20 kB", "DELETE", "PUT",
         "evidence", "evidence in disguise"],
)  # fmt: skip
def test_request_is_refused_at_once(loans: Edge, request_: bytes, expected: tuple[int, str]) -> None:
    """The edge answers by itself, with a problem document, without waiting for a body."""
    assert refused(loans.raw(request_)) == expected


@pytest.mark.parametrize(
    "request_",
    [
        post("content-type: application/json", "content-length: 2", "content-length: 3", body=b"{}"),
        post("content-type: application/json", "transfer-encoding: chunked", "content-length: 2", body=b"{}"),
        post("content-type: application/json", "content-length: -1", body=b""),
        post("content-type: application/json", "content-length: 99999999999999999999", body=b""),
        post("content type: application/json", "content-length: 2", body=b"{}"),
        b"POST /loans predict HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["two lengths", "length and chunked", "negative", "overflow", "space in a name", "space in the path", "TLS"],
)
def test_what_is_not_http_is_answered_400(loans: Edge, request_: bytes) -> None:
    """Requests that two servers could read differently never reach one."""
    assert status(loans.raw(request_)) == 400


@pytest.mark.parametrize(
    "kind",
    ["application/json", "Application/JSON; charset=utf-8", "text/csv", "application/csv",
     "application/vnd.apache.arrow.stream", "application/octet-stream"],
)  # fmt: skip
def test_bodies_that_models_read_pass(loans: Edge, kind: str) -> None:
    """Every content type of the protocols reaches the listener, whole."""
    code, _, body = loans.ask("POST", "/loans/predict", BODY, {"content-type": kind})

    assert (code, json.loads(body)["bytes"]) == (200, len(BODY))


@pytest.mark.parametrize("size", [1, 60_000, 65_536, 200_000, LIMIT])
def test_bulk_bodies_pass_beyond_the_buffer(loans: Edge, size: int) -> None:
    """A body up to the limit passes, whether or not the proxy can hold it."""
    headers = {"content-type": "application/vnd.apache.arrow.stream"}
    code, _, body = loans.ask("POST", "/loans/predict", b"x" * size, headers)

    assert (code, json.loads(body)["bytes"]) == (200, size)


def test_slow_header_is_cut_off(loans: Edge) -> None:
    """A header that is not whole after three seconds is answered 408."""
    began = time.monotonic()
    answer = loans.raw(b"POST /loans/predict HTTP/1.1\r\nhost: x\r\nx-slow: ")

    assert status(answer) == 408
    assert 2 < time.monotonic() - began < 5


def test_slow_body_is_cut_off(loans: Edge) -> None:
    """A body that fits the buffer and is not whole after two seconds is answered 408, and reaches nobody."""
    began = time.monotonic()
    answer = loans.raw(post("content-type: application/json", "content-length: 5000", body=b"{"))

    assert refused(answer) == (408, "too_slow")
    assert 1 < time.monotonic() - began < 4


def test_one_address_cannot_hold_every_connection(loans: Edge) -> None:
    """Of 70 idle connections from one address 64 are held, and the next is refused, until some are closed."""
    with ExitStack() as held:
        idle = [held.enter_context(socket.create_connection(("127.0.0.1", loans.port))) for _ in range(70)]
        time.sleep(0.3)
        kept = 0
        for connection in idle:
            connection.setblocking(False)
            try:
                kept += connection.recv(1) != b""
            except BlockingIOError:
                kept += 1
            except ConnectionResetError:
                pass
        with pytest.raises((OSError, IndexError)):
            status(loans.raw(post("content-type: application/json", f"content-length: {len(BODY)}")))

    assert kept == 64
    wait_until(loans.answers)


def test_headers_of_the_platform_are_stripped(loans: Edge) -> None:
    """What would turn off a timeout, choose a model or forge an address does not arrive; our own values do."""
    hostile = {
        "x-request-timeout-seconds": "0",
        "x-request-disconnect-disabled": "?1",
        "serve_multiplexed_model_id": "evil",
        "serve-multiplexed-model-id": "evil",
        "X-Serve-Anything": "evil",
        "x_serve_anything": "evil",
        "x-haproxy-reload-id": "evil",
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "evil",
        "x_forwarded_for": "evil",
        "Forwarded": "for=203.0.113.9",
    }
    _, _, body = loans.ask("POST", "/loans/predict", BODY, {**JSON, **hostile, "authorization": "Bearer mine"})
    arrived = dict(json.loads(body)["headers"])

    assert "evil" not in arrived.values()
    assert {name for name in arrived if name.startswith(("x-", "serve", "forwarded"))} == {
        "x-forwarded-for", "x-forwarded-proto", "x-request-id",
    }  # fmt: skip
    assert (arrived["x-forwarded-for"], arrived["x-forwarded-proto"]) == ("127.0.0.1", "http")
    assert arrived["authorization"] == "bearer mine"


@pytest.mark.parametrize("sent", ["order-17", "a" * 128, "A.b_c-9"])
def test_sane_request_id_is_kept(loans: Edge, sent: str) -> None:
    """The caller's id reaches the listener as it is."""
    _, _, body = loans.ask("POST", "/loans/predict", BODY, {**JSON, "x-request-id": sent})

    assert dict(json.loads(body)["headers"])["x-request-id"] == sent.lower()


@pytest.mark.parametrize("sent", [None, "", "a" * 129, "two words", "a,b", "<script>", "a\u00e9"])
def test_other_request_id_is_replaced(loans: Edge, sent: str | None) -> None:
    """Without a sane id the listener gets a new one."""
    headers = JSON if sent is None else {**JSON, "x-request-id": sent}
    _, _, body = loans.ask("POST", "/loans/predict", BODY, headers)

    assert re.fullmatch(r"[0-9a-f-]{36}", dict(json.loads(body)["headers"])["x-request-id"])


def test_two_request_ids_are_replaced_by_one(loans: Edge) -> None:
    """Which of two ids was meant cannot be known, so neither is kept."""
    answer = loans.raw(
        post("content-type: application/json", f"content-length: {len(BODY)}", "x-request-id: a", "x-request-id: b")
    )
    ids = [value for name, value in json.loads(answer.partition(b"\r\n\r\n")[2])["headers"] if name == "x-request-id"]

    assert len(ids) == 1
    assert ids[0] not in {"a", "b"}


def test_refusal_carries_the_request_id(loans: Edge) -> None:
    """What the edge answers by itself names the id, in the header and in the document."""
    code, headers, body = loans.ask("DELETE", "/loans/predict", None, {"x-request-id": "order-17"})

    assert code == 405
    assert (headers["x-request-id"], json.loads(body)["request_id"]) == ("order-17", "order-17")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["allow"] == "GET, HEAD, POST"


def test_edge_answers_for_itself(loans: Edge) -> None:
    """`/-/healthz` says whether any model can be reached, and the counts are on loopback, at their own port."""
    code, _, body = loans.ask("GET", "/-/healthz")
    counted = Edge(loans.settings.model_copy(update={"serve_port": loans.metrics_port}), loans.folder, 0, 0)

    assert (code, body) == (200, b"success")
    assert b'haproxy_server_status{proxy="model-loans",server="s1"' in counted.ask("GET", "/metrics")[2]
    assert counted.ask("GET", "/")[0] == 404
    names = {line.partition("{")[0] for line in counted.ask("GET", "/metrics")[2].decode().splitlines()}
    assert wanted_names("haproxy_") <= names


def test_admin_socket_is_its_owners(loans: Edge) -> None:
    """Nobody else may enter the folder, and nobody else may use the sockets in it."""
    modes = {name: (loans.folder / name).stat().st_mode & 0o777 for name in ("admin.sock", "master.sock")}

    assert modes == {"admin.sock": 0o600, "master.sock": 0o600}
    assert loans.folder.stat().st_mode & 0o777 == 0o700


def test_unknown_model_is_not_ours_to_answer(loans: Edge) -> None:
    """A path of no listener goes to Ray Serve; without one it is answered 503, with `Retry-After`."""
    code, headers, body = loans.ask("POST", "/nobody/predict", BODY, JSON)

    assert (code, headers["retry-after"], json.loads(body)["code"]) == (503, "1", "overloaded")


def test_tls_is_1_2_or_newer(tmp_path: Path, certificate: Path) -> None:
    """With a certificate the edge speaks TLS 1.2 and 1.3, and tells the listener so."""
    with edge(tmp_path / "home", tls_certificate=certificate) as made, serving(Backend(made.roster, "loans", "a")):
        spoken = {}
        for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(certificate)
            context.set_ciphers("ALL:@SECLEVEL=0")
            try:
                with warnings.catch_warnings(action="ignore"):
                    context.minimum_version = context.maximum_version = version
                with context.wrap_socket(
                    socket.create_connection(("127.0.0.1", made.port), timeout=5), server_hostname="localhost"
                ) as secure:
                    spoken[version] = secure.version()
            except (OSError, ssl.SSLError):
                spoken[version] = None

    assert list(spoken.values()) == [None, "TLSv1.2", "TLSv1.3"]
