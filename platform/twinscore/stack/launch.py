"""Start the processes of the stack, each the leader of a session of its own; waits for none of them."""

from __future__ import annotations

import os
import secrets
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twinscore.errors import StackError
from twinscore.stack.environment import SERVE_PORTS, edge_environment, head_environment, mlflow_environment
from twinscore.stack.ports import LOOPBACK
from twinscore.stack.processes import Process, find
from twinscore.stack.state import stack_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.settings import Settings

__all__ = [
    "RAY_PORTS",
    "Child",
    "claim",
    "ensure_token",
    "launch_edge",
    "launch_mlflow",
    "launch_ray",
    "launch_serve",
    "reap",
    "temp_folder",
]

RAY_PORTS = 2 + SERVE_PORTS
"""How many free ports `launch_ray` wants."""

_OBJECT_STORE_BYTES = 1024**3
_TEMP_DIR_WIDTH = 24
_LOG_TAIL_LINES = 15
_REAP_S = 5.0

# Whoever started a child must ask for its exit code, or it stays as a zombie for as long as this process lives.
_CHILDREN: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Child:
    """A process that was just started, and where it writes."""

    name: str
    process: Process
    log: Path
    popen: subprocess.Popen[bytes]

    @property
    def exit_code(self) -> int | None:
        """Exit code, or None while it runs."""
        return self.popen.poll()

    def log_tail(self) -> str:
        """Return the last lines that it wrote."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])


def launch_mlflow(settings: Settings) -> Child:
    """Start the MLflow server on the embedded registry: one worker, loopback, clients read artifacts from disk."""
    settings.registry_folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "mlflow", "server",
        "--backend-store-uri", settings.embedded_registry_uri,
        "--default-artifact-root", str(settings.registry_folder / "artifacts"), "--no-serve-artifacts",
        "--host", LOOPBACK, "--port", str(settings.mlflow_port), "--workers", "1",
    ]  # fmt: skip
    return _launch("mlflow", command, mlflow_environment(settings), settings)


def launch_ray(
    settings: Settings, *, temp_dir: Path, token_path: Path, ports: Sequence[int]
) -> tuple[Child, dict[str, str]]:
    """Start a Ray head in token mode on loopback; return it with the environment its drivers share."""
    agent, client, *serve = ports
    environment = head_environment(settings, temp_dir=temp_dir, token_path=token_path, ports=serve)
    command = [
        sys.executable, "-m", "twinscore.stack.head", "--head",
        "--node-ip-address", LOOPBACK, "--port", str(settings.ray_port),
        "--dashboard-host", LOOPBACK, "--dashboard-port", str(settings.dashboard_port),
        "--dashboard-agent-listen-port", str(agent), "--ray-client-server-port", str(client),
        # Zero is any free port; Ray's own range, 10002 to 19999, would forbid the ports that people choose.
        "--min-worker-port", "0", "--max-worker-port", "0",
        "--num-cpus", str(settings.num_cpus), "--object-store-memory", str(_OBJECT_STORE_BYTES),
        "--temp-dir", str(temp_dir / "r"), "--disable-usage-stats", "--log-style", "record", "--log-color", "false",
    ]  # fmt: skip
    return _launch("ray", command, environment, settings), environment


def launch_serve(settings: Settings, environment: dict[str, str], port: int) -> Child:
    """Start the short driver that starts Ray Serve on loopback, as soon as the head answers, and ends."""
    command = [
        sys.executable, "-m", "twinscore.stack.ingress",
        "--ray", f"{LOOPBACK}:{settings.ray_port}", "--host", LOOPBACK, "--port", str(port),
        "--request-timeout-s", str(settings.request_timeout_s),
    ]  # fmt: skip
    return _launch("serve", command, environment, settings)


def launch_edge(settings: Settings, *, folder: Path, ingress: Sequence[str], metrics_port: int) -> Child:
    """Start the keeper of the edge, which starts the proxy that users call, or adopts the one that runs."""
    command = [
        sys.executable, "-m", "twinscore.edge.keeper", "--folder", str(folder), "--metrics-port", str(metrics_port),
        *(word for address in ingress for word in ("--ingress", address)),
    ]  # fmt: skip
    return _launch("edge", command, edge_environment(settings), settings)


def temp_folder(home: Path) -> Path:
    """Return the stack's folder for sockets and Ray's session, without making it.

    A socket path may have 107 bytes, HAProxy's 97, and Ray adds up to 85, Serve's HAProxy 73; so it is short and not
    under `home`. Ray opens its own folder to everybody (0777), so Ray gets one inside.
    """
    base = Path(tempfile.gettempdir())
    if len(str(base)) > _TEMP_DIR_WIDTH - 12:
        base = Path("/tmp")  # noqa: S108 - the folder itself is ours alone, see `claim`
    return base / f"ts-{stack_id(home)}"


def claim(folder: Path) -> Path:
    """Make a folder in a shared place that only this user can enter.

    Raises:
        StackError: somebody else made it first, or it is a link.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        message = (
            f"{folder} belongs to another user, so it cannot hold this stack's sockets. "
            "Set TMPDIR to a folder of your own."
        )
        raise StackError(message, path=str(folder))
    folder.chmod(0o700)
    return folder


def ensure_token(home: Path) -> Path:
    """Return the file with Ray's token, mode 0400; made once, with 256 random bits.

    Whoever can read it can run code as this user.
    """
    path = home / "ray" / "token"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    if not path.exists():
        partial = path.with_name(f"token.{os.getpid()}")
        partial.unlink(missing_ok=True)
        # Created with its final mode: between creating and chmod anybody could open it.
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:
            file.write(secrets.token_hex(32))
        partial.replace(path)
    path.chmod(0o400)
    return path


def reap() -> None:
    """Collect the exit codes of children that ended, so that none stays behind as a zombie."""
    for child in _CHILDREN:
        if find(child.pid) is None:
            # A process with many threads counts as ended before its code can be had.
            with suppress(subprocess.TimeoutExpired):
                child.wait(_REAP_S)
    _CHILDREN[:] = [child for child in _CHILDREN if child.returncode is None]


def _launch(name: str, command: Sequence[str], environment: dict[str, str], settings: Settings) -> Child:
    log = settings.home / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab" if name == "edge" else "wb") as out:  # a proxy that is adopted goes on writing there
        popen = subprocess.Popen(
            command, env=environment, cwd=settings.home, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
    _CHILDREN.append(popen)
    # It may have ended by now; its session may not.
    return Child(name, find(popen.pid) or Process(popen.pid, 0), log, popen)
