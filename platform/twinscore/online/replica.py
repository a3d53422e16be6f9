"""The Ray Serve replica of one model version: a process, its health and its life; decides nothing about requests.

It is given a bundle's folder in the content-addressed store and the digest it must have. It never asks the
registry, so replicas restart and move while MLflow is down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.online.app import GatewayApp
from twinscore.online.asked import Asked
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway
from twinscore.online.request import Limits

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["GatewayReplica", "load_endpoint"]


class GatewayReplica:
    """What Serve builds in each replica; wrapped by `serve.ingress` in `deploy`.

    A bundle that is damaged, or that its own reference rows contradict, fails the constructor, so that Serve
    never routes a request to it.
    """

    def __init__(self, bundle_folder: str, digest: str, model: str, version: str, limits: Limits) -> None:
        from pathlib import Path

        self._endpoint = load_endpoint(Path(bundle_folder), digest, model=model, version=version, limits=limits)
        self._gateway = Gateway(model, self._endpoint, limits=limits)
        self._probe = self._endpoint.decode([self._endpoint.example()])[0]

    def __serve_build_asgi_app__(self) -> GatewayApp:
        """Return the application; Serve calls this once after the constructor."""
        return GatewayApp(self._gateway, echo_request_id=False)

    def check_health(self) -> None:
        """Score a reference row; Serve replaces the replica when this raises or hangs."""
        self._endpoint.score(Asked(self._probe))


def load_endpoint(folder: Path, digest: str, *, model: str, version: str, limits: Limits) -> Endpoint:
    """Read a bundle, hold it against the digest it was deployed with, and return its endpoint.

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
    return Endpoint(bundle, model=model, version=version, limits=limits)
