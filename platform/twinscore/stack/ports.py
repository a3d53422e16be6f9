"""Whether the stack's ports are free, who holds a taken one, and which ports nobody uses; opens none for longer."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from twinscore.errors import PortTaken, SettingsInvalid, StackError
from twinscore.stack.processes import command_of

if TYPE_CHECKING:
    from twinscore.settings import Settings

__all__ = ["free_ports", "holder", "is_free", "require_free"]

LOOPBACK = "127.0.0.1"

# Below the ports that the kernel hands out by itself (32768 and up) and those of Serve's replicas (30000 and up).
_OWN_RANGE = range(20_000, 30_000)
_LISTENING = "0A"


def require_free(settings: Settings) -> None:
    """Check the ports that people type, before anything is started.

    Raises:
        SettingsInvalid: two settings name the same port.
        PortTaken: a process listens there; the message says which.
    """
    wanted = {
        "mlflow_port": (LOOPBACK, settings.mlflow_port),
        "ray_port": (LOOPBACK, settings.ray_port),
        "dashboard_port": (LOOPBACK, settings.dashboard_port),
        "serve_port": (settings.host, settings.serve_port),
    }
    if settings.grpc_port is not None:
        wanted["grpc_port"] = (settings.host, settings.grpc_port)
    by_port: dict[int, str] = {}
    for name, (_, port) in wanted.items():
        if port in by_port:
            message = f"{_variable(by_port[port])} and {_variable(name)} are both {port}: give each a port of its own."
            raise SettingsInvalid(message, setting=_variable(name))
        by_port[port] = name
    for name, (host, port) in wanted.items():
        if not is_free(host, port):
            pid = holder(port)
            who = f"process {pid} ({command_of(pid)})" if pid else "a process that this user may not look at"
            message = (
                f"Port {port} is taken by {who}. Stop it, or choose another port: "
                f"{_variable(name)}={free_ports(1)[0]} twinscore up"
            )
            raise PortTaken(message, port=port, pid=pid, setting=_variable(name))


def is_free(host: str, port: int) -> bool:
    """Say whether nobody listens on the port; a connection that is only closing does not count."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def holder(port: int) -> int | None:
    """Return the id of a process that listens on the port, or None when it is another user's."""
    sockets = {f"socket:[{inode}]" for inode in _listeners(port)}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if any(str(fd.readlink()) in sockets for fd in (entry / "fd").iterdir()):
                return int(entry.name)
        except OSError:
            continue  # another user's process, or one that ended while we looked
    return None


def free_ports(count: int) -> list[int]:
    """Return ports that nobody holds on any address, to hand to a component that wants a number.

    Raises:
        StackError: ten thousand ports are taken.
    """
    found: list[int] = []
    start = secrets.randbelow(len(_OWN_RANGE))  # two stacks that start together should not meet
    for offset in range(len(_OWN_RANGE)):
        port = _OWN_RANGE[(start + offset) % len(_OWN_RANGE)]
        if is_free("0.0.0.0", port):  # noqa: S104 - HAProxy will bind its pages there, so all addresses must be free
            found.append(port)
            if len(found) == count:
                return found
    message = f"There are not {count} free ports between {_OWN_RANGE.start} and {_OWN_RANGE.stop - 1} on this machine."
    raise StackError(message)


def _listeners(port: int) -> set[str]:
    """Return the inodes of sockets that listen on the port."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _variable(setting: str) -> str:
    return f"TWINSCORE_{setting.upper()}"
