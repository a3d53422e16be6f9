"""The roster of listeners as a folder: one small file per replica, replaced by a rename each time it is renewed.

    <home>/run/listeners/<model>/<replica>.json

Whether an entry is alive is decided without comparing the clocks of two machines: after the first look, an entry counts
for `STALE_S` seconds from when this reader last saw it change. Only at the first look is the written time believed.
An entry of a process of this machine that has ended does not count at all.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from twinscore.clock import SystemClock
from twinscore.errors import StoreUnavailable
from twinscore.ports.listener_roster import STALE_S, Listener

if TYPE_CHECKING:
    from twinscore.clock import Clock

__all__ = ["RosterFolder"]

_KEPT_S = 60.0
"""How long a stale entry of another machine stays on disk: it may only be paused."""
_PROC = Path("/proc")
_STARTED = 19
"""Place of the start time in `/proc/<pid>/stat`, counted from behind the name."""


@dataclass(frozen=True, slots=True)
class _Sighting:
    renewed_at: datetime
    since_s: float
    counts: bool


class RosterFolder:
    """A roster in a folder that replicas and edges share."""

    def __init__(self, root: Path, clock: Clock | None = None) -> None:
        self._root = root
        self._clock = clock or SystemClock()
        self._seen: dict[Path, _Sighting] = {}
        self._owner: tuple[int, dict[str, Any]] | None = None

    def announce(self, listener: Listener) -> None:
        """Enter a listener of this very process, or renew or change its entry."""
        path = self._path(listener.model, listener.replica)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        said = {name: value for name, value in asdict(listener).items() if value is not None}
        document = {**said, "renewed_at": listener.renewed_at.isoformat(), **self._me()}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(document), encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            message = f"The roster entry {path} cannot be written: {error.strerror}."
            raise StoreUnavailable(message, path=str(path)) from error

    def withdraw(self, model: str, replica: str) -> None:
        """Take a listener's entry away; nothing happens when there is none."""
        with suppress(OSError):
            self._path(model, replica).unlink(missing_ok=True)

    def listeners(self) -> tuple[Listener, ...]:
        """Return every entry that is kept alive, by model and replica; remove those that nobody will renew."""
        found: list[Listener] = []
        seen: dict[Path, _Sighting] = {}
        try:
            paths = sorted(self._root.glob("*/[!.]*.json"))
        except OSError as error:
            message = f"The roster {self._root} cannot be read: {error.strerror}."
            raise StoreUnavailable(message, path=str(self._root)) from error
        for path in paths:
            entry = _read(path)
            if entry is None:
                continue
            listener, owner = entry
            sighting = self._look(path, listener.renewed_at)
            age_s = self._clock.monotonic_s() - sighting.since_s
            dead = _is_dead(owner)
            if dead or age_s > _KEPT_S:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                continue
            seen[path] = sighting
            if sighting.counts and age_s <= STALE_S:
                found.append(listener)
        self._seen = seen
        return tuple(found)

    def _look(self, path: Path, renewed_at: datetime) -> _Sighting:
        last = self._seen.get(path)
        if last is None:
            age_s = (self._clock.now() - renewed_at).total_seconds()
            return _Sighting(renewed_at, self._clock.monotonic_s(), counts=abs(age_s) <= STALE_S)
        if last.renewed_at != renewed_at:
            return _Sighting(renewed_at, self._clock.monotonic_s(), counts=True)
        return last

    def _path(self, model: str, replica: str) -> Path:
        return self._root / _as_name(model) / f"{_as_name(replica)}.json"

    def _me(self) -> dict[str, Any]:
        """Return what tells this process from a later one with its id, and its machine from others."""
        pid = os.getpid()
        if self._owner is None or self._owner[0] != pid:  # a fork is another process
            self._owner = pid, {"pid": pid, "started": _started(pid), "machine": _machine()}
        return self._owner[1]


def _read(path: Path) -> tuple[Listener, dict[str, Any]] | None:
    """Return an entry and its owner, or None when it is gone or is not one."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        owner = {name: raw.pop(name) for name in ("pid", "started", "machine")}
        return Listener(**{**raw, "renewed_at": datetime.fromisoformat(raw["renewed_at"])}), owner
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _is_dead(owner: dict[str, Any]) -> bool:
    return bool(owner["machine"] == _machine() and _started(owner["pid"]) != owner["started"])


def _machine() -> str:
    """Return a name of this boot and this process-id namespace: process ids mean nothing elsewhere."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """Return the start time of a running process in clock ticks since boot, None when there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in {"Z", "X"} else int(fields[_STARTED])


def _as_name(text: str) -> str:
    """Return a name that is one visible file name, whatever the text.

    >>> _as_name("loans/1"), _as_name("..")
    ('loans%2F1', '%2E.')
    """
    name = quote(text, safe="")
    return f"%2E{name[1:]}" if name.startswith(".") else name
