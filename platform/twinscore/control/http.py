"""What every path of the control does alike: ask who calls, read a bounded body, tell errors; knows no path."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from twinscore.access.gate import challenge, status_of
from twinscore.errors import (
    AccessDenied,
    Forbidden,
    ModelNotFound,
    SettingsInvalid,
    StoreConflict,
    StoreUnavailable,
    TwinscoreError,
)

if TYPE_CHECKING:
    from starlette.requests import Request

    from twinscore.access.gate import Access
    from twinscore.access.grant import Caller

__all__ = ["MOST_BYTES", "admitted", "in_own_name", "read_body", "read_json", "tell"]

MOST_BYTES = 64 * 1024
"""Of a body; more is read no further."""


def admitted(access: Access, request: Request, model: str, verb: str) -> Caller:
    """Return who asks, nobody where nobody is asked for a key.

    Args:
        access: keys and issuers of the home.
        request: with a key or token in its headers.
        model: that it concerns, `*` for every one.
        verb: `read`, or `operate` to change something.

    Raises:
        Unauthenticated: there is no key and no token, or one that is not accepted.
        Forbidden: it does not cover the model or the verb.
    """
    authorization, key = request.headers.get("authorization"), request.headers.get("x-api-key")
    return access.admit(
        None if authorization is None else authorization.encode("latin-1"),
        None if key is None else key.encode("latin-1"),
        model=model, verb=verb, now_s=time.time(),
    )  # fmt: skip


def in_own_name(document: dict[str, Any], member: str, caller: Caller) -> dict[str, Any]:
    """Return a document in the name of who sends it; who is known by a key or a token speaks for nobody else.

    Args:
        document: what was sent.
        member: its member that names who asks; where nobody is asked for a key, it stays as it was sent.
        caller: who sends it.

    Raises:
        Forbidden: it names somebody else, or it comes with a token that has no subject.
    """
    if caller.kind == "token" and not caller.name:
        message = "The token has no sub, so nobody would be named as the one who asks. Ask with one that has."
        raise Forbidden(message, member="sub")
    said = document.get(member) or caller.name
    if caller.name and said != caller.name:
        other = str(said)[:80]
        message = (
            f"The {caller.kind} is that of {caller.name}, but {member} says {other!r}, and nobody speaks for another. "
            f"Leave {member} out, or ask with a key or token of {other}."
        )
        raise Forbidden(message, member=member)
    return {**document, member: said}


async def read_body(request: Request) -> bytes:
    """Return the body; of one that is too large only so much that it is seen to be."""
    found = b""
    async for chunk in request.stream():
        found += chunk
        if len(found) > MOST_BYTES:
            break
    return found


async def read_json(request: Request, example: str) -> dict[str, Any]:
    """Return the body as a JSON object.

    Args:
        request: whose body is read.
        example: of such an object, for the message.

    Raises:
        SettingsInvalid: it is none, or too large.
    """
    body = await read_body(request)
    found: object = None
    with suppress(ValueError, RecursionError):
        found = json.loads(body)
    if len(body) > MOST_BYTES or not isinstance(found, dict):
        message = f"The body must be a JSON object of at most {MOST_BYTES} bytes, such as {example}."
        raise SettingsInvalid(message)
    return found


async def tell(request: Request, error: Exception) -> Response:
    """Answer with what an error of ours says, as a problem document (RFC 9457)."""
    assert isinstance(error, TwinscoreError)
    status, headers = 422, {}
    if isinstance(error, StoreUnavailable):
        status, headers = 503, {"retry-after": "1"}
    elif isinstance(error, ModelNotFound):
        status = 404
    elif isinstance(error, StoreConflict):
        status = 409
    elif isinstance(error, AccessDenied):
        status = status_of(error)
        headers = {"www-authenticate": challenge(error).decode("ascii")}
    document = {"code": error.code, "detail": error.message, "status": status}
    return JSONResponse(document, status_code=status, headers=headers, media_type="application/problem+json")
