"""Bring the stack of a home up, say how it is, and take it down again; touches nothing it did not start."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from twinscore.access.gate import require_access
from twinscore.errors import SettingsInvalid, StackBroken, StackError
from twinscore.stack.health import Component, ask_edge, ask_mlflow, ask_ray, ask_serve, components
from twinscore.stack.launch import (
    RAY_PORTS,
    Child,
    claim,
    ensure_token,
    launch_edge,
    launch_mlflow,
    launch_ray,
    launch_serve,
    reap,
    temp_folder,
)
from twinscore.stack.ports import LOOPBACK, free_ports, require_free
from twinscore.stack.processes import command_of, end, here, members
from twinscore.stack.state import (
    EdgePart,
    MlflowPart,
    RayPart,
    ServePart,
    StackState,
    forget,
    locked,
    read_state,
    stack_id,
    write_state,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from twinscore.settings import Settings

    Probe = Callable[[], tuple[bool, str]]

__all__ = ["StackStatus", "down", "status", "up"]

_START_DEADLINE_S = 150.0
_LOCK_PATIENCE_S = 180.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class StackStatus:
    """How the stack of a home is: all of it up, none of it, or something between."""

    condition: Literal["up", "down", "broken"]
    components: tuple[Component, ...]
    state: StackState | None


def up(settings: Settings, *, on_step: Callable[[str], None] | None = None) -> StackState:
    """Start MLflow, Ray, Ray Serve and the edge and return once each has answered; a healthy stack is left as it is.

    Where only the keeper of the edge is dead, a new one is started, which adopts the proxy: requests go on meanwhile.

    Args:
        settings: `home` is absolute, as `load_settings` gives it.
        on_step: is told what happens, one short sentence at a time.

    Raises:
        SettingsInvalid: the settings name a registry or a Ray elsewhere, or one port twice, or an address that others
            can reach while nobody is asked for a key.
        PortTaken: another process holds a port.
        StackBroken: an earlier stack of this home is half up.
        StackError: a component did not start; the end of its log is in the message.
    """
    say = on_step or (lambda _: None)
    _refuse_foreign(settings)
    settings = settings.model_copy(update={"home": settings.home.resolve()})
    with locked(settings, patience_s=_LOCK_PATIENCE_S):
        now = status(settings)
        if now.condition == "up" and now.state is not None:
            say(f"Already up since {now.state.started_at}")
            return now.state
        ill = {part.name: part.pid for part in now.components if not part.ok}
        if now.state is not None and "edge" in ill and ill["edge"] is None and ill.keys() <= {"edge", "grpc"}:
            return _start_edge_again(settings, now.state, say)
        if now.condition == "broken":
            raise _broken(settings, now)
        require_access(settings.home, settings.host)
        require_free(settings)
        return _start(settings, say)


def status(settings: Settings) -> StackStatus:
    """Return how the stack of this home is.

    Raises:
        StackBroken: its state file cannot be read.
    """
    state = read_state(settings)
    if state is None:
        return StackStatus("broken" if members(stack_id(settings.home)) else "down", (), None)
    if not state.members():
        return StackStatus("down", (), None)
    parts = components(state)
    return StackStatus("up" if all(part.ok for part in parts) else "broken", parts, state)


def down(settings: Settings, *, on_step: Callable[[str], None] | None = None) -> bool:
    """End every process of this home's stack, and only those; return whether anything was running.

    Raises:
        StackError: a process survived SIGKILL, or another `up` or `down` does not finish.
    """
    say = on_step or (lambda _: None)
    if not settings.home.exists():
        return False
    with locked(settings, patience_s=_LOCK_PATIENCE_S):
        try:
            state = read_state(settings)
        except StackBroken:
            state = None  # what carries the mark is found without it
        running = state.members() if state else members(stack_id(settings.home))
        if running:
            say(f"Ending {len(running)} processes")
        _end_all(settings, state)
        return bool(running)


def _start(settings: Settings, say: Callable[[str], None]) -> StackState:
    began = time.monotonic()
    state: StackState | None = None
    try:
        token_path = ensure_token(settings.home)
        temp_dir = temp_folder(settings.home)
        shutil.rmtree(temp_dir, ignore_errors=True)  # nothing of ours runs, so nobody needs it
        claim(temp_dir)
        claim(temp_dir / "h")
        say("Starting MLflow, Ray, Ray Serve and the edge")
        ingress_port, metrics_port, *ray_ports = free_ports(2 + RAY_PORTS)
        ray, environment = launch_ray(settings, temp_dir=temp_dir, token_path=token_path, ports=ray_ports)
        mlflow = launch_mlflow(settings)
        serve = launch_serve(settings, environment, ingress_port)
        behind = ServePart(
            settings.serve_url,
            ingress=f"{LOOPBACK}:{ingress_port}",
            reserve=f"{LOOPBACK}:{environment['RAY_SERVE_FALLBACK_PROXY_HTTP_PORT']}",
            grpc=settings.grpc_target,
        )
        folder = temp_dir / "e"
        edge = launch_edge(settings, folder=folder, ingress=(behind.ingress, behind.reserve), metrics_port=metrics_port)
        front = EdgePart(edge.process.pid, edge.process.started, str(folder), metrics_port)
        state = _describe(settings, mlflow, ray, behind, front, temp_dir=temp_dir, token_path=token_path)
        write_state(settings, state)  # before anything can go wrong, so that `down` knows whom to end
        _wait(settings, state, {"mlflow": mlflow, "ray": ray, "serve": serve, "edge": edge}, say, began)
    except BaseException:  # a person who presses Ctrl-C wants no half stack either
        _end_all(settings, state)
        raise
    state = replace(state, ready=True)
    write_state(settings, state)
    return state


def _start_edge_again(settings: Settings, state: StackState, say: Callable[[str], None]) -> StackState:
    say("The keeper of the edge is dead; starting another one")
    began = time.monotonic()
    edge = launch_edge(
        settings,
        folder=Path(state.edge.folder),
        ingress=(state.serve.ingress, state.serve.reserve),
        metrics_port=state.edge.metrics_port,
    )
    state = replace(state, edge=replace(state.edge, pid=edge.process.pid, started=edge.process.started))
    write_state(settings, state)
    _wait(settings, state, {"edge": edge}, say, began, whole=False)
    return state


def _wait(
    settings: Settings,
    state: StackState,
    children: dict[str, Child],
    say: Callable[[str], None],
    began: float,
    *,
    whole: bool = True,
) -> None:
    probes: dict[str, tuple[Probe, str]] = {
        "mlflow": (lambda: ask_mlflow(state.mlflow.url), f"MLflow answers at {state.mlflow.url}"),
        "ray": (lambda: ask_ray(state.ray.dashboard, state.ray.token_path), f"Ray answers at {state.ray.dashboard}"),
        "serve": (lambda: _ask_started(children["serve"], state), f"Ray Serve answers at {state.serve.ingress}"),
        "edge": (lambda: ask_edge(state.serve.url), f"The edge answers at {state.serve.url}"),
    }
    waiting = {name: probe for name, probe in probes.items() if name in children}
    seen = dict.fromkeys(waiting, "no answer")
    while waiting:
        for name, (probe, done) in list(waiting.items()):
            ok, seen[name] = probe()
            if ok:
                say(f"{done} ({time.monotonic() - began:.1f} s)")
                del waiting[name]
        for name, child in children.items():
            code = child.exit_code
            if code is not None and (name != "serve" or code != 0):
                raise _failed(settings, child, f"stopped with exit code {code} while starting", whole=whole)
        if time.monotonic() - began > _START_DEADLINE_S:
            name = next(iter(waiting))
            how = f"did not answer within {_START_DEADLINE_S:.0f} s ({seen[name]})"
            raise _failed(settings, children[name], how, whole=whole)
        time.sleep(_POLL_S)


def _ask_started(driver: Child, state: StackState) -> tuple[bool, str]:
    # The ingress answers before the driver is done; only then is Serve's controller known to be in place.
    return (
        ask_serve(f"http://{state.serve.ingress}")
        if driver.exit_code == 0
        else (False, "Serve's controller is still starting")
    )


def _describe(
    settings: Settings,
    mlflow: Child,
    ray: Child,
    serve: ServePart,
    edge: EdgePart,
    *,
    temp_dir: Path,
    token_path: Path,
) -> StackState:
    return StackState(
        id=stack_id(settings.home),
        machine=here(),
        home=str(settings.home),
        mlflow=MlflowPart(mlflow.process.pid, mlflow.process.started, f"http://{LOOPBACK}:{settings.mlflow_port}"),
        ray=RayPart(
            ray.process.pid,
            ray.process.started,
            address=f"{LOOPBACK}:{settings.ray_port}",
            dashboard=f"http://{LOOPBACK}:{settings.dashboard_port}",
            temp_dir=str(temp_dir),
            token_path=str(token_path),
        ),
        serve=serve,
        edge=edge,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _end_all(settings: Settings, state: StackState | None) -> None:
    known = state is not None and state.machine == here()
    survivors = end(stack_id(settings.home), state.leaders if state is not None and known else ())
    reap()
    if survivors:
        shown = ", ".join(f"{process.pid} ({command_of(process.pid, width=60)})" for process in survivors[:5])
        message = (
            f"{len(survivors)} processes of the stack survived SIGKILL: {shown}. "
            "Look at them, then run `twinscore down` again."
        )
        raise StackError(message, pids=[process.pid for process in survivors])
    _keep_logs(settings)
    shutil.rmtree(temp_folder(settings.home), ignore_errors=True)
    forget(settings)


def _keep_logs(settings: Settings) -> None:
    """Move Ray's own logs to the home: they lie with its sockets, and are most wanted after something went wrong."""
    session = temp_folder(settings.home) / "r" / "session_latest" / "logs"
    if session.is_dir():
        kept = settings.home / "logs" / "ray-session"
        shutil.rmtree(kept, ignore_errors=True)
        with suppress(OSError, shutil.Error):
            shutil.move(str(session.resolve()), kept)


def _broken(settings: Settings, now: StackStatus) -> StackBroken:
    bad = [part for part in now.components if not part.ok]
    if bad:
        shown = ", ".join(f"{part.name} ({part.health})" for part in bad)
        what = f"An earlier stack of {settings.home} is half up: {shown}."
    else:
        pids = [process.pid for process in members(stack_id(settings.home))]
        shown = ", ".join(str(pid) for pid in pids[:5])
        what = f"Processes of an earlier stack of {settings.home} still run, but its state file is gone: {shown}."
    message = f"{what} `twinscore down` ends what is left of it; then `twinscore up` starts anew."
    return StackBroken(message, home=str(settings.home), components=[part.name for part in bad])


def _failed(settings: Settings, child: Child, how: str, *, whole: bool) -> StackError:
    left = "Nothing is left running" if whole else "The rest of the stack goes on"
    message = f"The {child.name} component {how}. {left}. The end of {child.log}:\n{child.log_tail()}"
    return StackError(message, component=child.name, log=str(child.log), home=str(settings.home))


def _refuse_foreign(settings: Settings) -> None:
    for name in ("ray_address", "mlflow_uri"):
        value = getattr(settings, name)
        if value is not None:
            variable = f"TWINSCORE_{name.upper()}"
            message = (
                f"{variable} is {value!r}, so nothing would use the stack that `up` starts here. "
                "Unset it to work on a stack of this machine."
            )
            raise SettingsInvalid(message, setting=variable)
