"""What was started and where, in `<home>/run/stack.json`; starts and stops nothing.

Other rooms read `mlflow.url` and `serve.ingress` from this file, so its keys are part of the interface.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from twinscore.errors import StackBroken, StackError
from twinscore.stack.processes import Process, here, members

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from twinscore.settings import Settings

__all__ = [
    "EdgePart",
    "MlflowPart",
    "RayPart",
    "ServePart",
    "StackState",
    "forget",
    "locked",
    "read_state",
    "stack_id",
    "write_state",
]


@dataclass(frozen=True, slots=True)
class MlflowPart:
    """The MLflow server: leader of its own session."""

    pid: int
    started: int
    url: str


@dataclass(frozen=True, slots=True)
class RayPart:
    """The Ray head: leader of its own session; everything of this Ray is in it or carries the mark."""

    pid: int
    started: int
    address: str
    dashboard: str
    temp_dir: str
    token_path: str


@dataclass(frozen=True, slots=True)
class ServePart:
    """Where predictions are asked, and Ray Serve's own ingress behind the edge; its processes are Ray's."""

    url: str
    """What users call: the edge."""
    ingress: str
    """`host:port` of Serve's HAProxy, on loopback."""
    reserve: str
    """`host:port` of Serve's fallback proxy, on loopback."""
    grpc: str | None = None
    """`host:port` that users call over gRPC: the edge; None where it speaks none."""


@dataclass(frozen=True, slots=True)
class EdgePart:
    """The keeper of the edge: leader of its own session; the proxy that it keeps carries the mark."""

    pid: int
    started: int
    folder: str
    metrics_port: int


@dataclass(frozen=True, slots=True)
class StackState:
    """One stack; `ready` once every component has answered."""

    id: str
    machine: str
    home: str
    mlflow: MlflowPart
    ray: RayPart
    serve: ServePart
    edge: EdgePart
    started_at: str
    ready: bool = False

    @property
    def leaders(self) -> tuple[Process, ...]:
        """The processes that were started directly."""
        return tuple(Process(part.pid, part.started) for part in (self.mlflow, self.ray, self.edge))

    def members(self) -> list[Process]:
        """Return every process of this stack that runs."""
        return members(self.id, self.leaders) if self.machine == here() else members(self.id)


def stack_id(home: Path) -> str:
    """Return the name of the stack of a home folder: short, because socket paths are made of it."""
    return hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:8]


def read_state(settings: Settings) -> StackState | None:
    """Return what the last `up` wrote, or None.

    Raises:
        StackBroken: the file is not what `up` writes.
    """
    path = _path(settings)
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        parts = {
            "mlflow": MlflowPart(**raw["mlflow"]),
            "ray": RayPart(**raw["ray"]),
            "serve": ServePart(**raw["serve"]),
            "edge": EdgePart(**raw["edge"]),
        }
        return StackState(**{**raw, **parts})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f"{path} cannot be read ({error}). `twinscore down` ends what is left of that stack and removes it."
        raise StackBroken(message, path=str(path)) from error


def write_state(settings: Settings, state: StackState) -> None:
    """Write the state so that a reader sees the old one or the new one, never a part."""
    path = _path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def forget(settings: Settings) -> None:
    """Remove the state."""
    _path(settings).unlink(missing_ok=True)


@contextmanager
def locked(settings: Settings, *, patience_s: float) -> Iterator[None]:
    """Let one `up` or `down` work on a home at a time; the others wait for it.

    Raises:
        StackError: another one still holds the lock after `patience_s`.
    """
    path = _path(settings).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience_s
    with path.open("a+") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    lock.seek(0)
                    who = lock.read().strip() or "unknown"
                    message = (
                        f"Another `twinscore up` or `down` (process {who}) has been working on {settings.home} "
                        f"for {patience_s:.0f} s. Wait for it, or end it and try again."
                    )
                    raise StackError(message, home=str(settings.home)) from None
                time.sleep(0.2)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _path(settings: Settings) -> Path:
    return settings.home / "run" / "stack.json"
