"""Which processes of this machine are ours, and how to end them; knows nothing of what they are.

A process belongs to a stack when its environment carries the stack's mark, or when it is in the session of a process
that the stack started. Ray's workers rename themselves and lose their readable environment, and jobs leave the session,
so either sign alone would miss some. A process id alone is never proof: the kernel gives ids out again, so each
recorded id goes with the start time of its process, and with the boot and the id namespace it was seen in.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MARK", "Process", "command_of", "end", "find", "here", "is_alive", "members"]

MARK = "_TWINSCORE_STACK"
"""Environment variable that every process of a stack inherits; not a setting, hence the underscore."""

_PROC = Path("/proc")
_POLL_S = 0.1
_KILLED_S = 10.0
"""No process can refuse to be killed, but one that waits for a disk, or for the processor, is not gone at once."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be mistaken for a later one with the same id.

    `started` is in clock ticks since boot, from field 22 of `/proc/<pid>/stat`.
    """

    pid: int
    started: int


def here() -> str:
    """Return a name of this boot and this process-id namespace: recorded ids mean nothing elsewhere."""
    boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{(_PROC / 'self/ns/pid').readlink()}"


def find(pid: int) -> Process | None:
    """Return the process with this id, or None when there is none or only its exit code is left."""
    facts = _facts(pid)
    return Process(pid, facts[1]) if facts else None


def is_alive(process: Process) -> bool:
    """Say whether this very process still runs."""
    return find(process.pid) == process


def command_of(pid: int, *, width: int = 120) -> str:
    """Return the command line of a process, cut to `width`, or an empty string when it cannot be read."""
    try:
        parts = (_PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    text = b" ".join(parts).decode(errors="replace")
    return text if len(text) <= width else f"{text[: width - 3]}..."


def members(mark: str, leaders: Iterable[Process] = ()) -> list[Process]:
    """Return the running processes that carry the mark or live in the session of one of the leaders.

    Args:
        mark: value of `MARK` in the environment of the processes wanted.
        leaders: processes that were started as leaders of a session of their own; they may be dead by now.
    """
    # A session outlives its leader, and its id is not given out again meanwhile. A leader whose id now belongs to a
    # younger process therefore has no session left.
    sessions = {leader.pid: leader.started for leader in leaders if find(leader.pid) in {None, leader}}
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        facts = _facts(int(entry.name))
        if facts is None:
            continue
        session, started = facts
        if started >= sessions.get(session, started + 1) or wanted in _environment(entry):
            found.append(Process(int(entry.name), started))
    return found


def end(mark: str, leaders: Iterable[Process] = (), *, grace_s: float = 15.0, term_s: float = 5.0) -> list[Process]:
    """End every process of a stack and return those that survived, which should be none.

    First the leaders are asked (SIGTERM) and given `grace_s` to end their own children in order. Then what is left is
    asked, given `term_s`, and killed; killed ones are waited for as long as a busy machine needs to bury them.
    """
    leaders = tuple(leaders)
    for leader in leaders:
        if is_alive(leader):
            _send(leader, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while any(is_alive(leader) for leader in leaders) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    for number, patience_s in ((signal.SIGTERM, term_s), (signal.SIGKILL, max(term_s, _KILLED_S))):
        left = members(mark, leaders)
        if not left:
            return []
        for process in left:
            _send(process, number)
        _wait_gone(mark, leaders, patience_s)
    return members(mark, leaders)


def _wait_gone(mark: str, leaders: tuple[Process, ...], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and members(mark, leaders):
        time.sleep(_POLL_S)


def _send(process: Process, number: signal.Signals) -> None:
    # Between the look and the signal the id could be given to a stranger only if all ids were used up once.
    if is_alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _facts(pid: int) -> tuple[int, int] | None:
    """Return session id and start time of a process that runs."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name in parentheses may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in {"Z", "X"} else (int(fields[3]), int(fields[19]))


def _environment(entry: Path) -> list[bytes]:
    try:
        return (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        return []  # another user's, or gone
