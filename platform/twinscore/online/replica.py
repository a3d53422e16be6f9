"""The Ray Serve replica of one model: a process, its health and its life; decides nothing about requests.

Which versions answer it is told through Serve's configuration, as a routing document of digests. It never asks the
registry, so replicas restart and move while MLflow is down.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from twinscore.errors import TwinscoreError
from twinscore.online.app import GatewayApp
from twinscore.online.cheaper import CheapEndpoint, load_cheap
from twinscore.online.degrade_spec import DegradeSpec
from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.hybrid import endpoint_kind
from twinscore.online.ladder_watch import LadderWatch, ready_listeners
from twinscore.online.listener import ListenerLimits
from twinscore.online.request import Limits
from twinscore.online.scaling import STATS
from twinscore.online.shadow_feed import show_shadow_log
from twinscore.online.shadow_process import ShadowJob, start_beside
from twinscore.online.spec import ServeSpec
from twinscore.online.switch import Switch
from twinscore.rollout.routing import Routing, Target
from twinscore.settings import Settings

__all__ = ["GatewayReplica"]

_log = structlog.get_logger("twinscore.online")


class GatewayReplica:
    """What Serve builds in each replica; wrapped by `serve.ingress` in `deploy`.

    A live bundle that is damaged, or that its own reference rows contradict, fails the first `reconfigure`, so that
    Serve never routes a request to the replica.

    Args:
        model: what is served.
        settings: of the stack.
        spec: the deployment file.
        cheap: the version that `degrade.version` names.
    """

    def __init__(self, model: str, *, settings: Settings, spec: ServeSpec, cheap: Target | None = None) -> None:
        from twinscore.wiring import listener_roster

        limits = Limits.of(settings)
        self._model = model
        self._gateway = Gateway(model, limits=limits, partial=spec.partial, explain=spec.explain)
        bundles = settings.lake.resolve() / "bundles"
        kept = spec.audit if spec.audit.enabled and spec.audit.shadows else None
        self._switch = Switch(
            self._gateway, bundles=bundles, limits=limits, kind=endpoint_kind(spec.cache, settings.lake),
            start=lambda routing, shadow: start_beside(ShadowJob.of(settings, routing, shadow, kept)),
        )  # fmt: skip
        if kept is not None:
            show_shadow_log(self._gateway.metrics, self._switch.shadow_log)
        self._shutdown_s = spec.shutdown_s
        self._climb: Callable[[Front], LadderWatch] | None = None
        if spec.degrade is not None:
            self._climb = _ladder(self._gateway, settings, spec, spec.degrade, cheap)
        self._ladder: LadderWatch | None = None
        self._open = lambda: Front(
            self._gateway,
            settings,
            listener_roster(settings),
            replica=_replica_name(),
            host=_own_address(settings),
            audit=spec.audit,
            limits=ListenerLimits(
                max_waiting=spec.max_ongoing_requests + spec.max_queued_requests, max_wait_s=spec.max_wait_ms / 1e3
            ),
            grpc_port=spec.grpc_port,
        )
        self._front: Front | None = None
        self._app = GatewayApp(
            self._gateway, commit=self._commit if spec.audit.enabled else None, echo_request_id=False
        )

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Put a routing into force; Serve calls this before the first request and whenever the routing changes.

        Only a replica that has no live version yet fails on a routing that it cannot follow: Serve would end one that
        answers well. Who changes routings reads the refusal in `routing_state`.
        """
        routing = Routing.from_json(user_config["routing"])
        try:
            await asyncio.to_thread(self._switch.apply, routing)
        except TwinscoreError:
            if self._gateway.endpoint is None:
                raise
        if self._front is None:  # nobody is sent here before there is a version that answers
            self._front = await asyncio.to_thread(self._open)
            if self._climb is not None:
                self._ladder = await asyncio.to_thread(self._climb, self._front)
        if self._ladder is not None:
            ordered = user_config.get("degrade") or {}
            self._ladder.order(ordered.get("until_s"), ordered.get("reason", ""))

    def routing_state(self) -> dict[str, Any]:
        """Return the routing in force here, what was refused, and what became of challengers' and shadows' rows."""
        ladder = None if self._ladder is None else self._ladder.facts()
        own = {"replica": _replica_name(), "pid": os.getpid(), "ladder": ladder}
        return {**own, **self._switch.state()}

    def __serve_build_asgi_app__(self) -> GatewayApp:
        """Return the application for Serve's own ingress; Serve calls this once after the constructor."""
        return self._app

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the listeners' load; Serve asks every second and hands it to the policy in `scaling`."""
        if self._front is None:
            return {}
        return dict(zip(STATS, self._front.load_state(), strict=True))

    def check_health(self) -> None:
        """Score a reference row; Serve replaces the replica when this raises or hangs."""
        self._switch.check()
        if self._front is not None and not self._front.listener.alive:
            message = f"The listener of {self._model} has ended; the replica must be made anew."
            raise RuntimeError(message)

    def _commit(self, records: Sequence[bytes]) -> None:
        assert self._front is not None
        self._front.commit(records)

    def __del__(self) -> None:
        """Leave in order: Serve calls this once nothing comes through its own ingress any more."""
        ladder = getattr(self, "_ladder", None)
        if ladder is not None:
            ladder.close()
        front = getattr(self, "_front", None)
        if front is not None:
            front.close(self._shutdown_s)
        switch = getattr(self, "_switch", None)
        if switch is not None:
            switch.close()


def _ladder(
    gateway: Gateway, settings: Settings, spec: ServeSpec, degrade: DegradeSpec, cheap: Target | None
) -> Callable[[Front], LadderWatch]:
    """Load the cheaper version, and return what puts a replica with a front on the ladder.

    A version that cannot be loaded is said and shown: the live one answers all the same.
    """
    from twinscore.wiring import listener_roster

    lake = settings.lake.resolve()
    roster = listener_roster(settings)
    most = max(spec.replicas, spec.max_replicas or 0)
    found: CheapEndpoint | None = None
    problem = ""
    if cheap is not None:
        try:
            found = load_cheap(lake, gateway, cheap)
        except TwinscoreError as error:
            problem = error.message
            _log.error("cannot_degrade", model=gateway.model, version=cheap.version, why=problem)

    def climb(front: Front) -> LadderWatch:
        return LadderWatch(
            gateway, degrade, degrade.rules(spec.scaling.p99_ms), front, lake=lake, cheap=found,
            problem=problem, at_most=lambda: most == spec.replicas or ready_listeners(roster, gateway.model) >= most,
        )  # fmt: skip

    return climb


def _replica_name() -> str:
    """Return the name of this replica, or of this process outside of Serve."""
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        return serve.get_replica_context().replica_id.unique_id
    except RayServeException:
        return f"process-{os.getpid()}"


def _own_address(settings: Settings) -> str:
    """Return the address by which edges reach this machine: loopback on one machine, else this node's own."""
    if settings.ray_address is None:
        return "127.0.0.1"
    from ray import util

    untyped: Any = util
    return str(untyped.get_node_ip_address())
