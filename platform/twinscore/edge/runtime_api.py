"""Client of a running HAProxy's own sockets: the slots as they are, and changes to them; decides nothing.

What a change answers is not read: its text differs by version and case. Whoever changes a slot looks again.
"""

from __future__ import annotations

import csv
import io
import socket
from typing import TYPE_CHECKING, Literal

from twinscore.edge.backends import BACKEND_PREFIX, GRPC_PREFIX
from twinscore.edge.slots import Slot
from twinscore.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["RuntimeApi", "ask"]

_TIMEOUT_S = 2.0
# Forced, inherited, unresolved. 0x04 only remembers that the configuration file said `disabled`.
_MAINTENANCE = 0x01 | 0x02 | 0x20 | 0x40
_DRAINING = 0x08


class RuntimeApi:
    """Speaks to the worker that answers requests now, through its admin socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def slots(self) -> dict[str, tuple[Slot, ...]]:
        """Return the slots of each backend of a model, by its name.

        Raises:
            StackError: the proxy does not answer.
        """
        # Columns: 1 backend, 3 server, 4 address, 6 administrative state, 18 port. Limits are in the counts only.
        limits = {
            (row["# pxname"], row["svname"]): row["slim"]
            for row in csv.DictReader(io.StringIO(ask(self._path, "show stat -1 4 -1")))
        }
        found: dict[str, list[Slot]] = {}
        for line in ask(self._path, "show servers state").splitlines():
            fields = line.split(" ")
            if (
                len(fields) < 19
                or not fields[1].startswith((BACKEND_PREFIX, GRPC_PREFIX))
                or not fields[3].startswith("s")
            ):
                continue
            backend, server, host, admin, port = fields[1], fields[3], fields[4], int(fields[6]), int(fields[18])
            limit = int(limits.get((backend, server)) or 0)
            slot = Slot(server, host, port, limit, _state(admin))
            found.setdefault(backend, []).append(slot)
        return {backend: tuple(slots) for backend, slots in found.items()}

    def change(self, changes: Mapping[str, Iterable[Slot]]) -> None:
        """Make the slots of each backend what they shall be.

        Raises:
            StackError: the proxy does not answer.
        """
        commands: list[str] = []
        for backend, slots in changes.items():
            for slot in slots:
                server = f"{backend}/{slot.name}"
                if slot.state != "maint":
                    commands += [
                        f"set server {server} addr {slot.host} port {slot.port}",
                        f"set maxconn server {server} {slot.max_connections}",
                    ]
                commands.append(f"set server {server} state {slot.state}")
        for start in range(0, len(commands), 60):  # a line of commands has to fit into one of the proxy's buffers
            ask(self._path, ";".join(commands[start : start + 60]))

    def is_up(self) -> bool:
        """Say whether the proxy answers."""
        try:
            return "Uptime" in ask(self._path, "show info")
        except StackError:
            return False


def ask(path: Path, command: str, *, timeout_s: float = _TIMEOUT_S) -> str:
    """Send one line to a socket of HAProxy and return all it says.

    Raises:
        StackError: nobody answers there within the time.
    """
    said: list[bytes] = []
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            connection.sendall(command.encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)  # the master's socket would wait for the next line
            while part := connection.recv(65_536):
                said.append(part)
    except OSError as error:
        message = f"The edge's HAProxy does not answer at {path} ({error}). `twinscore status` shows more."
        raise StackError(message, path=str(path)) from error
    return b"".join(said).decode(errors="replace")


def _state(admin: int) -> Literal["ready", "drain", "maint"]:
    if admin & _MAINTENANCE:
        return "maint"
    return "drain" if admin & _DRAINING else "ready"
