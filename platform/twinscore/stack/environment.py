"""Which environment each process of the stack gets, and which one its clients need; starts nothing.

What a caller's shell says of Ray and MLflow is dropped: an address or a token of another cluster would win over ours.
The reasons for each value are in docs/how-to/operate.md.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from twinscore.stack.processes import MARK
from twinscore.stack.state import stack_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twinscore.settings import Settings
    from twinscore.stack.state import StackState

__all__ = [
    "client_environment",
    "edge_environment",
    "head_environment",
    "mlflow_environment",
    "ray_client",
    "shell_environment",
    "watch_environment",
]

SERVE_PORTS = 4
"""How many free ports `head_environment` wants."""

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# Ray's own knobs are RAY_<lower case>; they tune, they do not point anywhere, so a caller may set them.
_FOREIGN = re.compile(r"(RAY_(?![a-z])|MLFLOW_|_MLFLOW_|TWINSCORE_|_TWINSCORE_)")


def ray_client(token_path: Path | str) -> dict[str, str]:
    """Return what any process needs that speaks to a Ray of ours.

    The Windows-or-OSX variable is Ray's only switch for a node that calls itself 127.0.0.1. Without it Ray replaces the
    loopback address by the machine's own and listens on all interfaces.
    """
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_path),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def client_environment(state: StackState) -> dict[str, str]:
    """Return what a driver of the running stack needs."""
    return {**ray_client(state.ray.token_path), "RAY_SERVE_ENABLE_HA_PROXY": "1"}


def shell_environment(state: StackState) -> dict[str, str]:
    """Return what a shell needs so that `ray`, `mlflow` and `twinscore` all speak to the running stack."""
    return {
        "TWINSCORE_HOME": state.home,
        "MLFLOW_TRACKING_URI": state.mlflow.url,
        "RAY_API_SERVER_ADDRESS": state.ray.dashboard,
        "RAY_ADDRESS": state.ray.address,
        **ray_client(state.ray.token_path),
    }


def mlflow_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of the embedded MLflow server: loopback, one user, nothing on that we do not use."""
    hosts = [f"{name}:{settings.mlflow_port}" for name in ("127.0.0.1", "localhost")]
    artifacts = re.escape(str(settings.registry_folder / "artifacts"))
    return {
        **_clean(settings),
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(hosts),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{host}" for host in hosts),
        "MLFLOW_SERVER_X_FRAME_OPTIONS": "DENY",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "MLFLOW_MODEL_CATALOG_URI": "",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
        # MLflow searches instead of matching, so the expression is anchored.
        "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX": rf"\A(?!.*\.\.)(?:(?:file://)?{artifacts}/|models:/|runs:/)",
    }


def edge_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of the keeper of the edge, and of the proxy that it starts."""
    return {**_clean(settings), **_as_variables(settings)}


def watch_environment(settings: Settings, ray_address: str | None) -> dict[str, str]:
    """Return the environment of a process that looks at models, begun by a process of Ray's.

    Args:
        settings: of whoever begins it.
        ray_address: the Ray that it may count on; None leaves that to the settings and the stack of the home.
    """
    found = {**_clean(settings), **_as_variables(settings), **dict.fromkeys(_ONE_THREAD, "1")}
    if ray_address is None:
        return found
    secrets = {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH_")}
    return {**found, **secrets, "TWINSCORE_RAY_ADDRESS": ray_address}


def head_environment(settings: Settings, *, temp_dir: Path, token_path: Path, ports: Sequence[int]) -> dict[str, str]:
    """Return the environment of the Ray head, which every worker, replica and job inherits.

    Args:
        settings: what jobs shall see as `TWINSCORE_*`.
        temp_dir: the stack's own folder, mode 0700.
        token_path: file with the token.
        ports: `SERVE_PORTS` free ports.
    """
    metrics, stats, fallback_http, fallback_grpc = ports
    proxy = temp_dir / "h"
    return {
        **_clean(settings),
        **ray_client(token_path),
        **_as_variables(settings),
        # A control store that died is started again with what it knew; nobody gives up on it meanwhile.
        "RAY_gcs_storage": "rocksdb",
        "RAY_gcs_storage_path": str(temp_dir / "g"),
        "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
        # Replicas are as urgent as the proxies in front of them; batch workers give way by themselves.
        "RAY_worker_niceness": "0",
        # Serve behind HAProxy. Its admin socket is open to every local user, so its folder is not.
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(proxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(proxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(proxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(proxy / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(proxy / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, settings.num_cpus)),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback_grpc),
        # A dead proxy is noticed within seconds instead of half a minute.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "5",
        # A proxy that starts beside other work takes longer than the default 5 s, and would be killed at its door.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_SERVE_KV_TIMEOUT_S": "5",
        # There is no other node that requests could go to meanwhile.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        # Ray would take 44217 and 44227, and warn when another Ray has them.
        "AUTOSCALER_METRIC_PORT": "0",
        "DASHBOARD_METRIC_PORT": "0",
    }


def _as_variables(settings: Settings) -> dict[str, str]:
    return {f"TWINSCORE_{name.upper()}": str(value) for name, value in settings if value is not None}


def _clean(settings: Settings) -> dict[str, str]:
    """Return the caller's environment without foreign settings, with our mark and our Python first on the path."""
    kept: Mapping[str, str] = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
    # `python` in a job's entry point must be this one. Its link is not resolved: the folder of the link is the venv's.
    binaries = str(Path(sys.executable).parent)
    return {
        **kept,
        MARK: stack_id(settings.home),
        "PATH": os.pathsep.join([binaries, kept.get("PATH", os.defpath)]),
    }
