"""Puts a model version behind HTTP on the Ray that the process is connected to; starts and stops no Ray.

The registry is asked here, once. What a replica gets is a folder in the bundle store and its digest.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import twinscore
from twinscore.errors import ModelNotReady
from twinscore.online.beside import apply_plan, remove_all_beside
from twinscore.online.replica import GatewayReplica
from twinscore.online.request import Limits
from twinscore.online.routes import DEPLOYMENT, make_live
from twinscore.online.serve_config import read_user_config
from twinscore.online.spec import ServeSpec
from twinscore.rollout.plan import promoted
from twinscore.rollout.routing import Routing, Target

if TYPE_CHECKING:
    from ray.serve import Application, Deployment

    from twinscore.settings import Settings

__all__ = ["build_application", "endpoint_url", "serve_model", "stop_model"]

_READY_TIMEOUT_S = 90.0
_POLL_S = 0.1


def serve_model(settings: Settings, ref: str, *, replicas: int = 1, spec: ServeSpec | None = None) -> str:
    """Serve a model version at `/<model>` and return its URL once it answers ready.

    Where the model is served already with the same options, replicas load the version beside the one that answers,
    verify it, and swap; none is restarted. With other options Serve starts and checks new replicas first.

    Args:
        settings: where the registry, the bundle store and Serve are.
        ref: `NAME`, `NAME@ALIAS` or `NAME/VERSION`.
        replicas: processes that answer; ignored when `spec` is given.
        spec: every serving option.

    Raises:
        ModelNotFound: the registry knows no such model, version or alias.
        BundleInvalid: the version carries no complete bundle.
        ModelNotReady: Serve could not start the version, or its endpoint does not answer.
    """
    from ray import serve

    from twinscore.wiring import load_version

    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # its news is for the log of the stack
    spec = spec or ServeSpec(model=ref, replicas=replicas)
    found, bundle = load_version(settings, ref)
    live = Target(version=found.version, digest=bundle.digest)
    serve.start(
        proxy_location="HeadOnly",
        http_options={
            "host": settings.host,
            "port": settings.serve_port,
            "request_timeout_s": settings.request_timeout_s,
        },
    )
    shape = _shape(settings, spec)
    config = read_user_config(found.model, DEPLOYMENT)
    if config is not None and config.get("shape") == shape and _answers(found.model):
        make_live(settings, found.model, live)
    else:
        routing = _next(found.model, live, config)
        application = build_application(spec, settings=settings, routing=routing, shape=shape)
        try:
            serve.run(application, name=found.model, route_prefix=f"/{found.model}", blocking=False)
        except RuntimeError as error:
            message = (
                f"Serve could not start {found.model} version {found.version}: {_last_line(error)}"
                f" The replica's log is in the Ray dashboard under Serve / {found.model}."
            )
            raise ModelNotReady(message, model=found.model, version=found.version) from error
    url = endpoint_url(settings, found.model)
    _wait_ready(url, bundle.digest)
    if spec.routing is not None:
        apply_plan(settings, found.model, spec.routing)
    return url


def stop_model(model: str) -> None:
    """Take a model's endpoint away; requests inside it are finished first."""
    from ray import serve

    serve.delete(model)
    remove_all_beside(model)


def endpoint_url(settings: Settings, model: str) -> str:
    """Return the address under which a model is served on this stack."""
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104 - compared, not bound
    return f"http://{host}:{settings.serve_port}/{model}"


def build_application(spec: ServeSpec, *, settings: Settings, routing: Routing, shape: str) -> Application:
    """Return the Serve application of one model; nothing is started."""
    from ray import serve

    scale: dict[str, Any] = {"num_replicas": spec.replicas}
    if spec.max_replicas is not None and spec.max_replicas > spec.replicas:
        scale = {
            "autoscaling_config": {
                "min_replicas": spec.replicas,
                "max_replicas": spec.max_replicas,
                "target_ongoing_requests": max(1, spec.max_ongoing_requests // 4),
            }
        }
    wrap = serve.deployment(
        name=DEPLOYMENT,
        user_config={"routing": routing.to_json(), "shape": shape},
        ray_actor_options={"num_cpus": spec.cpus},
        max_ongoing_requests=spec.max_ongoing_requests,
        max_queued_requests=spec.max_queued_requests,
        backpressure_config={"status_code": 503, "retry_after_s": 1},
        graceful_shutdown_timeout_s=spec.shutdown_s,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=2,
        health_check_timeout_s=5,
        max_constructor_retry_count=3,
        # Replacements start beside the old replicas; without this Serve stops the only replica first.
        max_surge_percent=100,
        logging_config={"enable_access_log": False},
        **scale,
    )
    deployment: Deployment = wrap(serve.ingress()(GatewayReplica))
    return deployment.bind(routing.model, str(settings.lake.resolve() / "bundles"), Limits.of(settings))


def _next(model: str, live: Target, config: dict[str, Any] | None) -> Routing:
    """Return the routing of replicas that are made anew; what is asked beside the live version stays."""
    if config is None:
        return Routing(model=model, live=live)
    return promoted(Routing.from_json(config["routing"]), live)


def _answers(model: str) -> bool:
    """Tell whether a model's application is well, so that its replicas need not be made anew."""
    from ray import serve

    found = serve.status().applications.get(model)
    return found is not None and found.status == "RUNNING"


def _shape(settings: Settings, spec: ServeSpec) -> str:
    """Return a digest of everything that a replica cannot change while it answers: options, settings, our code."""
    digest = hashlib.sha256(settings.model_dump_json().encode())
    digest.update(repr(replace(spec, model="-", routing=None)).encode())
    root = Path(twinscore.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _wait_ready(url: str, digest: str) -> None:
    """Wait until the proxy routes to the new version.

    Serve calls an application running before its proxies have heard of the route, and a proxy answers 404 to
    a route it has not heard of, so only the endpoint's own answer counts.
    """
    import httpx

    deadline = time.monotonic() + _READY_TIMEOUT_S
    seen = "no answer"
    with httpx.Client(timeout=5.0, trust_env=False) as client:
        while time.monotonic() < deadline:
            try:
                answer = client.get(f"{url}/version")
                if answer.status_code == 200 and answer.json().get("bundle_digest") == digest:
                    return
                seen = f"status {answer.status_code}"
            except (httpx.HTTPError, ValueError) as error:
                seen = type(error).__name__
            time.sleep(_POLL_S)
    message = f"The endpoint {url} did not become ready within {_READY_TIMEOUT_S:.0f} s (last seen: {seen})."
    raise ModelNotReady(message, url=url, seen=seen)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__
