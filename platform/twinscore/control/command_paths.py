"""Commands over HTTP: leave one for the control, and ask what became of it.

    POST /-control/models/<model>                a command: {"name": "promote", "actor": "anna", "version": "3", ...}
    GET  /-control/models/<model>/commands/<id>  what became of one: `taken`, or why not; null while it waits

Whoever gives a command needs the verb `operate` for the model, and gives it in their own name.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from twinscore.control.http import admitted, in_own_name, read_json
from twinscore.rollout.seen import Command

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from twinscore.access.gate import Access
    from twinscore.ports.rollout_store import Commands

__all__ = ["CommandPaths"]


class CommandPaths:
    """The paths of commands.

    Args:
        commands: where they are kept.
        access: who may do what.
        changed: is told the model that somebody commands.
    """

    def __init__(self, commands: Commands, access: Access, changed: Callable[[str], None]) -> None:
        self._commands = commands
        self._access = access
        self._changed = changed

    def routes(self) -> list[Route]:
        """Return what an application needs to answer them."""
        return [
            Route("/models/{model}", self._command, methods=["POST"]),
            Route("/models/{model}/commands/{command}", self._outcome, methods=["GET"]),
        ]

    async def _command(self, request: Request) -> Response:
        model = request.path_params["model"]
        caller = admitted(self._access, request, model, "operate")
        document = in_own_name(await read_json(request, '{"name": "pause", "actor": "anna"}'), "actor", caller)
        command = Command.asked(document, proof=caller.proof)
        command_id = request.headers.get("x-request-id") or os.urandom(8).hex()
        waiting = await asyncio.to_thread(self._commands.put, model, command.to_json(), command_id=command_id)
        self._changed(model)
        # What is kept: a request id that was used before names the command that came with it then.
        kept = {"id": waiting.id, "model": waiting.model, "command": dict(waiting.document)}
        return JSONResponse(kept, status_code=202)

    async def _outcome(self, request: Request) -> Response:
        model, command = request.path_params["model"], request.path_params["command"]
        admitted(self._access, request, model, "read")
        found = await asyncio.to_thread(self._commands.outcome, command, model=model)
        return JSONResponse({"id": command, "outcome": found})
