"""Holds over HTTP: list them, place one, release it, let one model go on in spite of it; each as the commands do.

    GET  /-control/holds                     those in force; `?model=` that stop one model, `?all=true` ended ones too
    POST /-control/holds                     {"scope": "loans", "reason": "income drifts", "owner": "ann"}
    POST /-control/holds/<id>/release        {"reason": "the feed is repaired", "by": "ann"}
    POST /-control/holds/<id>/override       {"model": "loans", "reason": "fixes a wrong price", "by": "ann"}

Whoever changes a hold needs the verb `operate` for what it concerns: the scope of the hold, `*` among them, or the
model that goes on; and does so in their own name.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from twinscore.clock import SystemClock
from twinscore.control.http import admitted, in_own_name, read_json
from twinscore.document import read_value
from twinscore.errors import SettingsInvalid
from twinscore.rollout.hold import EVERY_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from twinscore.access.gate import Access
    from twinscore.ports.rollout_store import Holds
    from twinscore.rollout.hold import Hold

__all__ = ["HoldPaths"]

_PERSON = "person"
_PLACE = '{"scope": "loans", "reason": "income drifts", "owner": "ann", "expires": "2026-12-24T12:00:00Z"}'
_RELEASE = '{"reason": "the feed is repaired", "by": "ann"}'
_OVERRIDE = '{"model": "loans", "reason": "fixes a wrong price", "by": "ann"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    scope: str
    reason: str
    owner: str
    source: str = _PERSON
    expires: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Release:
    reason: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Override:
    model: str
    reason: str
    by: str


class HoldPaths:
    """The paths of holds.

    Args:
        holds: where they are kept.
        access: who may do what.
        changed: is told the model whose holds changed, None for every one.
    """

    def __init__(self, holds: Holds, access: Access, changed: Callable[[str | None], None]) -> None:
        self._holds = holds
        self._access = access
        self._changed = changed

    def routes(self) -> list[Route]:
        """Return what an application needs to answer them."""
        return [
            Route("/holds", self._list, methods=["GET"]),
            Route("/holds", self._place, methods=["POST"]),
            Route("/holds/{hold}/release", self._release, methods=["POST"]),
            Route("/holds/{hold}/override", self._override, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        model = request.query_params.get("model")
        admitted(self._access, request, model or EVERY_MODEL, "read")
        holds = await asyncio.to_thread(self._holds.held, over=_truth(request, "all"))
        return JSONResponse([_shown(one) for one in holds if model in (None, one.scope) or one.scope == EVERY_MODEL])

    async def _place(self, request: Request) -> Response:
        document = await read_json(request, _PLACE)
        caller = admitted(self._access, request, _scope_of(document), "operate")
        wanted = read_value(_Place, in_own_name(document, "owner", caller), source="The hold")
        # The ledger says that the source decided it, so whoever names one is shown there, too.
        source = wanted.source if wanted.source == _PERSON else caller.signed(wanted.source)
        hold = await asyncio.to_thread(
            self._holds.place, wanted.scope, reason=wanted.reason, owner=caller.signed(wanted.owner),
            source=source, expires=None if wanted.expires is None else _moment(wanted.expires),
            hold_id=_id_of(request, wanted.scope),
        )  # fmt: skip
        return self._told(hold, hold.scope, status=201)

    async def _release(self, request: Request) -> Response:
        caller = admitted(self._access, request, await self._scope(request), "operate")
        document = in_own_name(await read_json(request, _RELEASE), "by", caller)
        wanted = read_value(_Release, document, source="The release of a hold")
        hold = await asyncio.to_thread(
            self._holds.release, request.path_params["hold"], by=caller.signed(wanted.by), reason=wanted.reason
        )
        return self._told(hold, hold.scope)

    async def _override(self, request: Request) -> Response:
        document = await read_json(request, _OVERRIDE)
        model = document.get("model")
        caller = admitted(self._access, request, model if isinstance(model, str) else EVERY_MODEL, "operate")
        wanted = read_value(_Override, document, source="The override of a hold")  # lacks `by`: who decides says so
        by = in_own_name(document, "by", caller)["by"]
        hold = await asyncio.to_thread(
            self._holds.override, request.path_params["hold"], model=wanted.model, by=caller.signed(by),
            reason=wanted.reason,
        )  # fmt: skip
        return self._told(hold, wanted.model)

    async def _scope(self, request: Request) -> str:
        """Return whose operator may end a hold: of one that is not known, and so not told to be, every model's."""
        wanted = request.path_params["hold"]
        holds = await asyncio.to_thread(self._holds.held, over=True)
        return next((one.scope for one in holds if one.id == wanted), EVERY_MODEL)

    def _told(self, hold: Hold, model: str, *, status: int = 200) -> Response:
        self._changed(None if model == EVERY_MODEL else model)
        return JSONResponse(_shown(hold), status_code=status)


def _shown(hold: Hold) -> dict[str, Any]:
    return {**hold.to_json(), "state": hold.state(SystemClock().now())}


def _scope_of(document: dict[str, Any]) -> str:
    scope = document.get("scope")
    return scope if isinstance(scope, str) else EVERY_MODEL


def _id_of(request: Request, scope: str) -> str | None:
    """Return the id of a hold by the id of its request, so that a request that is sent again places nothing more."""
    said = request.headers.get("x-request-id")
    return None if said is None else blake2b(f"{scope}\0{said}".encode(), digest_size=8).hexdigest()


def _truth(request: Request, name: str) -> bool:
    found = request.query_params.get(name, "false")
    if found not in ("true", "false"):
        message = f"The query has {name}={found!r}, which must be true or false."
        raise SettingsInvalid(message, key=name)
    return found == "true"


def _moment(text: str) -> datetime:
    with suppress(ValueError):
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    message = (
        f"The hold has expires: {text!r}, which must be an ISO 8601 time with its zone, such as 2026-12-24T12:00:00Z."
    )
    raise SettingsInvalid(message, key="expires")
