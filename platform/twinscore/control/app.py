"""The Serve application of the control: commands, status and hints over HTTP; parses, asks the store and answers.

    GET  /-control                       the page, or JSON for who accepts that
    GET  /-control/models/<model>        JSON of one model
    POST /-control/models/<model>        a command; see `control.command_paths`
    ...  /-control/holds                 holds; see `control.hold_paths`
    GET  /-control/incidents             the page of incidents, or JSON; `?model=` of one model
    POST /-control/webhook               a registry's webhook, taken as a hint
    GET  /-control/monitor/<model>       what is watched of a model: the page, or JSON for who accepts that
    GET  /-control/metrics               the newest figures, for Prometheus
    GET  /-control/targets/<part>        what Prometheus scrapes

Commands are left in the store, so one that was answered is acted on also when this process ends the next moment, and by
whichever control acts.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from twinscore.access.gate import Access
from twinscore.clock import SystemClock
from twinscore.control.assemble import Assembled
from twinscore.control.command_paths import CommandPaths
from twinscore.control.hints import webhook_secret
from twinscore.control.hold_paths import HoldPaths
from twinscore.control.http import admitted, read_body, tell
from twinscore.control.incident_page import incident_page
from twinscore.control.incidents import alerts_overview
from twinscore.control.monitor_pages import MonitorPages
from twinscore.control.page import page
from twinscore.control.status import overview, standing
from twinscore.control.watch_record import read_record, told
from twinscore.errors import ModelNotReady, TwinscoreError
from twinscore.monitoring.report_page import report_page
from twinscore.online.metrics import CONTENT_TYPE
from twinscore.online.serve_config import applications, read_user_config
from twinscore.rollout.webhook import Deliveries, Hint, check
from twinscore.settings import Settings

__all__ = ["APP", "PREFIX", "ControlReplica", "start_control", "stop_control"]

APP = "twinscore-control"
PREFIX = "/-control"
DEPLOYMENT = "control"
_PAGE_HEADERS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
_STATUS = {"unauthenticated": 401, "bad_json": 400, "too_large": 413, "repeated": 200}


class ControlReplica:
    """What Serve builds: one process with the loop, and the pages of it.

    Args:
        settings: of the stack.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._access = Access.load(settings.home)
        self._deliveries = Deliveries()
        self._control = Assembled(settings)
        shown = self._control.shown
        self._watching = MonitorPages(settings, incidents=shown.incidents, limits=shown.limits)

    def __serve_build_asgi_app__(self) -> Starlette:
        """Return the application; Serve calls this once after the constructor."""
        return Starlette(
            routes=[
                Route("/", self._overview, methods=["GET"]),
                Route("/incidents", self._incidents, methods=["GET"]),
                Route("/models/{model}", self._model, methods=["GET"]),
                *CommandPaths(self._control.store.commands, self._access, self._control.loop.hint).routes(),
                *HoldPaths(self._control.store.holds, self._access, self._control.loop.hint).routes(),
                Route("/webhook", self._webhook, methods=["POST"]),
                Route("/monitor/{model}", self._monitor, methods=["GET"]),
                Route("/metrics", self._metrics, methods=["GET"]),
                Route("/targets/{part}", self._targets, methods=["GET"]),
            ],
            exception_handlers={TwinscoreError: tell},
        )

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Do nothing: the digest of the settings is there for `start_control` to compare."""

    def check_health(self) -> None:
        """Serve replaces the replica when the loop does not come round any more."""
        if not self._control.loop.alive:
            message = "The loop of the control stands still; its process must be made anew."
            raise RuntimeError(message)

    def __del__(self) -> None:
        """Let another control act at once."""
        control = getattr(self, "_control", None)
        if control is not None:
            control.close()

    async def _overview(self, request: Request) -> Response:
        self._admit(request, "*", "read")
        control = self._control
        found = await asyncio.to_thread(overview, control.store, control.loop.trouble, control.alerting.trouble)
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse(found)
        return HTMLResponse(page(found), headers=_PAGE_HEADERS)

    async def _incidents(self, request: Request) -> Response:
        model = request.query_params.get("model")
        self._admit(request, model or "*", "read")
        control = self._control
        found = await asyncio.to_thread(alerts_overview, control.store, control.alerting.trouble, model)
        found["watching"] = [*told(read_record(self._settings.home), SystemClock().now(), model)]
        if control.watching.trouble:
            found["trouble"]["watching"] = control.watching.trouble
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse(found)
        return HTMLResponse(incident_page(found), headers=_PAGE_HEADERS)

    async def _model(self, request: Request) -> Response:
        model = request.path_params["model"]
        self._admit(request, model, "read")
        return JSONResponse(
            await asyncio.to_thread(standing, self._control.store, model, self._control.loop.trouble.get(model, ""))
        )

    async def _webhook(self, request: Request) -> Response:
        body = await read_body(request)
        secret = await asyncio.to_thread(webhook_secret, self._settings)
        found = check(request.headers, body, secret=secret, now=SystemClock().now(), seen=self._deliveries)
        if not isinstance(found, Hint):
            return JSONResponse({"code": found.code, "detail": found.reason}, status_code=_STATUS[found.code])
        self._control.loop.look(found.model or None)
        return JSONResponse({"hint": found.event, "model": found.model}, status_code=202)

    async def _monitor(self, request: Request) -> Response:
        model = request.path_params["model"]
        self._admit(request, model, "read")
        found = await asyncio.to_thread(self._watching.report, model)
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse(found)
        return HTMLResponse(await asyncio.to_thread(report_page, found), headers=_PAGE_HEADERS)

    async def _metrics(self, request: Request) -> Response:
        self._admit(request, "*", "read")
        return Response(await asyncio.to_thread(self._watching.metrics), media_type=CONTENT_TYPE)

    async def _targets(self, request: Request) -> Response:
        self._admit(request, "*", "read")
        return JSONResponse(await asyncio.to_thread(self._watching.targets, request.path_params["part"]))

    def _admit(self, request: Request, model: str, verb: str) -> None:
        admitted(self._access, request, model, verb)


def start_control(settings: Settings, *, wait: bool = False) -> None:
    """Start the control on the Ray that the process is connected to; one that runs with these settings goes on.

    Raises:
        ModelNotReady: with `wait`, Serve could not start it.
    """
    from ray import serve

    digest = hashlib.sha256(settings.model_dump_json().encode()).hexdigest()
    found = applications().get(APP)
    if found is not None and found.status == "RUNNING" and read_user_config(APP, DEPLOYMENT) == {"settings": digest}:
        return
    wrap = serve.deployment(
        name=DEPLOYMENT,
        user_config={"settings": digest},
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=32,
        max_queued_requests=64,
        graceful_shutdown_timeout_s=5,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=5,
        health_check_timeout_s=10,
        logging_config={"enable_access_log": False},
    )
    bound = wrap(serve.ingress()(ControlReplica)).bind(settings)
    target = serve.RunTarget(bound, name=APP, route_prefix=PREFIX)
    try:
        serve.run_many([target], wait_for_applications_running=wait)
    except RuntimeError as error:
        message = f"Serve could not start the control: {str(error).strip().splitlines()[-1]}"
        raise ModelNotReady(message, app=APP) from error


def stop_control() -> None:
    """Take the control away; what it has put into force stays."""
    from ray import serve

    if APP in applications():
        serve.delete(APP)
