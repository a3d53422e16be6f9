"""The Ray Serve replica of one model version: a process, its health and its life; decides nothing about requests.

It is given a bundle's folder in the content-addressed store and the digest it must have. It never asks the
registry, so replicas restart and move while MLflow is down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.contract.rows import decode_rows
from twinscore.online.app import GatewayApp
from twinscore.online.asked import Asked
from twinscore.online.endpoint import Endpoint
from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.hybrid import endpoint_kind
from twinscore.online.listener import ListenerLimits
from twinscore.online.request import Limits
from twinscore.online.scaling import STATS
from twinscore.online.spec import ServeSpec
from twinscore.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["GatewayReplica", "load_endpoint"]


class GatewayReplica:
    """What Serve builds in each replica; wrapped by `serve.ingress` in `deploy`.

    A bundle that is damaged, or that its own reference rows contradict, fails the constructor, so that Serve
    never routes a request to it.

    Args:
        folder: of the bundle, in the content-addressed store.
        digest: that the bundle must have.
        model: what is served.
        version: which version the bundle is.
        settings: of the stack.
        spec: the deployment file.
    """

    def __init__(
        self, folder: str, digest: str, *, model: str, version: str, settings: Settings, spec: ServeSpec
    ) -> None:
        from pathlib import Path

        from twinscore.wiring import listener_roster

        limits = Limits.of(settings)
        self._endpoint = load_endpoint(
            Path(folder), digest, model=model, version=version, limits=limits,
            kind=endpoint_kind(spec.cache, settings.lake),
        )  # fmt: skip
        self._probe, _ = decode_rows([self._endpoint.example()], self._endpoint.bundle.contract)
        self._endpoint.score(Asked(self._probe))  # the first score of a process costs more than the thousandth
        gateway = Gateway(model, self._endpoint, limits=limits, partial=spec.partial, explain=spec.explain)
        gateway.prepare()
        self._shutdown_s = spec.shutdown_s
        self._front = Front(
            gateway,
            settings,
            listener_roster(settings),
            replica=_replica_name(),
            host=_own_address(settings),
            audit=spec.audit,
            limits=ListenerLimits(
                max_waiting=spec.max_ongoing_requests + spec.max_queued_requests, max_wait_s=spec.max_wait_ms / 1e3
            ),
        )
        self._app = GatewayApp(
            gateway, commit=self._front.commit if spec.audit.enabled else None, echo_request_id=False
        )

    def __serve_build_asgi_app__(self) -> GatewayApp:
        """Return the application for Serve's own ingress; Serve calls this once after the constructor."""
        return self._app

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the listener's load; Serve asks every second and hands it to the policy in `scaling`."""
        return dict(zip(STATS, self._front.listener.load.state(), strict=True))

    def check_health(self) -> None:
        """Score a reference row; Serve replaces the replica when this raises or hangs."""
        self._endpoint.score(Asked(self._probe))
        if not self._front.listener.alive:
            message = f"The listener of {self._endpoint.model} has ended; the replica must be made anew."
            raise RuntimeError(message)

    def __del__(self) -> None:
        """Leave in order: Serve calls this once nothing comes through its own ingress any more."""
        front = getattr(self, "_front", None)
        if front is not None:
            front.close(self._shutdown_s)


def _replica_name() -> str:
    """Return the name of this replica, or of this process outside of Serve."""
    import os

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


def load_endpoint(
    folder: Path, digest: str, *, model: str, version: str, limits: Limits, kind: Callable[..., Endpoint] = Endpoint
) -> Endpoint:
    """Read a bundle, hold it against the digest it was deployed with, and return its endpoint, made by `kind`.

    Raises:
        BundleInvalid: a file is missing or changed, or the folder holds another bundle.
    """
    from twinscore.bundle.files import read_bundle
    from twinscore.errors import BundleInvalid

    bundle = read_bundle(folder)
    if bundle.digest != digest:
        message = (
            f"The bundle in {folder} has the digest {bundle.digest[:12]}, but {model} version {version} was deployed"
            f" with {digest[:12]}. Deploy the version again with `twinscore serve --model {model}`."
        )
        raise BundleInvalid(message, folder=str(folder), expected=digest, found=bundle.digest)
    return kind(bundle, model=model, version=version, limits=limits)
