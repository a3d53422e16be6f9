"""The Ray Serve replica of one model: a process, its health and its life; decides nothing about requests.

Which versions answer it is told through Serve's configuration, as a routing document of digests. It never asks the
registry, so replicas restart and move while MLflow is down.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from twinscore.errors import TwinscoreError
from twinscore.online.app import GatewayApp
from twinscore.online.gateway import Gateway
from twinscore.online.request import Limits
from twinscore.online.switch import Switch, load_endpoint
from twinscore.rollout.routing import Routing

__all__ = ["GatewayReplica", "load_endpoint"]


class GatewayReplica:
    """What Serve builds in each replica; wrapped by `serve.ingress` in `deploy`.

    A live bundle that is damaged, or that its own reference rows contradict, fails the first `reconfigure`, so that
    Serve never routes a request to the replica.

    Args:
        model: what the paths start with.
        bundles: the content-addressed store.
        limits: what one request may ask for.
    """

    def __init__(self, model: str, bundles: str, limits: Limits) -> None:
        self._gateway = Gateway(model, limits=limits)
        self._switch = Switch(self._gateway, bundles=Path(bundles), limits=limits)

    def __serve_build_asgi_app__(self) -> GatewayApp:
        """Return the application; Serve calls this once after the constructor."""
        return GatewayApp(self._gateway, echo_request_id=False)

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

    def routing_state(self) -> dict[str, Any]:
        """Return the routing in force here, what was refused, and what became of challengers' and shadows' rows."""
        return {"replica": _name(), "pid": os.getpid(), **self._switch.state()}

    def check_health(self) -> None:
        """Score a reference row; Serve replaces the replica when this raises or hangs."""
        self._switch.check()


def _name() -> str:
    """Return the name of this replica, or of this process outside of Serve."""
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        return serve.get_replica_context().replica_id.unique_id
    except RayServeException:
        return f"process-{os.getpid()}"
