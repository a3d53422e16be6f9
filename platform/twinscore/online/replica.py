"""The Ray Serve replica of one model version: a process, its health and its life; decides nothing about requests.

It is given a bundle's folder in the content-addressed store and the digest it must have. It never asks the
registry, so replicas restart and move while MLflow is down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from twinscore.online.app import PredictApp
from twinscore.online.endpoint import Endpoint
from twinscore.online.request import Limits

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EndpointReplica", "load_endpoint"]


class EndpointReplica:
    """What Serve builds in each replica; wrapped by `serve.ingress` in `deploy`.

    A bundle that is damaged, or that its own reference rows contradict, fails the constructor, so that Serve
    never routes a request to it.
    """

    def __init__(self, bundle_folder: str, digest: str, model: str, version: str, limits: Limits) -> None:
        from pathlib import Path

        self._endpoint = load_endpoint(Path(bundle_folder), digest, model=model, version=version, limits=limits)
        self._probe = msgspec.json.encode(self._endpoint.example())

    def __serve_build_asgi_app__(self) -> PredictApp:
        """Return the application; Serve calls this once after the constructor."""
        return PredictApp(self._endpoint.model, self._endpoint, echo_request_id=False)

    def check_health(self) -> None:
        """Answer a reference row; Serve replaces the replica when this raises or hangs."""
        answer = self._endpoint.predict(self._probe, "application/json", "health")
        if answer.status != 200:
            message = f"The replica of {self._endpoint.model} answered {answer.status} to its own reference row."
            raise RuntimeError(message)


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
