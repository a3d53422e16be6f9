"""Makes Serve follow what is wanted for one model: starts applications, writes the routing, ends what nobody needs.

Each call does what can be done now and tells how far it came, so that a rollout may be given up while a version is
still starting. Nothing here asks the registry: bundles are in the store before anybody wants them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import structlog

from twinscore.errors import ModelNotReady, SchemaMismatch, SettingsInvalid, StoreConflict, TwinscoreError
from twinscore.online.challenger import app_name, app_state, challenger_apps, remove_challenger, start_challenger
from twinscore.online.routes import apply_routing, current_routing
from twinscore.rollout.plan import promoted, routed
from twinscore.rollout.routing import Routing, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twinscore.online.challenger import ChallengerOptions
    from twinscore.rollout.plan import Role
    from twinscore.rollout.wanted import WantedRouting
    from twinscore.settings import Settings

__all__ = ["Converged", "Traffic", "routing_wanted"]

_START_S = 60.0
"""For the application of a version to be up; then the version counts as one that cannot start."""
_APPLY_S = 20.0
_log = structlog.get_logger("twinscore.control")


@dataclass(frozen=True, slots=True)
class Converged:
    """How far a call came."""

    live: Target | None
    """What the routing in force says; None when the model is not served."""
    ready: bool = False
    """Whether the live version and the one on its way are in force as wanted."""
    failed: Mapping[str, str] | None = None
    """Versions that cannot be asked, and why."""


class _App(NamedTuple):
    """An application that is wanted."""

    app: str
    version: str
    digest: str
    role: Role


class Traffic:
    """The routing and the applications of one model.

    Args:
        settings: where the bundle store and Serve are.
        model: name of the model.
        options: how applications beside the gateway are run.
        clock_s: a monotonic clock.
    """

    def __init__(
        self,
        settings: Settings,
        model: str,
        *,
        options: ChallengerOptions | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self.model = model
        self._options = options
        self._clock_s = clock_s
        self._confirmed: Routing | None = None
        """The last routing that every replica said it has; what is only written is not in force."""
        self._begun_s: dict[str, float] = {}
        self._failed: dict[str, str] = {}
        """Applications that were given up, and why; tried again when nobody wanted them for a while."""

    def look(self) -> Target | None:
        """Return what is live, or None when the model is not served."""
        routing = current_routing(self.model)
        return None if routing is None else routing.live

    def converge(self, wanted: WantedRouting, digests: Mapping[str, str], *, term: int) -> Converged:
        """Come as close to what is wanted as is possible now.

        Args:
            wanted: who shall answer.
            digests: of the bundles of the versions beside; one that is not known is left out for now.
            term: epoch of the caller's lease.

        Raises:
            StoreConflict: somebody with a later lease has written.
        """
        current = current_routing(self.model)
        if current is None:
            return Converged(None)
        # What is in the routing was looked at when it came there; after a restart nobody has looked yet.
        known = {one.version: one.digest for one in current.beside} | dict(digests)
        apps = _apps(self.model, wanted, known)
        up = [app for app in apps if self._is_up(app, current)]
        asked = routing_wanted(current, wanted, up, term=term)
        complete = wanted.coming not in wanted.plan.versions or wanted.coming in [app.version for app in up]
        if (_said(asked), asked.term) != (_said(current), current.term) or current != self._confirmed:
            current, complete = self._apply(current, asked, complete)
        self._tidy(current, {app.app for app in apps})
        failed = {app.version: self._failed[app.app] for app in apps if app.app in self._failed}
        right = wanted.live is None or current.live.version == wanted.live
        return Converged(current.live, complete and right, failed or None)

    def _is_up(self, app: _App, current: Routing) -> bool:
        """Tell whether an application can be asked, and start it when it is not there.

        One that is in the routing already stays there while Serve repairs it: the live version answers meanwhile.
        """
        if app.app in self._failed:
            return False
        state, words = app_state(app.app)
        if state == "running":
            self._begun_s.pop(app.app, None)
            return True
        if state == "failed":
            self._give_up(app, f"Serve could not start it: {words or 'no reason given'}")
            return False
        now_s = self._clock_s()
        if state == "gone":
            self._begun_s[app.app] = now_s
            start_challenger(self._settings, self.model, app.version, app.digest, app.role, options=self._options)
            return False
        if now_s - self._begun_s.setdefault(app.app, now_s) > _START_S:
            self._give_up(app, f"it did not start within {_START_S:.0f} s")
            return False
        return any(one.app == app.app for one in current.beside)

    def _give_up(self, app: _App, why: str) -> None:
        _log.warning("application_failed", model=self.model, app=app.app, why=why)
        self._failed[app.app] = why
        self._begun_s.pop(app.app, None)

    def _apply(self, current: Routing, asked: Routing, complete: bool) -> tuple[Routing, bool]:
        """Write a routing; return the one in force then, and whether all that is wanted is in it."""
        try:
            applied = apply_routing(self._settings, self.model, asked, timeout_s=_APPLY_S)
        except StoreConflict:
            raise
        except (ModelNotReady, SchemaMismatch, SettingsInvalid) as error:
            _log.warning("routing_not_applied", model=self.model, why=error.message)
            if isinstance(error, SchemaMismatch):
                self._refuse_version(asked, str(error.fields.get("version", "")), error)
            return current_routing(self.model) or current, False
        self._confirmed = applied.routing
        _log.info("routing_changed", model=self.model, epoch=asked.epoch, live=asked.live.version,
                  seconds=round(applied.seconds, 2))  # fmt: skip
        return applied.routing, complete

    def _refuse_version(self, asked: Routing, version: str, error: TwinscoreError) -> None:
        for one in asked.beside:
            if one.version == version:
                self._failed[one.app] = error.message

    def _tidy(self, current: Routing, wanted: set[str]) -> None:
        """End applications that nobody wants and nobody asks, and forget what was given up for good."""
        needed = wanted | {one.app for one in current.beside}
        for app in challenger_apps(self.model):
            if app not in needed:
                remove_challenger(app)
        self._failed = {app: why for app, why in self._failed.items() if app in wanted}
        self._begun_s = {app: begun for app, begun in self._begun_s.items() if app in wanted}


def routing_wanted(current: Routing, wanted: WantedRouting, up: list[_App], *, term: int) -> Routing:
    """Return the routing that follows the one in force when these applications can be asked; pure.

    The version that was live stays loaded, so that going back is a pointer swap.
    """
    base = current
    if wanted.live is not None and wanted.digest:
        live = Target(version=wanted.live, digest=wanted.digest)
        base = current if live == current.live else promoted(current, live)
    apps = {(app.role, app.version): app for app in up}
    found = routed(base, wanted.plan, lambda role, version: apps.get((role, version)))
    return replace(found, epoch=current.epoch + 1, term=term)


def _apps(model: str, wanted: WantedRouting, digests: Mapping[str, str]) -> list[_App]:
    plan = wanted.plan
    asked: list[tuple[Role, str]] = [("shadow", one.version) for one in plan.shadows]
    if plan.canary is not None:
        asked.append(("canary", plan.canary.version))
    if plan.ab is not None:
        asked.append(("ab", plan.ab.version))
    return [
        _App(app_name(model, role, version), version, digests[version], role)
        for role, version in asked
        if version in digests
    ]


def _said(routing: Routing) -> Routing:
    """Return a routing as a value to compare, without the numbers that every writing raises."""
    return replace(routing, epoch=1, term=0)
