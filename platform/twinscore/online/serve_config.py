"""Serve's own configuration of a running application, read and changed in place; the only place that knows how.

Serve calls `reconfigure` on every replica when nothing but an application's user configuration changes, without
restarting one. Its public `serve.run` cannot say "nothing but": it makes a new version each time. So the deployment
is taken from the controller as it is, and sent back with another user configuration.
"""

from __future__ import annotations

import threading
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twinscore.errors import ModelNotReady

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "Processes",
    "applications",
    "changing",
    "making",
    "processes_of",
    "read_user_config",
    "running_replicas",
    "scaling_of",
    "write_user_config",
]

_TAKEN_OVER_S = 15.0
_POLL_S = 0.05
_ENDING = {"STOPPING", "STOPPED"}
_LOCKS: dict[str, threading.Lock] = {}
_MAKING = threading.RLock()
"""Held while Serve's own configuration is made: it registers modules for pickling as it does so, and drops them again,
which fails when two threads are at it."""


@dataclass(frozen=True, slots=True)
class Processes:
    """The replicas of one deployment, by name, as Serve knows them."""

    wanted: int
    """How many there shall be."""
    there: frozenset[str]
    """That run, or are on their way up."""
    ended: frozenset[str]
    """That are on their way down, or ended lately."""


@contextmanager
def making() -> Iterator[None]:
    """Let one thread of this process at a time make Serve's own configurations, as `serve.deployment` does."""
    with _MAKING:
        yield


def applications() -> dict[str, Any]:
    """Return what `serve.status` tells of each application; threads may ask at the same time, which Ray's own forbids.

    Serve makes a configuration of each deployment to tell this.
    """
    from ray import serve

    with _MAKING:
        return dict(serve.status().applications)


@contextmanager
def changing(app: str) -> Iterator[None]:
    """Let one thread of this process at a time read a configuration and write it changed, so that no change is lost."""
    with _LOCKS.setdefault(app, threading.Lock()):
        yield


def read_user_config(app: str, deployment: str) -> dict[str, Any] | None:
    """Return the user configuration of a deployment, or None when there is no such application."""
    found = _deployed(app, deployment)
    if found is None:
        return None
    config: dict[str, Any] | None = _read(found.deployment_info.deployment_config).user_config
    return config or None


def write_user_config(
    app: str, deployment: str, config: dict[str, Any], *, scaling: Mapping[str, Any] | None = None
) -> None:
    """Give a running deployment another user configuration, and return once Serve has it; its replicas go on.

    Args:
        scaling: arguments of its autoscaling policy to change with it; without such a policy they are left out.

    Raises:
        KeyError: there is no such application.
        ModelNotReady: Serve did not take it over in time.
    """
    import ray
    from ray.serve.generated import serve_pb2

    messages: Any = serve_pb2

    found = _deployed(app, deployment)
    if found is None:
        raise KeyError(app)
    info = found.deployment_info
    info.deployment_config.user_config = _as_message(config)
    info.deployment_config.version = info.version
    if scaling:
        _change_policy(info.deployment_config, scaling)
    arguments = messages.DeploymentArgs(
        deployment_name=deployment,
        deployment_config=info.deployment_config.SerializeToString(),
        replica_config=info.replica_config.SerializeToString(),
        deployer_job_id=ray.get_runtime_context().get_job_id(),
        ingress=True,
    )
    if found.route:
        arguments.route_prefix = found.route
    ray.get(
        _controller().deploy_applications.remote(
            {app: [arguments.SerializeToString()]}, {app: messages.ApplicationArgs().SerializeToString()}
        )
    )

    # The controller answers before its next turn, in which the new configuration becomes the one that it tells.
    deadline = time.monotonic() + _TAKEN_OVER_S
    while read_user_config(app, deployment) != config or not _scales_by(app, deployment, scaling):
        if time.monotonic() > deadline:
            message = f"Serve did not take the configuration of {app} over within {_TAKEN_OVER_S:.0f} s."
            raise ModelNotReady(message, model=app)
        time.sleep(_POLL_S)


def scaling_of(app: str, deployment: str) -> tuple[int, dict[str, Any]] | None:
    """Return the most replicas of a deployment and its policy's arguments; None where the number is fixed."""
    found = _deployed(app, deployment)
    scaling = None if found is None else _read(found.deployment_info.deployment_config).autoscaling_config
    return None if scaling is None else (int(scaling.max_replicas), dict(scaling.policy.policy_kwargs))


def _scales_by(app: str, deployment: str, scaling: Mapping[str, Any] | None) -> bool:
    found = scaling_of(app, deployment) if scaling else None
    return not scaling or found is None or {**found[1], **scaling} == found[1]


def _change_policy(message: Any, scaling: Mapping[str, Any]) -> None:
    """Change arguments of the autoscaling policy in Serve's own message; Serve makes the policy anew with them."""
    config = _read(message)
    if config.autoscaling_config is None:
        return
    policy = config.autoscaling_config.policy
    policy.policy_kwargs = {**policy.policy_kwargs, **scaling}
    with _MAKING:
        message.autoscaling_config.policy.policy_kwargs = config.to_proto().autoscaling_config.policy.policy_kwargs


def _as_message(config: dict[str, Any]) -> bytes:
    """Return a user configuration as Serve's messages carry it."""
    from ray.serve._private.config import DeploymentConfig

    serve_config: Any = DeploymentConfig
    with _MAKING:
        found: bytes = serve_config(user_config=config).to_proto().user_config
    return found


def _read(message: Any) -> Any:
    """Return Serve's own message of a deployment as its configuration."""
    from ray.serve._private.config import DeploymentConfig

    serve_config: Any = DeploymentConfig
    with _MAKING, warnings.catch_warnings():
        # Ray warns of a field that it wrote itself.
        warnings.filterwarnings("ignore", message=".*metrics_interval_s", category=DeprecationWarning)
        return serve_config.from_proto(message)


def running_replicas(app: str, deployment: str) -> int:
    """Return how many replicas of a deployment run; those that start get the configuration in force by themselves."""
    found = applications().get(app)
    if found is None or deployment not in found.deployments:
        return 0
    states = found.deployments[deployment].replica_states
    counted = {"RUNNING", "UPDATING"}  # Serve's states are enumerations here and plain text there
    return sum(count for state, count in states.items() if str(getattr(state, "value", state)) in counted)


def processes_of(apps: Iterable[str]) -> dict[str, Processes]:
    """Return the replicas of the one deployment of each of these applications; of what is not there, nothing."""
    import ray
    from ray.serve.exceptions import RayServeException

    try:
        found = ray.get(_controller().get_serve_instance_details.remote())["applications"]
    except RayServeException:
        return {}  # no Serve runs
    return {app: _processes(found[app]) for app in apps if app in found and found[app]["deployments"]}


def _processes(application: dict[str, Any]) -> Processes:
    deployment = next(iter(application["deployments"].values()))
    states = {one["replica_id"]: str(getattr(one["state"], "value", one["state"])) for one in deployment["replicas"]}
    there = frozenset(name for name, state in states.items() if state not in _ENDING)
    dead = {one["replica_id"] for one in deployment["recent_dead_replicas"]}
    return Processes(deployment["target_num_replicas"], there, frozenset({*states, *dead}) - there)


def _deployed(app: str, deployment: str) -> Any:
    import ray
    from ray.exceptions import RayTaskError
    from ray.serve.exceptions import RayServeException
    from ray.serve.generated import serve_pb2

    messages: Any = serve_pb2
    try:
        return messages.DeploymentRoute.FromString(ray.get(_controller().get_deployment_info.remote(deployment, app)))
    except RayServeException:
        return None  # no Serve runs
    except RayTaskError as error:
        if isinstance(error.cause, KeyError):
            return None
        raise


def _controller() -> Any:
    from ray.serve.context import _get_global_client

    client: Any = _get_global_client()
    return client._controller  # noqa: SLF001 - see the module's docstring
