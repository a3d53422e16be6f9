"""What a GET below `/<model>` shows of a version: readiness, facts, contract, descriptions; knows no scoring.

A page is made of the live version and a request id; who may see it, and whether there is a version, is the gateway's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twinscore.contract.document import dumps_contract
from twinscore.online.answer import Answer, Refusal, as_json, as_problem, as_text
from twinscore.online.openapi import describe
from twinscore.online.page import docs_page

if TYPE_CHECKING:
    from twinscore.online.call import Call
    from twinscore.online.endpoint import Endpoint

__all__ = ["PAGES", "Page", "wrong_method"]

_PAGE_POLICY = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self';"
            b" img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
)
"""The page talks to its own server and nothing else, whatever a contract may have smuggled into it."""


def _ready(endpoint: Endpoint, request_id: str) -> Answer:
    return as_json({"status": "ready", "model": endpoint.model, "version": endpoint.version}, request_id)


def _mlflow_ping(endpoint: Endpoint, request_id: str) -> Answer:
    del endpoint
    return as_text("\n", "application/json", request_id)


def _version(endpoint: Endpoint, request_id: str) -> Answer:
    return as_json(endpoint.facts(), request_id)


def _contract(endpoint: Endpoint, request_id: str) -> Answer:
    return as_text(dumps_contract(endpoint.bundle.contract), "application/yaml; charset=utf-8", request_id)


def _openapi(endpoint: Endpoint, request_id: str) -> Answer:
    return as_json(describe(endpoint), request_id)


def _docs(endpoint: Endpoint, request_id: str) -> Answer:
    return as_text(docs_page(endpoint), "text/html; charset=utf-8", request_id, extra=_PAGE_POLICY)


def wrong_method(allowed: str, call: Call) -> Answer:
    """Return the refusal of a method that a path does not take."""
    extra = ((b"allow", allowed.encode()),)
    return as_problem(Refusal("method_not_allowed", f"This path takes {allowed}.", extra=extra), call.request_id)


Page = Callable[["Endpoint", str], Answer]
PAGES: dict[str, Page] = {
    "/health/ready": _ready,
    "/health": _mlflow_ping,
    "/ping": _mlflow_ping,
    "/version": _version,
    "/contract": _contract,
    "/openapi.json": _openapi,
    "/docs": _docs,
}
"""Pages by path; `/health/live` is not among them, because it needs no version."""
