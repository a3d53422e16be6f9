"""Keeps a Ray head of this machine: `python -m twinscore.stack.head ARGUMENTS`, the arguments of `ray start`.

`ray start --block` ends the whole cluster as soon as any part of it dies. Here only the raylet's end is the end. The
control store (GCS) keeps its state on disk and is started again as it was, while replicas go on answering; what else
dies is told in the log. When this process is killed, Ray goes on without it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import structlog

from twinscore.stack.processes import command_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Part", "children", "keep", "main"]

_PR_SET_CHILD_SUBREAPER = 36
_STORE = "gcs_server"
_RAYLET = "raylet"
_MOST_RESTARTS = 5
_WITHIN_S = 60.0
_ASKED_S = 3.0
"""For what was asked to end; Ray's workers have nothing to finish that a stack which goes down still needs."""
_END_S = 10.0
_POLL_S = 0.05

_log = structlog.get_logger("twinscore.stack")


@dataclass(frozen=True, slots=True)
class Part:
    """How a process was started, so that it can be started again."""

    arguments: tuple[str, ...]
    environment: dict[str, str]

    @classmethod
    def of(cls, pid: int) -> Part:
        """Return how a running process was started.

        Raises:
            OSError: it has ended.
        """
        place = Path(f"/proc/{pid}")
        arguments = (place / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        variables = [entry.partition(b"=") for entry in (place / "environ").read_bytes().split(b"\0") if b"=" in entry]
        return cls(
            tuple(os.fsdecode(word) for word in arguments),
            {os.fsdecode(name): os.fsdecode(value) for name, _, value in variables},
        )

    @property
    def name(self) -> str:
        """The name of its program."""
        return Path(self.arguments[0]).name

    def start(self) -> int:
        """Start it again and return its process id; who calls has to wait for its end."""
        null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
        return os.posix_spawn(self.arguments[0], self.arguments, self.environment, file_actions=null)


def children() -> list[int]:
    """Return the processes that this one has to wait for."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def keep(store: int, raylet: int) -> NoReturn:
    """Start the control store again whenever it ends; end with the raylet.

    Args:
        store, raylet: their process ids; both are children of this process.

    Raises:
        SystemExit: the raylet has ended, or the control store ends again and again.
    """
    part = Part.of(store)
    restarts: deque[float] = deque(maxlen=_MOST_RESTARTS)
    while True:
        pid, status = os.wait()
        code = os.waitstatus_to_exitcode(status)
        if pid == raylet:
            _log.error("raylet_ended", pid=pid, code=code)
            sys.exit(1)
        if pid != store:
            _log.info("process_ended", pid=pid, code=code)
            continue
        now = time.monotonic()
        if len(restarts) == _MOST_RESTARTS and now - restarts[0] < _WITHIN_S:
            _log.error("control_store_given_up", code=code, restarts=_MOST_RESTARTS, within_s=_WITHIN_S)
            sys.exit(1)
        restarts.append(now)
        store = part.start()
        _log.warning("control_store_started_again", code=code, pid=store)


def main(arguments: Sequence[str] | None = None) -> int:
    """Start a Ray head and keep it until SIGTERM, or until it cannot go on."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # What `ray start` leaves behind becomes ours to wait for.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        started = subprocess.run([sys.executable, "-m", "ray.scripts.scripts", "start", *words], check=False)
        if started.returncode:
            return started.returncode
        names = {Path(command_of(pid, width=4_096).split(" ")[0]).name: pid for pid in children()}
        if not {_STORE, _RAYLET} <= names.keys():
            _log.error("ray_not_complete", found=sorted(names))
            return 1
        keep(names[_STORE], names[_RAYLET])
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        _end()


def _end() -> None:
    """End everything that is left, and what becomes ours while it ends: asked first, killed after a while."""
    for number, patience_s in ((signal.SIGTERM, _ASKED_S), (signal.SIGKILL, _END_S)):
        until = time.monotonic() + patience_s
        told: set[int] = set()
        while (left := children()) and time.monotonic() < until:
            for pid in left:
                if pid not in told:
                    told.add(pid)
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            time.sleep(_POLL_S)


if __name__ == "__main__":
    sys.exit(main())
