"""Asks all replicas of a served model for a rung of the ladder, through Serve's own configuration; restarts none.

What is asked for carries the time at which it ends, so it ends although whoever asked is gone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from twinscore.clock import SystemClock
from twinscore.errors import ModelNotReady, SettingsInvalid
from twinscore.online.routes import DEPLOYMENT
from twinscore.online.serve_config import (
    changing,
    read_user_config,
    running_replicas,
    scaling_of,
    write_user_config,
)

if TYPE_CHECKING:
    from twinscore.clock import Clock
    from twinscore.ports.load_ladder import Rung

__all__ = ["ServeLadder"]

_FOR = timedelta(minutes=10)


class ServeLadder:
    """The ladder of every model that this Ray serves; see `LoadLadder`.

    Args:
        clock: tells when what is asked for ends.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    def set(self, model: str, rung: Rung, on: bool, reason: str, *, until: datetime | None = None) -> str:
        """Ask for a rung, or take that back; see `LoadLadder.set`."""
        with changing(model):
            config = read_user_config(model, DEPLOYMENT)
            if config is None:
                message = f"{model} is not served; run `twinscore serve --model {model}`."
                raise ModelNotReady(message, model=model)
            until = until or self._clock.now() + _FOR
            if rung == "degrade":
                return _degrade(model, config, on, reason, until)
            return _scale(model, config, on, until, self._clock.now())


def _degrade(model: str, config: dict[str, Any], on: bool, reason: str, until: datetime) -> str:
    if on and not config.get("degrades"):
        message = f"{model} has no cheaper way to answer; say which under `degrade` in its deployment file."
        raise SettingsInvalid(message, model=model, setting="degrade")
    if not on and "degrade" not in config:
        return "nothing was asked for"
    wanted = {name: value for name, value in config.items() if name != "degrade"}
    if on:
        wanted["degrade"] = {"until_s": until.timestamp(), "reason": reason[:200]}
    write_user_config(model, DEPLOYMENT, wanted)
    return f"answers in the cheaper way until {_said(until)}" if on else "answers in full when the load lets it"


def _scale(model: str, config: dict[str, Any], on: bool, until: datetime, now: datetime) -> str:
    scaling = scaling_of(model, DEPLOYMENT)
    if scaling is None:
        message = f"The number of replicas of {model} is fixed; give max_replicas in its deployment file."
        raise SettingsInvalid(message, model=model, setting="max_replicas")
    most, known = scaling
    if not on:
        write_user_config(model, DEPLOYMENT, config, scaling={"floor": 0, "floor_until_s": 0.0})
        return "the load alone decides again"
    stands = float(known.get("floor_until_s") or 0.0) > now.timestamp()
    floor = int(known["floor"]) if stands else min(most, running_replicas(model, DEPLOYMENT) + 1)
    write_user_config(model, DEPLOYMENT, config, scaling={"floor": floor, "floor_until_s": until.timestamp()})
    return f"at least {floor} of at most {most} replicas until {_said(until)}"


def _said(until: datetime) -> str:
    return until.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
