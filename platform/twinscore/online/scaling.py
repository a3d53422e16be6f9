"""How many replicas a load needs: a pure decision, and the policy through which Ray Serve's controller asks for it.

Serve's own numbers do not see what reaches a replica through its listener, so each replica reports the listener's. The
controller gets this module by value: it imports the standard library only. Serve itself adds bounds and delays.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["STATS", "ListenerPolicy", "ReplicaLoad", "Targets", "loads_of", "replicas_wanted"]

STATS = ("listener_ongoing", "listener_answered_s", "listener_p99_ms", "listener_busy", "listener_shed_s")
"""What a replica reports, in the order of `ReplicaLoad`."""

_SPARE = 0.8
"""A replica is taken away when the others would stay below this share of their target."""
_LEAST_BUSY = 0.3
"""A replica less busy than this is not slow because of its load, and another one would not help."""
_ROUNDING = 1e-9
_LEAST_ANSWERED_S = 5.0
"""Fewer answers per second have no 99th percentile worth a replica."""


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """The last seconds of one replica."""

    ongoing: float = 0.0
    answered_s: float = 0.0
    p99_ms: float = 0.0
    busy: float = 0.0
    shed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Targets:
    """What a replica should be like."""

    ongoing: float
    """Requests inside it at a time."""
    busy: float
    """Share of the time that its loop is at work."""
    p99_ms: float | None = None
    """Longest 99th percentile."""


def replicas_wanted(loads: Sequence[ReplicaLoad], replicas: int, targets: Targets) -> int:
    """Return how many replicas these loads need.

    The larger of two needs counts: requests inside, and work. Where a replica refuses requests, or is slower than it
    may be while it is at work, there is one replica more at least. One is taken away only when the others have spare
    room, so that a load that stays the same never moves the number to and fro.

    Args:
        loads: of the replicas that reported; one that did not takes no load yet.
        replicas: how many there are, or are being started.
        targets: what a replica should be like.
    """
    if not loads:
        return replicas
    need = max(
        sum(load.ongoing for load in loads) / targets.ongoing,
        sum(load.busy for load in loads) / targets.busy,
    )
    wanted = math.ceil(need - _ROUNDING)
    if wanted < replicas:
        wanted = min(replicas, math.ceil(need / _SPARE - _ROUNDING))
    if any(_strained(load, targets) for load in loads):
        wanted = max(wanted, len(loads) + 1)
    return max(wanted, 1)


def _strained(load: ReplicaLoad, targets: Targets) -> bool:
    if load.shed_s > 0:
        return True
    if targets.p99_ms is None or load.answered_s < _LEAST_ANSWERED_S or load.busy < _LEAST_BUSY:
        return False
    return load.p99_ms > targets.p99_ms


class ListenerPolicy:
    """What the controller calls once a tick; see `ray.serve.config.AutoscalingPolicy`.

    Args:
        ongoing, busy, p99_ms: see `Targets`.
        floor: fewest replicas until `floor_until_s`, in seconds since 1970; it ends by itself, whoever asked for it.
    """

    def __init__(
        self,
        ongoing: float,
        busy: float,
        p99_ms: float | None = None,
        floor: int = 0,
        floor_until_s: float = 0.0,
    ) -> None:
        self._targets = Targets(ongoing, busy, p99_ms)
        self._floor = floor
        self._floor_until_s = floor_until_s

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """Return the number of replicas before bounds and delays, and no state."""
        loads = loads_of(context.aggregated_metrics or {})
        wanted = replicas_wanted(loads, context.target_num_replicas, self._targets)
        return max(wanted, self._floor if time.time() < self._floor_until_s else 0), {}


def loads_of(metrics: Mapping[str, Mapping[Any, float]]) -> list[ReplicaLoad]:
    """Return the loads of replicas from what they reported, by number and replica; half a report is none."""
    found = [metrics.get(name, {}) for name in STATS]
    whole = [replica for replica in found[0] if all(replica in part for part in found)]
    return [ReplicaLoad(*(float(part[replica]) for part in found)) for replica in whole]
