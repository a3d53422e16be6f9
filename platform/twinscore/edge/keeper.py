"""Keeps the edge: its HAProxy running, and its slots in step with the roster: `python -m twinscore.edge.keeper`.

Traffic does not pass through here. When the keeper dies, the proxy goes on with the slots it has and notices dead
replicas by itself; the next keeper of the folder adopts it. When the proxy dies, the keeper starts it again.
"""

from __future__ import annotations

import argparse
import fcntl
import ipaddress
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from twinscore.access.gate import require_access
from twinscore.edge.backends import BACKEND_PREFIX, GRPC_PREFIX, can_be_routed, models_in
from twinscore.edge.config import Places, render, shape_of
from twinscore.edge.proxy import Proxy
from twinscore.edge.slots import EMPTY_SLOTS, apply, plan
from twinscore.errors import StackError, TwinscoreError
from twinscore.settings import load_settings
from twinscore.wiring import listener_roster

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import FrameType

    from twinscore.edge.slots import Slot
    from twinscore.ports.listener_roster import Listener, ListenerRoster
    from twinscore.settings import Settings

__all__ = ["Keeper", "main"]

TICK_S = 0.3
"""How often the roster is read."""
LINGER_S = 60.0
"""How long a model without listeners keeps its backend, so that a replacement needs no reload."""

_PORTS = 65_536
_log = structlog.get_logger("twinscore.edge")


class Keeper:
    """One edge; `tick` brings it in step once.

    Args:
        settings: what the edge binds, and its limits.
        places: its folder and neighbours.
        roster: who listens; None takes the one of the settings' home.
    """

    def __init__(self, settings: Settings, places: Places, roster: ListenerRoster | None = None) -> None:
        self._settings = settings
        self._places = places
        self._roster = roster or listener_roster(settings)
        self.proxy = Proxy(places.folder)
        self._last_seen: dict[str, float] = {}

    def begin(self) -> None:
        """Adopt the proxy that runs in the folder, or start one.

        Raises:
            StackError: it does not come up.
        """
        if self.proxy.adopt():
            _log.info("edge_adopted", pid=self.proxy.pid)
            self._last_seen = dict.fromkeys(models_in(self.proxy.runtime.slots(), BACKEND_PREFIX), time.monotonic())
        self.tick()

    def tick(self) -> None:
        """Make the proxy run, know the models, and send to the listeners that are there now.

        Raises:
            StackError: the proxy does not answer, or refuses its configuration.
            StoreUnavailable: the roster cannot be read; the slots stay as they are.
        """
        listeners = [item for item in self._roster.listeners() if _can_be_reached(item)]
        models = self._models(listeners)
        running = self.proxy.pid is not None
        slots = self.proxy.runtime.slots() if running else {}
        wanted = {f"{BACKEND_PREFIX}{model}": _of(model, listeners) for model in models}
        if self._settings.grpc_port is not None:
            wanted |= {f"{GRPC_PREFIX}{model}": _over_grpc(_of(model, listeners)) for model in models}
        changes = {name: plan(slots.get(name, EMPTY_SLOTS), found) for name, found in wanted.items()}
        after = {name: apply(slots.get(name, EMPTY_SLOTS), changed) for name, changed in changes.items()}
        if not running:
            self.proxy.start(self._render(after))
            _log.info("edge_started", pid=self.proxy.pid, models=sorted(models))
        elif shape_of(self._render(after)) != shape_of(self.proxy.config):
            self.proxy.reload(self._render(after))
            _log.info("edge_reloaded", models=sorted(models))
        else:
            changes = {name: changed for name, changed in changes.items() if changed}
            if changes:
                self.proxy.runtime.change(changes)
            told = {name: _shown(changed, slots.get(name, EMPTY_SLOTS)) for name, changed in changes.items()}
            if any(told.values()):
                _log.info("edge_slots", **told)

    def _models(self, listeners: Iterable[Listener]) -> list[str]:
        now = time.monotonic()
        self._last_seen |= {listener.model: now for listener in listeners}
        self._last_seen = {model: at for model, at in self._last_seen.items() if now - at <= LINGER_S}
        return sorted(self._last_seen)

    def _render(self, backends: dict[str, tuple[Slot, ...]]) -> str:
        certificate = self._settings.tls_certificate
        revision = str(certificate.stat().st_mtime_ns) if certificate is not None and certificate.exists() else ""
        places = Places(self._places.folder, self._places.ingress, self._places.metrics_port, revision)
        return render(self._settings, places, backends)


def main(arguments: list[str] | None = None) -> int:
    """Keep an edge until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m twinscore.edge.keeper", description=main.__doc__)
    parser.add_argument(
        "--ingress", action="append", required=True, metavar="HOST:PORT",
        help="Ray Serve's own ingress; given again, a reserve",
    )  # fmt: skip
    parser.add_argument("--folder", type=Path, help="folder of its sockets, for one edge; default <home>/run/edge")
    parser.add_argument("--metrics-port", type=int, help="port of /metrics on 127.0.0.1; default none")
    options = parser.parse_args(arguments)
    settings = load_settings()
    require_access(settings.home, settings.host)
    folder = options.folder or settings.home / "run" / "edge"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "keeper.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.error("edge_refused", reason=f"another keeper works on {folder}")
            return 1
        keeper = Keeper(settings, Places(folder, tuple(options.ingress), options.metrics_port))
        return _keep(keeper)


def _keep(keeper: Keeper) -> int:
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        keeper.begin()
    except StackError as error:
        _log.error("edge_not_started", reason=error.message)
        return 1
    said = ""
    while not stopping.is_set():
        keeper.proxy.wait(TICK_S)
        if stopping.is_set():
            break
        try:
            keeper.tick()
            said = ""
        except TwinscoreError as error:  # the next tick tries again; the same trouble is told once
            if error.message != said:
                said = error.message
                _log.error("edge_out_of_step", reason=said)
            stopping.wait(TICK_S)
    keeper.proxy.end()
    _log.info("edge_ended")
    return 0


def _can_be_reached(listener: Listener) -> bool:
    try:
        ipaddress.ip_address(listener.host)
    except ValueError:
        return False
    return can_be_routed(listener.model) and 0 < listener.port < _PORTS


def _of(model: str, listeners: Iterable[Listener]) -> list[Listener]:
    return [listener for listener in listeners if listener.model == model]


def _over_grpc(listeners: Iterable[Listener]) -> list[Listener]:
    """Return those that speak gRPC, with that port instead of HTTP's."""
    return [
        replace(listener, port=listener.grpc_port)
        for listener in listeners
        if listener.grpc_port is not None and 0 < listener.grpc_port < _PORTS
    ]


def _shown(changed: Sequence[Slot], before: Sequence[Slot]) -> list[str]:
    """Return the slots that send elsewhere or otherwise; how many requests one takes changes with the load."""
    known = {(slot.name, slot.address, slot.state) for slot in before}
    return [
        f"{slot.name} {slot.host}:{slot.port} {slot.state}"
        for slot in changed
        if (slot.name, slot.address, slot.state) not in known
    ]


if __name__ == "__main__":
    sys.exit(main())
