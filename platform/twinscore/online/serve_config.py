"""Serve's own configuration of a running application, read and changed in place; the only place that knows how.

Serve calls `reconfigure` on every replica when nothing but an application's user configuration changes, without
restarting one. Its public `serve.run` cannot say "nothing but": it makes a new version each time. So the deployment
is taken from the controller as it is, and sent back with another user configuration.
"""

from __future__ import annotations

from typing import Any

__all__ = ["read_user_config", "running_replicas", "write_user_config"]


def read_user_config(app: str, deployment: str) -> dict[str, Any] | None:
    """Return the user configuration of a deployment, or None when there is no such application."""
    import ray.cloudpickle

    found = _deployed(app, deployment)
    if found is None or not found.deployment_info.deployment_config.user_config:
        return None
    config: dict[str, Any] = ray.cloudpickle.loads(found.deployment_info.deployment_config.user_config)
    return config


def write_user_config(app: str, deployment: str, config: dict[str, Any]) -> None:
    """Give a running deployment another user configuration; its replicas go on.

    Raises:
        KeyError: there is no such application.
    """
    import ray.cloudpickle
    from ray.serve.generated import serve_pb2

    messages: Any = serve_pb2
    dumps: Any = ray.cloudpickle.dumps

    found = _deployed(app, deployment)
    if found is None:
        raise KeyError(app)
    info = found.deployment_info
    info.deployment_config.user_config = dumps(config)
    info.deployment_config.version = info.version
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


def running_replicas(app: str, deployment: str) -> int:
    """Return how many replicas of a deployment run; those that start get the configuration in force by themselves."""
    from ray import serve

    found = serve.status().applications.get(app)
    if found is None or deployment not in found.deployments:
        return 0
    states = found.deployments[deployment].replica_states
    counted = {"RUNNING", "UPDATING"}  # Serve's states are enumerations here and plain text there
    return sum(count for state, count in states.items() if str(getattr(state, "value", state)) in counted)


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
