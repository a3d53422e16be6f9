"""The ASGI face: paths, methods, headers, body limits, health."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from twinscore.online.app import GatewayApp
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway
from twinscore.online.request import Limits

from .conftest import ask

JSON = {"content-type": "application/json"}


def send(app: GatewayApp, method: str, path: str, **options: Any) -> httpx.Response:
    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, root_path=options.pop("root_path", ""))
        async with httpx.AsyncClient(transport=transport, base_url="http://serve") as client:
            return await client.request(method, path, **options)

    return asyncio.run(one())


@pytest.fixture(scope="module")
def app(binary: Any) -> GatewayApp:
    """The model's application."""
    return GatewayApp(Gateway("members", binary.endpoint))


@pytest.mark.parametrize("root_path", ["", "/members", "/behind/members"])
def test_predict_answers_under_any_mount(app: GatewayApp, binary: Any, root_path: str) -> None:
    """The model's prefix may be mounted by Serve, or by something in front of it."""
    path = f"{root_path or '/members'}/predict"
    response = send(app, "POST", path, json=binary.rows[0], root_path=root_path)

    assert (200, "application/json") == (response.status_code, response.headers["content-type"])


@pytest.mark.parametrize("n_rows", [1, 300])
def test_the_body_is_the_endpoints_own(app: GatewayApp, binary: Any, n_rows: int) -> None:
    """Small bodies answered on the event loop and large ones in a thread are the core's bytes."""
    body = json.dumps({"instances": binary.rows[:n_rows]}).encode()
    response = send(app, "POST", "/members/predict", content=body, headers={**JSON, "x-request-id": "r"})

    assert ask(binary.endpoint, body).body == response.content


def test_headers_of_every_answer(app: GatewayApp, binary: Any) -> None:
    """No answer may be sniffed or stored, and each has its length and request id."""
    for response in (
        send(app, "POST", "/members/predict", json=binary.rows[0]),
        send(app, "POST", "/members/predict", content=b"{", headers=JSON),
        send(app, "GET", "/members/docs"),
        send(app, "GET", "/members/nothing"),
    ):
        assert ("nosniff", "no-store") == (
            response.headers["x-content-type-options"],
            response.headers["cache-control"],
        )
        assert str(len(response.content)) == response.headers["content-length"]
        assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("order-17.a_B", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("é", False), ("a\tb", False)],
)
def test_a_sane_request_id_comes_back(app: GatewayApp, binary: Any, sent: str, kept: bool) -> None:
    """The caller's id is used when it is harmless, else replaced; header and body agree."""
    headers = {b"x-request-id": sent.encode(), b"content-type": b"application/json"}
    response = send(app, "POST", "/members/predict", content=json.dumps(binary.rows[0]), headers=headers)

    assert kept is (sent == response.headers["x-request-id"])
    assert response.headers["x-request-id"] == response.json()["request_id"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/members/health/live", 200),
        ("GET", "/members/health/ready", 200),
        ("GET", "/members/version", 200),
        ("GET", "/members/contract", 200),
        ("GET", "/members/openapi.json", 200),
        ("GET", "/members/docs", 200),
        ("HEAD", "/members/health/ready", 200),
        ("GET", "/members", 404),
        ("GET", "/members/", 404),
        ("GET", "/members/predict/", 404),
        ("POST", "/members/predictions", 404),
        ("GET", "/membersx/predict", 404),
        ("GET", "/members/predict", 405),
        ("PUT", "/members/predict", 405),
        ("POST", "/members/version", 405),
        ("DELETE", "/members/health/live", 405),
    ],
)
def test_paths_and_methods(app: GatewayApp, method: str, path: str, status: int) -> None:
    """Known paths answer their methods; the rest are problem documents, 405 with the allowed methods."""
    response = send(app, method, path)

    assert status == response.status_code
    assert ("allow" in response.headers) is (status == 405)
    if status != 200:
        assert ("application/problem+json", status) == (response.headers["content-type"], response.json()["status"])


def test_version_tells_what_is_served(app: GatewayApp, binary: Any) -> None:
    """Model, version, both digests, and which scorer runs."""
    facts = send(app, "GET", "/members/version").json()

    assert {
        "model": "members",
        "version": "1",
        "bundle_digest": binary.bundle.digest,
        "contract_digest": binary.bundle.contract.digest,
        "scorer": "forest",
        "mismatch": None,
    } == facts


def test_the_contract_reads_back(app: GatewayApp, binary: Any) -> None:
    """What /contract shows is the contract itself."""
    from twinscore.contract.document import loads_contract

    text = send(app, "GET", "/members/contract").text

    assert binary.bundle.contract.digest == loads_contract(text).digest


def test_nothing_but_live_answers_before_the_endpoint_is_there(binary: Any) -> None:
    """An application without a verified endpoint is live, not ready, and says so with 503."""
    app = GatewayApp(Gateway("members"))
    statuses = {
        path: send(app, "GET", path).status_code
        for path in ("/members/health/live", "/members/health/ready", "/members/version", "/members/docs")
    }
    predict = send(app, "POST", "/members/predict", json=binary.rows[0])
    app.gateway.swap(binary.endpoint)

    assert [200, 503, 503, 503] == list(statuses.values())
    assert (503, "model_not_ready", "1") == (
        predict.status_code,
        predict.json()["code"],
        predict.headers["retry-after"],
    )
    assert 200 == send(app, "GET", "/members/health/ready").status_code


def test_too_long_bodies_are_refused_before_they_are_read(binary: Any) -> None:
    """A stated length beyond the limit is refused at once, an unstated one as soon as it is passed."""
    endpoint = Endpoint(binary.bundle, model="members", version="1", limits=Limits(max_body_bytes=1000))
    app = GatewayApp(Gateway("members", endpoint))
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b" " * 100

    stated = send(app, "POST", "/members/predict", content=b" " * 1001, headers=JSON)
    unstated = send(app, "POST", "/members/predict", content=endless(), headers=JSON)

    assert [413, 413] == [stated.status_code, unstated.status_code]
    assert 11 == taken


def test_a_client_that_leaves_gets_no_answer(app: GatewayApp) -> None:
    """A disconnect before the body is whole ends the request in silence."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def collect(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/members/predict", "headers": []}
    asyncio.run(app(scope, receive, collect))

    assert [] == sent


def test_lifespan_and_websockets_are_answered(app: GatewayApp) -> None:
    """A server may start and stop the application; a WebSocket is refused."""
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def collect(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(app({"type": "lifespan"}, receive, collect))
    asyncio.run(app({"type": "websocket"}, receive, collect))

    assert ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"] == sent


def test_health_answers_while_a_large_request_is_scored(binary: Any) -> None:
    """Large bodies are scored beside the event loop, so small requests are not kept waiting."""
    app = GatewayApp(Gateway("members", binary.endpoint))
    order: list[str] = []

    async def both() -> None:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://serve") as client:

            async def large() -> None:
                body = json.dumps({"instances": binary.rows * 10}).encode()
                await client.post("/members/predict", content=body, headers=JSON)
                order.append("large")

            async def small() -> None:
                await asyncio.sleep(0.005)
                await client.get("/members/health/live")
                order.append("small")

            await asyncio.gather(large(), small())

    asyncio.run(both())

    assert ["small", "large"] == order
