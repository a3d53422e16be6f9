"""One look at a model, put together: its deployment file, the parity of both paths, and where sources are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.batch.watch import watch_once
from twinscore.batch.watch_count import count_here, count_on_ray
from twinscore.batch.watch_due import sources_of
from twinscore.control.parity_check import watched_parity
from twinscore.online.spec import ServeSpec, load_serve_spec
from twinscore.stack.session import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from twinscore.batch.watch import Look
    from twinscore.batch.watch_source import WatchJob
    from twinscore.monitoring.figure import Figure
    from twinscore.settings import Settings

__all__ = ["deployed", "has_sources", "look_once", "parity_of"]


def look_once(settings: Settings, model: str, served: ServeSpec, *, here: int = 0) -> Look:
    """Look at a model once; a Ray is connected to only when something is to be counted on it.

    Args:
        served: what its deployment file says; only how it is watched and its joined features count.
        here: at most so many sources are counted in this process, which is cheaper than to start workers for them.

    Raises:
        StoreConflict: another job is watching the model.
        PredictFailed: a worker died; what was counted is kept.
        StackBroken: there is no Ray.
    """

    def count(settings: Settings, job: WatchJob, due: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        if len(due) <= here:
            return count_here(settings, job, due)
        with connect(settings):
            return count_on_ray(settings, job, due)

    return watch_once(settings, model, served.monitor, parity=parity_of(settings, model, served), count=count)


def parity_of(settings: Settings, model: str, served: ServeSpec) -> Callable[[datetime, datetime], Sequence[Figure]]:
    """Return what checks both paths on samples of what they did in a window."""

    def parity(start: datetime, end: datetime) -> Sequence[Figure]:
        if not served.monitor.parity_rows:
            return ()
        return watched_parity(settings, model, served, since=start, until=end)

    return parity


def deployed(settings: Settings, model: str) -> ServeSpec:
    """Return what a model's deployment file says; the defaults where it has none.

    Raises:
        SettingsInvalid: the file is wrong.
    """
    path = settings.deployments / f"{model}.yaml"
    return load_serve_spec(path) if path.is_file() else ServeSpec(model=model)


def has_sources(settings: Settings, model: str, served: ServeSpec) -> bool:
    """Say whether there is anything to watch of a model: a piece of its log, a run, or what was counted before."""
    lake = settings.lake.resolve()
    counted = lake / "windows" / model
    return counted.is_dir() or next(sources_of(lake, model, served.monitor), None) is not None
