"""A small client of the endpoints, with our errors; knows HTTP and nothing of models.

Connections are kept. Scoring is pure, so a request that met a broken connection, a busy or a restarting
endpoint is sent again a few times, under the same request id.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import httpx
import msgspec

from twinscore.errors import (
    ContractBroken,
    Forbidden,
    MediaTypeUnsupported,
    ModelNotReady,
    PredictFailed,
    RequestMalformed,
    RequestTooLarge,
    TwinscoreError,
    Unauthenticated,
)

__all__ = ["PredictClient"]

_ERRORS: dict[int, type[TwinscoreError]] = {
    400: RequestMalformed,
    401: Unauthenticated,
    403: Forbidden,
    413: RequestTooLarge,
    415: MediaTypeUnsupported,
    422: ContractBroken,
}


class PredictClient:
    """Asks one endpoint; may be shared by threads and must be closed.

    Args:
        url: address of the model, such as `http://127.0.0.1:8000/loans`.
        api_key: a key of `twinscore keys create`, or a token; read from nowhere else.
        timeout_s: seconds for one attempt.
        retries: further attempts after a broken connection or a 503.
        transport: another way to send, for tests.

    Example:
        >>> with PredictClient("http://127.0.0.1:8000/loans") as client:  # doctest: +SKIP
        ...     client.predict([{"loan_id": 1, "income": 52000.0}])["predictions"][0]["score"]
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 3,
        backoff_s: float = 0.1,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._retries = retries
        self._backoff_s = backoff_s
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        self._client = httpx.Client(
            headers=headers, timeout=timeout_s, limits=limits, transport=transport, trust_env=False
        )

    def __enter__(self) -> PredictClient:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def predict(self, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Score one row or several and return the endpoint's answer.

        Args:
            rows: JSON values by column; `table_to_rows` makes them from a table. One mapping is sent flat.

        Raises:
            ContractBroken: rows were refused; `fields["faults"]` lists path, rule, expected and value.
            RequestTooLarge: too many rows or bytes.
            Unauthenticated, Forbidden: the endpoint asks for a key, or for another one.
            ModelNotReady: the model is not served here, or stayed busy through every attempt.
            PredictFailed: the endpoint could not be reached or answered something else.
        """
        body = msgspec.json.encode(rows if isinstance(rows, Mapping) else {"instances": rows})
        return self.send(body)

    def send(self, body: bytes, *, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Send a body that is JSON already, and return the endpoint's answer; raises as `predict`."""
        sent = {"content-type": "application/json", "x-request-id": uuid4().hex, **(headers or {})}
        response = self._attempt("POST", "/predict", content=body, headers=sent)
        return self._read(response)

    def version(self) -> dict[str, Any]:
        """Return model, version, bundle and contract digest, and the scorer in use."""
        return self._read(self._attempt("GET", "/version"))

    def example(self) -> dict[str, Any]:
        """Return a real row that the endpoint accepts, from its own description."""
        described = self._read(self._attempt("GET", "/openapi.json"))
        content = described["paths"]["/predict"]["post"]["requestBody"]["content"]
        row: dict[str, Any] = content["application/json"]["examples"]["one"]["value"]
        return row

    def _attempt(self, method: str, path: str, **options: Any) -> httpx.Response:
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                response = self._client.request(method, f"{self.url}{path}", **options)
            except httpx.TransportError as error:
                if last:
                    message = f"{self.url} cannot be reached ({type(error).__name__}). See `twinscore status`."
                    raise PredictFailed(message, url=self.url) from error
            else:
                if last or not _passing(response):
                    return response
            time.sleep(self._backoff_s * 2**attempt)
        message = "unreachable: the last attempt returns or raises"
        raise AssertionError(message)

    def _read(self, response: httpx.Response) -> dict[str, Any]:
        try:
            document = msgspec.json.decode(response.content)
        except ValueError:
            document = None
        if response.status_code == 200 and isinstance(document, dict):
            return document
        facts = document if isinstance(document, dict) else {}
        # The proxy's own 404 and 503 are not problem documents: the model is not served, or not yet.
        if response.status_code in {404, 503}:
            model = self.url.rsplit("/", 1)[-1]
            message = (
                f"{self.url} answered {response.status_code}: {facts.get('detail', 'nothing is served there.')}"
                f" Serve the model with `twinscore serve --model {model}`."
            )
            raise ModelNotReady(message, url=self.url, status=response.status_code)
        kind = _ERRORS.get(response.status_code, PredictFailed)
        message = f"{self.url} answered {response.status_code}: {facts.get('detail', 'no reason given')}"
        raise kind(message, url=self.url, status=response.status_code, faults=facts.get("faults", []))


def _passing(response: httpx.Response) -> bool:
    """Tell whether an answer may change soon: a busy endpoint, or a proxy that has not heard of the route yet."""
    if response.status_code == 503:
        return True
    return response.status_code == 404 and "problem+json" not in response.headers.get("content-type", "")
