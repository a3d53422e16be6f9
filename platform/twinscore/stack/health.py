"""Ask each component of a stack whether it answers; changes nothing."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from twinscore.stack.processes import Process, command_of, is_alive

if TYPE_CHECKING:
    from twinscore.stack.state import StackState

__all__ = ["Component", "ask_edge", "ask_grpc", "ask_mlflow", "ask_ray", "ask_serve", "components"]

_TIMEOUT_S = 3.0
_NO_MODEL = "Route table is not populated yet"


@dataclass(frozen=True, slots=True)
class Component:
    """One part of the stack as it is now."""

    name: str
    pid: int | None
    url: str
    ok: bool
    health: str


def components(state: StackState) -> tuple[Component, ...]:
    """Return what each component says; a component whose process is gone is not asked."""
    mlflow, ray, keeper = state.leaders
    running = state.members()
    alive = mlflow in running, ray in running, keeper in running
    ingress = next((process.pid for process in running if _is_haproxy(process, state.ray.temp_dir)), None)
    serve_ok, serve_health = ask_serve(f"http://{state.serve.ingress}") if alive[1] else (False, "dead, with Ray")
    edge_ok, edge_health = ask_edge(state.serve.url)
    if not alive[2]:
        edge_ok, edge_health = False, "its keeper is dead" if edge_ok else "dead"
    mlflow_ok, mlflow_health = ask_mlflow(state.mlflow.url) if alive[0] else (False, "dead")
    ray_ok, ray_health = ask_ray(state.ray.dashboard, state.ray.token_path) if alive[1] else (False, "dead")
    found = (
        Component("mlflow", mlflow.pid if alive[0] else None, state.mlflow.url, mlflow_ok, mlflow_health),
        Component("ray", ray.pid if alive[1] else None, state.ray.dashboard, ray_ok, ray_health),
        Component("serve", ingress, f"http://{state.serve.ingress}", serve_ok, serve_health),
        Component("edge", keeper.pid if alive[2] else None, state.serve.url, edge_ok, edge_health),
    )
    if state.serve.grpc is None:
        return found
    grpc_ok, grpc_health = ask_grpc(state.serve.grpc)
    return (*found, Component("grpc", keeper.pid if alive[2] else None, state.serve.grpc, grpc_ok, grpc_health))


def ask_mlflow(url: str) -> tuple[bool, str]:
    """Say whether the MLflow server answers."""
    status, _ = _get(url, "/health")
    return status == http.client.OK, "healthy" if status == http.client.OK else _seen(status)


def ask_ray(url: str, token_path: str) -> tuple[bool, str]:
    """Say whether the Ray head answers, in token mode, and only to those who have the token."""
    status, body = _get(url, "/api/authentication_mode")
    if status != http.client.OK:
        return False, _seen(status)
    if _field(body, "authentication_mode") != "token":
        return False, "not in token mode"
    token = Path(token_path).read_text(encoding="ascii").strip()
    status, _ = _get(url, "/api/jobs/", {"Authorization": f"Bearer {token}"})
    if status != http.client.OK:
        return False, f"job API: {_seen(status)}"
    status, _ = _get(url, "/api/jobs/")
    if status != http.client.UNAUTHORIZED:
        return False, f"job API without the token: {_seen(status)}, expected status 401"
    return True, "healthy"


def ask_serve(url: str) -> tuple[bool, str]:
    """Say whether the ingress answers; before the first model it answers 503, which is its way to be well."""
    status, body = _get(url, "/-/healthz")
    if status == http.client.OK:
        return True, "healthy"
    if status == http.client.SERVICE_UNAVAILABLE and _NO_MODEL in body:
        return True, "healthy, no model served"
    return False, _seen(status)


def ask_edge(url: str) -> tuple[bool, str]:
    """Say whether the edge answers; before the first model its answer is 503."""
    status, _ = _get(url, "/-/healthz")
    if status == http.client.SERVICE_UNAVAILABLE:
        return True, "healthy, no model served"
    return status == http.client.OK, "healthy" if status == http.client.OK else _seen(status)


def ask_grpc(target: str) -> tuple[bool, str]:
    """Say whether the edge listens for gRPC; what stands behind it is the edge's health, too."""
    parts = urlsplit(f"//{target}")
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), _TIMEOUT_S).close()
    except OSError:
        return False, "no answer"
    return True, "listens"


def _get(url: str, path: str, headers: dict[str, str] | None = None) -> tuple[int | None, str]:
    """Return status and text, or None when nobody answers. No proxy is asked, whatever the environment says."""
    parts = urlsplit(url)
    connection = _connection(parts.scheme, parts.hostname or "", parts.port)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(65_536).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None, ""
    finally:
        connection.close()


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme != "https":
        return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    # The certificate is for the name that users call, not for this address, and no secret is sent.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context)


def _field(body: str, name: str) -> object:
    try:
        return json.loads(body).get(name)
    except (ValueError, AttributeError):
        return None


def _seen(status: int | None) -> str:
    return "no answer" if status is None else f"status {status}"


def _is_haproxy(process: Process, temp_dir: str) -> bool:
    """Tell Serve's proxy from the edge's, whose configuration lies in another folder."""
    command = command_of(process.pid, width=1_000)
    return "/haproxy " in command and f"{temp_dir}/h/" in command and is_alive(process)
