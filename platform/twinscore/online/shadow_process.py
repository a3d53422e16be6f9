"""The process beside a replica that has all of one shadow: how it is started, ended and kept out of the way.

Ray starts it on the replica's own machine, ends it with the replica, and starts it anew when it dies. It takes the
processor only while nobody else wants it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twinscore.priority import all_give_way

if TYPE_CHECKING:
    from twinscore.online.spec import AuditPolicy
    from twinscore.rollout.routing import Routing, Shadow
    from twinscore.settings import Settings

__all__ = ["ShadowJob", "ShadowProcess", "start_beside"]

_NICE = 10


@dataclass(frozen=True, slots=True)
class ShadowJob:
    """What a process beside a replica has to know.

    Args:
        settings: home and lake.
        model: name of the model.
        shadow: which application is asked, and for how many of the entities.
        salt: of the rollout.
        entity: columns of the entity; empty for the contract's key.
        policy: how its answers are recorded; None for not at all.
    """

    settings: Settings
    model: str
    shadow: Shadow
    salt: str
    entity: tuple[str, ...] = ()
    policy: AuditPolicy | None = None

    @classmethod
    def of(cls, settings: Settings, routing: Routing, shadow: Shadow, policy: AuditPolicy | None) -> ShadowJob:
        """Return what a routing says of one of its shadows."""
        return cls(settings, routing.model, shadow, routing.salt, tuple(routing.entity), policy)


class ShadowProcess:
    """What Ray builds in the process beside a replica.

    Args:
        path: of the ring, which is memory of the replica's process.
        job: what to do.
    """

    def __init__(self, path: str, job: ShadowJob) -> None:
        all_give_way(_NICE, idle=False)  # what is imported now takes a core for seconds
        from twinscore.online.shadow_run import ShadowRun

        self._run = ShadowRun(path, job)
        all_give_way(_NICE)


def start_beside(job: ShadowJob) -> Callable[[str], Callable[[], None]]:
    """Return what starts the process of a ring on this machine, and in turn returns what ends it; waits for neither."""

    def start(path: str) -> Callable[[], None]:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        untyped: Any = ray.remote(ShadowProcess)
        actor = untyped.options(num_cpus=0, max_restarts=-1, scheduling_strategy=here).remote(path, job)
        return lambda: ray.kill(actor, no_restart=True)

    return start
