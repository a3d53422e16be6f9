"""Puts a model version behind HTTP on the Ray that the process is connected to; starts and stops no Ray.

The registry is asked here, once. What a replica gets is a folder in the bundle store and its digest.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import twinscore
from twinscore.access.local import local_key
from twinscore.clock import SystemClock
from twinscore.errors import ModelNotReady, SchemaMismatch, SettingsInvalid
from twinscore.online.beside import apply_plan, remove_all_beside
from twinscore.online.replica import GatewayReplica
from twinscore.online.routes import DEPLOYMENT, make_live
from twinscore.online.serve_config import applications, read_user_config
from twinscore.online.spec import ServeSpec
from twinscore.rollout.plan import promoted
from twinscore.rollout.routing import Routing, Target

if TYPE_CHECKING:
    from ray.serve import Application, Deployment

    from twinscore.bundle.files import Bundle
    from twinscore.settings import Settings

__all__ = ["build_application", "endpoint_url", "serve_model", "stop_model"]

_READY_TIMEOUT_S = 90.0
_POLL_S = 0.1
_REPORT_S = 1.0
"""Between two reports of a replica's load."""
_LOOK_BACK_S = 5.0
"""Over which reports are averaged; the listener's own numbers are of its last five seconds."""


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
        SettingsInvalid: the replicas shall listen at a port of the edge's.
    """
    from ray import serve

    from twinscore.wiring import load_version, serve_ingress

    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # its news is for the log of the stack
    spec = spec or ServeSpec(model=ref, replicas=replicas)
    _refuse_shared(settings, spec)
    found, bundle = load_version(settings, ref)
    live = Target(version=found.version, digest=bundle.digest)
    host, port = serve_ingress(settings)
    serve.start(
        proxy_location="HeadOnly",
        http_options={
            "host": host,
            "port": port,
            "request_timeout_s": settings.request_timeout_s,
        },
    )
    cheap = _cheap(settings, found.model, spec, bundle)
    shape = _shape(settings, spec, cheap)
    config = read_user_config(found.model, DEPLOYMENT)
    if config is not None and config.get("shape") == shape and _answers(found.model):
        make_live(settings, found.model, live)
    else:
        application = build_application(spec, settings, _next(found.model, live, config), shape, cheap)
        try:
            serve.run(application, name=found.model, route_prefix=f"/{found.model}", blocking=False)
        except RuntimeError as error:
            message = (
                f"Serve could not start {found.model} version {found.version}: {_last_line(error)}"
                f" The replica's log is in the Ray dashboard under Serve / {found.model}."
            )
            raise ModelNotReady(message, model=found.model, version=found.version) from error
    url = endpoint_url(settings, found.model)
    _wait_ready(url, bundle.digest, local_key(settings.home, now=SystemClock().now()), settings.tls_certificate)
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
    return f"{settings.serve_url}/{model}"


def build_application(
    spec: ServeSpec, settings: Settings, routing: Routing, shape: str = "", cheap: Target | None = None
) -> Application:
    """Return the Serve application of one model; nothing is started.

    Args:
        spec: serving options.
        settings: of the stack.
        routing: which versions answer.
        shape: digest of what replicas cannot change while they answer; see `serve_model`.
        cheap: the version that stands in for the live one when full service is too slow.
    """
    from ray import serve

    wrap = serve.deployment(
        name=DEPLOYMENT,
        user_config={"routing": routing.to_json(), "shape": shape, "degrades": spec.degrade is not None},
        ray_actor_options={"num_cpus": spec.cpus},
        max_ongoing_requests=spec.max_ongoing_requests,
        max_queued_requests=spec.max_queued_requests,
        backpressure_config={"status_code": 503, "retry_after_s": 1},
        # The listener's own draining comes on top of what Serve waits for.
        graceful_shutdown_timeout_s=2 * spec.shutdown_s + 5,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=2,
        health_check_timeout_s=5,
        max_constructor_retry_count=3,
        # Replacements start beside the old replicas; without this Serve stops the only replica first.
        max_surge_percent=100,
        logging_config={"enable_access_log": False},
        **_scale(spec),
    )
    deployment: Deployment = wrap(serve.ingress()(GatewayReplica))
    return deployment.bind(routing.model, settings=settings, spec=replace(spec, routing=None), cheap=cheap)


def _refuse_shared(settings: Settings, spec: ServeSpec) -> None:
    """Refuse a port of the edge's for the replicas: both would bind it, and calls would come to either."""
    for name in ("serve_port", "grpc_port"):
        if spec.grpc_port is not None and spec.grpc_port == getattr(settings, name):
            message = (
                f"`grpc_port` of the deployment file is {spec.grpc_port}, the edge's own TWINSCORE_{name.upper()}."
                " Leave it out, and call the edge; or choose another port for what is called without it."
            )
            raise SettingsInvalid(message, setting="grpc_port", port=spec.grpc_port)


def _cheap(settings: Settings, model: str, spec: ServeSpec, live: Bundle) -> Target | None:
    """Return the version that degraded answers come from, whose bundle is in the store from now on.

    Raises:
        SchemaMismatch: it was trained under another contract than the live version.
    """
    from twinscore.wiring import load_version

    ref = None if spec.degrade is None else spec.degrade.reference(model)
    if ref is None:
        return None
    found, bundle = load_version(settings, ref)
    if bundle.contract_digest != live.contract_digest:
        message = (
            f"degrade.version is {ref}, whose contract is another than that of the version to be served, so it may not"
            " answer for it. Train the cheaper version under the same contract."
        )
        raise SchemaMismatch(message, version=found.version)
    return Target(version=found.version, digest=bundle.digest)


def _next(model: str, live: Target, config: dict[str, Any] | None) -> Routing:
    """Return the routing of replicas that are made anew; what is asked beside the live version stays."""
    if config is None:
        return Routing(model=model, live=live)
    return promoted(Routing.from_json(config["routing"]), live)


def _answers(model: str) -> bool:
    """Tell whether a model's application is well, so that its replicas need not be made anew."""
    found = applications().get(model)
    return found is not None and found.status == "RUNNING"


def _shape(settings: Settings, spec: ServeSpec, cheap: Target | None) -> str:
    """Return a digest of everything that a replica cannot change while it answers: options, settings, our code."""
    digest = hashlib.sha256(settings.model_dump_json().encode())
    digest.update(repr((replace(spec, model="-", routing=None, degrade=None), spec.degrade, cheap)).encode())
    for path in sorted(Path(twinscore.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _scale(spec: ServeSpec) -> dict[str, Any]:
    """Return Serve's options for a number of replicas that is fixed, or follows the load."""
    from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

    if spec.max_replicas is None or spec.max_replicas <= spec.replicas:
        return {"num_replicas": spec.replicas}
    wish = spec.scaling
    policy: Any = AutoscalingPolicy  # untyped
    targets = {"ongoing": wish.target_ongoing, "busy": wish.target_busy, "p99_ms": wish.p99_ms}
    with warnings.catch_warnings():
        # Ray wants the interval in the environment of every process; the field is read by those that exist.
        warnings.filterwarnings("ignore", message=".*metrics_interval_s", category=DeprecationWarning)
        config = AutoscalingConfig(
            min_replicas=spec.replicas,
            max_replicas=spec.max_replicas,
            target_ongoing_requests=wish.target_ongoing,
            metrics_interval_s=_REPORT_S,
            look_back_period_s=_LOOK_BACK_S,
            upscale_delay_s=wish.up_delay_s,
            downscale_delay_s=wish.down_delay_s,
            policy=policy(policy_function="twinscore.online.scaling:ListenerPolicy", policy_kwargs=targets),
        )
    return {"autoscaling_config": config}


def _wait_ready(url: str, digest: str, api_key: str | None, certificate: Path | None = None) -> None:
    """Wait until the proxy routes to the new version.

    Serve calls an application running before its proxies have heard of the route, and a proxy answers 404 to
    a route it has not heard of, so only the endpoint's own answer counts.
    """
    import httpx

    deadline = time.monotonic() + _READY_TIMEOUT_S
    seen = "no answer"
    headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
    with httpx.Client(headers=headers, timeout=5.0, trust_env=False, verify=_only(certificate)) as client:
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


def _only(certificate: Path | None) -> ssl.SSLContext | bool:
    """Return what trusts the edge's own certificate alone, whatever name it is for: it is asked by its address."""
    if certificate is None:
        return True
    context = ssl.create_default_context(cafile=str(certificate))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__
