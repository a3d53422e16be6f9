"""Where sources are counted: on Ray Data, or one after the other in this process when there are few."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import structlog

from twinscore.batch.watch_source import WatchJob, WatchSource
from twinscore.errors import PredictFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.settings import Settings

__all__ = ["count_here", "count_on_ray"]

_log = structlog.get_logger("twinscore.monitor")


def count_here(settings: Settings, job: WatchJob, due: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Count sources in this process, and return the answers of `WatchSource`: no Ray, and no worker to start."""
    import pyarrow as pa

    del settings
    actor = WatchSource(job)
    tables = [pa.table({name: [value] for name, value in row.items()}) for row in due]
    return [_told(json.loads(actor(table)["answer"][0].as_py())) for table in tables]


def count_on_ray(settings: Settings, job: WatchJob, due: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Count sources with idle workers on half of the free cores, and return the answers of `WatchSource`.

    Raises:
        PredictFailed: a worker died; what was counted is kept.
        StackBroken: there is no Ray.
    """
    import ray

    from twinscore.batch.actors import answers, spare_cores
    from twinscore.batch.session import ray_session

    with ray_session(settings):
        try:
            return [_told(one) for one in answers(WatchSource, (job,), due, actors=spare_cores(), idle=True)]
        except ray.exceptions.RayError as error:
            message = (
                f"A worker failed while counting: {str(error).splitlines()[-1]}. What was counted is kept; look again."
            )
            raise PredictFailed(message, error=type(error).__name__) from error


def _told(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        _log.warning("watch_waiting", source=answer["source"], reason=answer["error"])
    return answer
