"""Serve as the control's traffic sees it, in memory: applications that run, start or fail, and one routing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from twinscore.control import traffic
from twinscore.control.traffic import Traffic
from twinscore.errors import SchemaMismatch
from twinscore.online import challenger
from twinscore.rollout.routing import Routing, Target
from twinscore.settings import Settings


class ServeWorld:
    """What Serve has of the model `m`; what is set here is what the next look finds."""

    def __init__(self, patch: pytest.MonkeyPatch, live: Target) -> None:
        self.routing = self.confirmed = Routing(model="m", live=live, term=1)
        """What is written, and what every replica has."""
        self.statuses: dict[str, str] = {}
        """Of applications that are not RUNNING, by name; also of those that are not there yet."""
        self.other_columns: set[str] = set()
        """Versions that read other columns than every version that is live."""
        self.controller_away = False
        """Whether nobody can be asked which replicas have the routing that was written."""
        self._apps: set[str] = set()
        patch.setattr(challenger, "applications", self.applications)
        patch.setattr(traffic, "current_routing", lambda _: self.routing)
        patch.setattr(traffic, "apply_routing", self._apply)
        patch.setattr(traffic, "start_challenger", self._start)
        patch.setattr(traffic, "remove_challenger", self._apps.discard)

    def applications(self) -> dict[str, Any]:
        """Return what `serve.status` would."""
        return {app: found_app(self.statuses.get(app, "RUNNING")) for app in self._apps}

    def _start(self, _: Settings, model: str, version: str, __: str, role: str, **___: Any) -> None:
        self._apps.add(f"{model}.{role}.{version}")

    def _apply(self, _: Settings, __: str, routing: Routing, **___: Any) -> Any:
        for one in routing.beside:
            if one.version in self.other_columns:
                message = f"Version {one.version} reads other columns."
                raise SchemaMismatch(message, version=one.version, live=routing.live.version)
        self.routing = routing
        if self.controller_away:
            message = "the Serve controller is away"
            raise RuntimeError(message)
        self.confirmed = routing
        return SimpleNamespace(routing=routing, seconds=0.0)


def found_app(status: str, deployment: str = challenger.DEPLOYMENT) -> Any:
    """Return what Serve tells of an application with one deployment."""
    return SimpleNamespace(status=status, message="", deployments={deployment: SimpleNamespace(message="it dies")})


def traffic_of(home: Path, **options: Any) -> Traffic:
    """Return the traffic of the model `m`."""
    return Traffic(Settings(home=home), "m", **options)
