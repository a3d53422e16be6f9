"""The Serve application of a version that is not live: canary, A/B arm or shadow; reached by handle, never over HTTP.

It is a process of its own, so what it does to itself stays there. A shadow is also kept small: it takes the processor
only while nobody else wants it, may take so much memory and no more, and is replaced when it stays above.
"""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from twinscore.errors import ModelNotReady, PredictFailed
from twinscore.online.asked import Asked
from twinscore.online.caller import DEPLOYMENT, Scored
from twinscore.online.footprint import MIB, Footprint, memory_bytes
from twinscore.online.request import Limits
from twinscore.online.serve_config import applications, making
from twinscore.online.switch import load_endpoint
from twinscore.priority import all_give_way
from twinscore.rollout.plan import Role

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.serve import Application

    from twinscore.online.asked import Outcome
    from twinscore.settings import Settings

__all__ = [
    "AppState",
    "ChallengerOptions",
    "ChallengerReplica",
    "Deployed",
    "app_name",
    "app_state",
    "challenger_apps",
    "deploy_challenger",
    "remove_challenger",
    "start_challenger",
]

AppState = Literal["running", "starting", "failed", "gone"]

_NICE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengerOptions:
    """How a challenger's application is run."""

    replicas: int = 1
    max_replicas: int | None = None
    """Most processes under load; None keeps `replicas` fixed."""
    cpus: float = 0.0
    max_ongoing_requests: int = 16
    max_queued_requests: int = 64
    """Calls that wait beyond that; more are turned away, and the live version answers."""
    memory_mb: int = 1024
    """Memory that a replica may take beyond what it has when it is ready."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A challenger that runs."""

    app: str
    version: str
    digest: str


class ChallengerReplica:
    """What Serve builds in each replica of a challenger's application.

    Args:
        folder: the bundle in the content-addressed store.
        digest: which it must have.
        model: name of the model.
        version: its version.
        limits: what one request may ask for.
        role: a shadow gets limits of its own.
        memory_mb: memory beyond what it has when it is ready.
    """

    def __init__(
        self, folder: str, digest: str, model: str, version: str, limits: Limits, role: Role, memory_mb: int
    ) -> None:
        self._endpoint = load_endpoint(Path(folder), digest, model=model, version=version, limits=limits)
        self._digest = digest
        self._probe = self._endpoint.decode([self._endpoint.example()])[0]
        self._footprint = Footprint()
        taken, mapped = memory_bytes()
        self._most_bytes = taken + memory_mb * MIB
        if role == "shadow":
            all_give_way(_NICE)
            # Of address space, which is what a limit can be put on; Ray maps far more of it than it uses.
            most = mapped + 2 * memory_mb * MIB
            resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))

    def score(self, payload: Sequence[Mapping[str, Any]] | pa.Table) -> Scored:
        """Return predictions for typed rows or a conformed table; a row that is refused carries its errors."""
        rows = payload if isinstance(payload, list) else ()
        asked = Asked(rows, at="/rows", table=None if isinstance(payload, list) else payload, partial=True)
        started_ns = time.monotonic_ns()
        outcome = self._outcome(asked)
        took_ns = time.monotonic_ns() - started_ns
        return Scored(self._digest, self._endpoint.predictions(outcome), took_ns, *self._footprint.told())

    def _outcome(self, asked: Asked) -> Outcome:
        """Score; what is done here is timed as the live version's scoring is."""
        return self._endpoint.score(asked)

    def check_health(self) -> None:
        """Score a reference row and look at the memory; Serve replaces the replica when this raises or hangs."""
        self._endpoint.score(Asked(self._probe))
        taken, _ = memory_bytes()
        if taken > self._most_bytes:
            message = f"The replica takes {taken // MIB} MiB; at most {self._most_bytes // MIB} are allowed."
            raise PredictFailed(message, taken=taken, most=self._most_bytes)


def app_name(model: str, role: Role, version: str) -> str:
    """Return the name of a challenger's application.

    >>> app_name("loans", "canary", "2")
    'loans.canary.2'
    """
    return f"{model}.{role}.{version}"


def deploy_challenger(
    settings: Settings,
    model: str,
    version: str,
    role: Role,
    *,
    options: ChallengerOptions | None = None,
    replica: type[ChallengerReplica] = ChallengerReplica,
) -> Deployed:
    """Start the application of a version beside the gateway, and return once it can be asked.

    Args:
        settings: where the registry, the bundle store and Serve are.
        model: name of the model.
        version: a version number, or `@ALIAS`.
        role: what it is there for.
        options: how it is run.
        replica: the class that Serve builds.

    Raises:
        ModelNotFound, BundleInvalid: as `load_version`.
        ModelNotReady: it does not start.
    """
    from ray import serve

    from twinscore.wiring import load_version

    found, bundle = load_version(settings, f"{model}{version}" if version.startswith("@") else f"{model}/{version}")
    one = Deployed(app_name(model, role, found.version), found.version, bundle.digest)
    bound = _application(settings, model, one, role, options or ChallengerOptions(), replica)
    try:
        serve.run(bound, name=one.app, route_prefix=None, blocking=False)
    except RuntimeError as error:
        message = f"Serve could not start {one.app}; its log is in the Ray dashboard under Serve / {one.app}."
        raise ModelNotReady(message, app=one.app) from error
    return one


def start_challenger(
    settings: Settings,
    model: str,
    version: str,
    digest: str,
    role: Role,
    *,
    options: ChallengerOptions | None = None,
    replica: type[ChallengerReplica] = ChallengerReplica,
) -> Deployed:
    """Begin to start a version whose bundle is in the store already; asks no registry and waits for nothing.

    Args as `deploy_challenger`; `app_state` tells what becomes of it.
    """
    from ray import serve

    one = Deployed(app_name(model, role, version), version, digest)
    bound = _application(settings, model, one, role, options or ChallengerOptions(), replica)
    target = serve.RunTarget(bound, name=one.app, route_prefix=None)
    serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
    return one


def app_state(app: str) -> tuple[AppState, str]:
    """Return how the application of a challenger is, and Serve's words when it does not run."""
    found = applications().get(app)
    if found is None:
        return "gone", ""
    if found.deployments and DEPLOYMENT not in found.deployments:
        return "failed", f"{app} is the name of another application"
    status = str(getattr(found.status, "value", found.status))
    if status == "RUNNING":
        return "running", ""
    if status == "DEPLOY_FAILED":  # not UNHEALTHY: Serve makes another replica by itself, within seconds
        said = [found.message, *[one.message for one in found.deployments.values()]]
        return "failed", " ".join(" ".join([words for words in said if words]).split())[:500]
    return ("gone", "") if status == "DELETING" else ("starting", "")


def remove_challenger(app: str) -> None:
    """Take a challenger's application away; removing what is not there changes nothing."""
    from ray import serve

    if app in applications():
        serve.delete(app, _blocking=False)


def _application(
    settings: Settings,
    model: str,
    one: Deployed,
    role: Role,
    options: ChallengerOptions,
    replica: type[ChallengerReplica],
) -> Application:
    from ray import serve

    from twinscore.wiring import bundle_store

    scale: dict[str, Any] = {"num_replicas": options.replicas}
    if options.max_replicas is not None and options.max_replicas > options.replicas:
        scale = {"autoscaling_config": {"min_replicas": options.replicas, "max_replicas": options.max_replicas}}
    with making():
        wrap = serve.deployment(
            name=DEPLOYMENT,
            ray_actor_options={"num_cpus": options.cpus},
            max_ongoing_requests=options.max_ongoing_requests,
            max_queued_requests=options.max_queued_requests,
            graceful_shutdown_timeout_s=2,
            graceful_shutdown_wait_loop_s=0.5,
            health_check_period_s=2,
            health_check_timeout_s=5,
            max_constructor_retry_count=3,
            logging_config={"enable_access_log": False},
            **scale,
        )
    folder = bundle_store(settings).path(one.digest)
    return wrap(replica).bind(str(folder), one.digest, model, one.version, Limits.of(settings), role, options.memory_mb)


def challenger_apps(model: str) -> list[str]:
    """Return the applications beside a model's gateway that Serve has, in whatever state."""
    name = re.compile(rf"{re.escape(model)}\.({'|'.join(get_args(Role))})\.\d+")
    found = applications()
    return [app for app, one in found.items() if name.fullmatch(app) and DEPLOYMENT in one.deployments]
