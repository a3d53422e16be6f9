"""Beside the loop of rollouts: begins a round of looks at every model again and again, and keeps to one at a time.

A round is a process of its own, which leaves the core to whoever answers (see `watch_round`). It may be killed at any
time: each source is put down by itself, and a model that another job looks at is left to that one. So a round needs
the lease only to begin; one that died is begun again, later each time.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from twinscore.clock import SystemClock
from twinscore.control.watch_record import ModelLook, WatchRecord, read_record, write_record
from twinscore.errors import TwinscoreError
from twinscore.stack.environment import watch_environment
from twinscore.stack.processes import find, here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import BinaryIO

    from twinscore.clock import Clock
    from twinscore.ports.rollout_store import Lease
    from twinscore.settings import Settings

__all__ = ["Watching", "backoff_s"]

_TICK_S = 1.0
_FIRST_S = 10.0
_LONGEST_ROUND_S = 3600.0
"""After so long a round is ended and counts as failed; what it counted is kept."""
_MOST_LOG_BYTES = 8 * 1024 * 1024
_MOST_LINE_BYTES = 64 * 1024
_END_S = 5.0
_ROUND = ("-m", "twinscore.control.watch_round")
_log = structlog.get_logger("twinscore.control")


class Watching:
    """Runs from its constructor until it is closed; without an interval in the settings it begins nothing.

    Args:
        settings: `watch_every_s` is the interval, and `home` where the record and the log lie.
        lease: returns the lease under which to begin a round; None while another control acts.
        models: returns the models to look at.
        ray_address: of the Ray that a round may count on; None leaves that to the stack of the home.
        command: words of the round after the interpreter.
        clock: tells the time.
    """

    def __init__(
        self, settings: Settings, lease: Callable[[], Lease | None], models: Callable[[], Iterable[str]], *,
        ray_address: str | None = None, command: Sequence[str] = _ROUND, clock: Clock | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._lease = lease
        self._models = models
        self._ray_address = ray_address
        self._command = tuple(command)
        self._clock = clock or SystemClock()
        self.trouble = ""
        """Why no round can be begun; empty while they can."""
        self._closing = threading.Event()
        # One thread begins all rounds and outlives them: the kernel ends a round with the thread that began it.
        self._thread = threading.Thread(target=self._run, name="watching", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 30.0) -> None:
        """End the round that is under way."""
        self._closing.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closing.wait(_TICK_S):
            try:
                if self._lease() is not None:
                    self._turn()
                self.trouble = ""
            except (TwinscoreError, OSError) as error:
                self._say(error.message if isinstance(error, TwinscoreError) else f"No round can be begun: {error}.")
            except Exception as error:  # noqa: BLE001 - the loop must come round again, whatever happened
                self._say(f"{type(error).__name__}: {error}")

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            _log.warning("watch_not_begun", reason=trouble)
        self.trouble = trouble

    def _turn(self) -> None:
        """Begin a round when it is time, and see it to its end."""
        now, every_s = self._clock.now(), self._settings.watch_every_s
        record = read_record(self._settings.home)
        if record is None or record.every_s != every_s:
            record = self._planned(record or WatchRecord(every_s), now)
            write_record(self._settings.home, record)
        if every_s <= 0 or record.runs or now < datetime.fromisoformat(record.next_at):
            return
        looks = record.models
        models = sorted(self._models(), key=lambda name: (_last(looks, name), name))
        record = replace(
            record, began_at=_text(now), next_at=_text(now + timedelta(seconds=every_s)),
            models={name: look for name, look in looks.items() if name in models},
        )  # fmt: skip
        if models:
            record = self._round(record, models)
        write_record(self._settings.home, record)

    def _planned(self, record: WatchRecord, now: datetime) -> WatchRecord:
        """Return the record with the next round one interval after the last, or after now where there was none."""
        every_s = self._settings.watch_every_s
        began = datetime.fromisoformat(record.began_at) if record.began_at else now
        next_at = "" if every_s <= 0 else _text(max(now, began + timedelta(seconds=every_s)))
        return replace(record, every_s=every_s, next_at=next_at)

    def _round(self, record: WatchRecord, models: Sequence[str]) -> WatchRecord:
        """Look at models in a process, keep the record in step, and return what it is at the end."""
        words = [sys.executable, *self._command, "--parent", str(os.getpid())]
        words += [word for name in models for word in ("--model", name)]
        settings = self._settings
        with self._opened_log() as log, subprocess.Popen(
            words, env=watch_environment(settings, self._ray_address), cwd=settings.home, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=log, bufsize=0,
        ) as process:  # fmt: skip
            found = find(process.pid)
            record = replace(record, machine=here(), pid=process.pid, started=0 if found is None else found.started)
            write_record(settings.home, record)
            try:
                record, why = self._followed(record, process, log)
            finally:
                _end(process)
        record = replace(record, ended_at=_text(self._clock.now()), pid=0, started=0)
        if self._closing.is_set():
            return replace(record, next_at=record.ended_at)  # whoever acts next begins it anew
        if not why and process.returncode == 0:
            return replace(record, failures=0, trouble="")
        return self._failed(record, models, why or _ended(process.returncode))

    def _followed(
        self, record: WatchRecord, process: subprocess.Popen[bytes], log: BinaryIO
    ) -> tuple[WatchRecord, str]:
        """Read what a round tells until it ends, or must; return the record, and why it must."""
        assert process.stdout is not None
        until_s, rest = time.monotonic() + _LONGEST_ROUND_S, b""
        while not self._closing.is_set():
            if time.monotonic() > until_s:
                return record, f"it did not end within {_LONGEST_ROUND_S / 60:.0f} minutes"
            if not select.select([process.stdout], [], [], _TICK_S)[0]:
                continue
            read = os.read(process.stdout.fileno(), _MOST_LINE_BYTES)
            if not read:
                process.wait(_END_S)
                return record, ""
            *lines, rest = (rest + read)[-_MOST_LINE_BYTES:].split(b"\n")
            for line in lines:
                log.write(line + b"\n")
                record = _with(record, line, self._clock.now())
            if lines:
                write_record(self._settings.home, record)
        return record, ""

    def _failed(self, record: WatchRecord, models: Sequence[str], why: str) -> WatchRecord:
        """Return the record of a round that died: the next comes sooner than usual, and later each time."""
        failures, now = record.failures + 1, self._clock.now()
        wait_s = min(backoff_s(failures), record.every_s)
        looks = dict(record.models)
        at = next((name for name in models if _last(looks, name) < record.began_at), None)
        if at is not None:
            why = f"{why} while it looked at {at}"
            looks[at] = ModelLook(_text(now), trouble=f"the process that looked: {why}")  # the next begins with others
        _log.warning("watch_round_failed", reason=why, failures=failures, again_in_s=wait_s)
        return replace(
            record, failures=failures, trouble=f"{why}; see logs/watch.log in the home", models=looks,
            next_at=_text(now + timedelta(seconds=wait_s)),
        )  # fmt: skip

    def _opened_log(self) -> BinaryIO:
        path = self._settings.home / "logs" / "watch.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _MOST_LOG_BYTES:
            path.replace(path.with_name("watch.log.1"))
        return path.open("ab", buffering=0)


def backoff_s(failures: int) -> float:
    """Return how long to wait after so many failed rounds in a row.

    >>> [backoff_s(number) for number in (1, 2, 3, 500)]
    [10.0, 20.0, 40.0, 81920.0]
    """
    return _FIRST_S * 2.0 ** min(failures - 1, 13)


def _with(record: WatchRecord, line: bytes, now: datetime) -> WatchRecord:
    """Return the record with what a round told of a model; what is no such line is left to the log."""
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        told = json.loads(line)
        look = ModelLook(_text(now), **{name: value for name, value in told.items() if name != "model"})
        return replace(record, models={**record.models, str(told["model"]): look})
    return record


def _last(looks: Mapping[str, ModelLook], model: str) -> str:
    look = looks.get(model)
    return "" if look is None else look.at


def _ended(code: int) -> str:
    return f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that a round is over, so that the next is the only one."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        process.kill()


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
