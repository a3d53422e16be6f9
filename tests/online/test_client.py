"""The client: our errors, bounded attempts, one request id per request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from twinscore.errors import (
    ContractBroken,
    Forbidden,
    MediaTypeUnsupported,
    ModelNotReady,
    PredictFailed,
    RequestMalformed,
    RequestTooLarge,
    Unauthenticated,
)
from twinscore.online.client import PredictClient

GOOD = {"request_id": "r", "predictions": []}


def client_of(handler: Callable[[httpx.Request], httpx.Response], **options: Any) -> PredictClient:
    return PredictClient("http://serve/adult", backoff_s=0.0, transport=httpx.MockTransport(handler), **options)


def scripted(
    *answers: httpx.Response | Exception,
) -> tuple[Callable[[httpx.Request], httpx.Response], list[httpx.Request]]:
    seen: list[httpx.Request] = []
    script: Iterator[httpx.Response | Exception] = iter(answers)

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        answer = next(script)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handler, seen


@pytest.mark.parametrize(
    ("rows", "body"),
    [({"age": 1}, b'{"age":1}'), ([{"age": 1}], b'{"instances":[{"age":1}]}')],
)
def test_one_row_travels_flat_and_several_as_instances(rows: Any, body: bytes) -> None:
    """A mapping is sent as it is, a list under `instances`."""
    handler, seen = scripted(httpx.Response(200, json=GOOD))

    with client_of(handler) as client:
        answer = client.predict(rows)

    assert (GOOD, body, "/adult/predict") == (answer, seen[0].content, seen[0].url.path)


@pytest.mark.parametrize(
    "passing",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.Response(503),
        httpx.Response(404, text="no route"),
    ],
    ids=["connect", "read", "503", "404 of a proxy"],
)
def test_passing_failures_are_tried_again_under_the_same_id(passing: Any) -> None:
    """Broken connections, busy endpoints and proxies without the route yet get another attempt."""
    handler, seen = scripted(passing, httpx.Response(200, json=GOOD))

    with client_of(handler) as client:
        assert client.predict({"age": 1}) == GOOD

    assert len({request.headers["x-request-id"] for request in seen}) == 1


def test_attempts_are_bounded() -> None:
    """After the last attempt the failure is told, with the address."""
    handler, seen = scripted(*[httpx.ConnectError("refused")] * 3)

    with client_of(handler, retries=2) as client, pytest.raises(PredictFailed, match="http://serve/adult"):
        client.predict({"age": 1})

    assert len(seen) == 3


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RequestMalformed),
        (401, Unauthenticated),
        (403, Forbidden),
        (413, RequestTooLarge),
        (415, MediaTypeUnsupported),
        (422, ContractBroken),
        (404, ModelNotReady),
        (503, ModelNotReady),
        (418, PredictFailed),
    ],
)
def test_refusals_become_our_errors(status: int, error: type[Exception]) -> None:
    """Each status has its error, and the endpoint's own reason is in the message."""
    document = {"detail": "because", "faults": [{"path": "/age"}]}

    with (
        client_of(lambda _: httpx.Response(status, json=document), retries=0) as client,
        pytest.raises(error) as caught,
    ):
        client.predict({"age": 1})

    assert "because" in str(caught.value)


def test_not_served_says_which_command_serves() -> None:
    """Where nothing is served the message tells what to run."""
    with (
        client_of(lambda _: httpx.Response(404, text="nope"), retries=0) as client,
        pytest.raises(ModelNotReady, match="twinscore serve --model adult"),
    ):
        client.version()


def test_a_refusal_carries_its_faults() -> None:
    """The faults of a 422 are there for programs."""
    faults = [{"path": "/age", "rule": "type", "expected": "int64", "value": "'x'"}]
    document = {"detail": "1 fault", "faults": faults}

    with client_of(lambda _: httpx.Response(422, json=document)) as client, pytest.raises(ContractBroken) as caught:
        client.predict({"age": "x"})

    assert faults == caught.value.fields["faults"]
