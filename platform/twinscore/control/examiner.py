"""The process in which one version is looked at, seen from outside; knows nothing of versions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twinscore.settings import Settings

__all__ = ["Examiner"]

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
"""Each thread reserves address space, of which a look has little; and the cores are for those who answer requests."""


class Examiner:
    """A process that has imported what a look needs, and waits for a version.

    Args:
        settings: where the registry and the bundle store are.
    """

    def __init__(self, settings: Settings) -> None:
        self._errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        # -P: no folder of downloads may stand on the path of imports.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "twinscore.control.examine"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
            env={**os.environ, **_ONE_THREAD},
        )
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(json.dumps(settings.model_dump(mode="json")) + "\n")
            self._process.stdin.flush()

    def ask(self, request: dict[str, Any], time_s: float) -> tuple[list[dict[str, Any]], str]:
        """Send the one request, and return what was said, and how it ended where it did not end well.

        The time begins when the process is ready, for its start says nothing of the version.
        """
        assert self._process.stdout is not None
        try:
            self._process.stdout.readline()
            said, _ = self._process.communicate(json.dumps(request) + "\n", timeout=time_s)
            ended = "" if self._process.returncode == 0 else _died(self._process.returncode, self._tail())
        except subprocess.TimeoutExpired:
            self.stop()
            said, _ = self._process.communicate()
            ended = f"it took longer than {time_s:.0f} s"
        finally:
            self._errors.close()
        return [json.loads(line) for line in (said or "").splitlines()], ended

    def stop(self) -> None:
        """End it and all that it started; may be called at any time."""
        with suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End one that was never asked."""
        self.stop()
        self._process.communicate()
        self._errors.close()

    def _tail(self) -> str:
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read()[-2000:].splitlines() if line.strip()]
        return lines[-1] if lines else ""


def _died(code: int, last_words: str) -> str:
    words = f": {last_words[:300]}" if last_words else ""
    if code >= 0:
        return f"its process ended with code {code}{words}"
    name = signal.Signals(-code).name
    cause = {"SIGXCPU": ", out of processor time", "SIGKILL": ", perhaps out of memory"}.get(name, "")
    return f"its process was ended by {name}{cause}{words}"
