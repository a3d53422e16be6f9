"""Watches a model: counts what is new of its audit log and its runs on Ray Data, and makes figures of closed windows.

Each source, a piece of the log or a run, is counted as a whole by one worker and put down by one rename, under its own
name. So whoever is killed has lost nothing, and whoever looks again finds the same numbers. Workers leave their cores
to whoever answers requests.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import structlog

from twinscore.audit.operate import audit_salt
from twinscore.batch.stale_figures import staleness_figures
from twinscore.batch.watch_count import count_on_ray
from twinscore.batch.watch_due import how_of, sources_of, what_is_due
from twinscore.batch.watch_labels import labels_token, placed_labels
from twinscore.batch.watch_source import WatchJob
from twinscore.batch.watch_windows import revise_windows
from twinscore.bundle.files import read_bundle
from twinscore.clock import SystemClock
from twinscore.errors import StoreConflict
from twinscore.monitoring.known_version import KnownVersion
from twinscore.monitoring.spec import period
from twinscore.wiring import bundles_in, window_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from twinscore.bundle.files import Bundle
    from twinscore.clock import Clock
    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.settings import Settings

__all__ = ["Look", "watch_again", "watch_once"]

_log = structlog.get_logger("twinscore.monitor")


@dataclass(frozen=True, slots=True)
class Look:
    """What one look did."""

    sources: int
    """That there are."""
    counted: int
    """For the first time, or again because they changed or their outcomes did."""
    glanced: int
    """Whose outcomes were looked at and had not changed."""
    rows: int
    """With a score, of the sources that were counted."""
    windows: tuple[datetime, ...]
    """Starts of the closed windows whose figures are new."""
    waiting: tuple[str, ...]
    """Why sources could not be counted; the next look tries again."""

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        plain = asdict(self)
        plain["windows"] = [start.isoformat() for start in self.windows]
        return plain


def watch_once(
    settings: Settings,
    model: str,
    spec: MonitorSpec,
    *,
    clock: Clock | None = None,
    parity: Callable[[datetime, datetime], Sequence[Figure]] | None = None,
    count: Callable[[Settings, WatchJob, Sequence[dict[str, Any]]], list[dict[str, Any]]] | None = None,
) -> Look:
    """Count what is new or changed, make the figures of windows that it changes, and return what was done.

    Args:
        clock: tells which windows are closed, and how old rows are.
        parity: checks both paths on samples of what they did in a window; None leaves that out.
        count: counts what is due and returns the answers of `WatchSource`, see `watch_count`; None counts on Ray.
            Not called when nothing is due.

    Raises:
        StoreConflict: another job is watching the model.
        StoreUnavailable: counts cannot be written.
        FileUnreadable, SchemaMismatch: the labels cannot be read.
        PredictFailed: a worker died; what was counted is kept.
        StackBroken: there is no Ray.
    """
    now = (clock or SystemClock()).now()
    lake = settings.lake.resolve()
    store, length = window_store(lake, model), period(spec.window, "window")
    with store.locked():
        path = "" if spec.labels is None else placed_labels(spec.labels, lake)
        token = "" if spec.labels is None else labels_token(spec.labels, path)
        entries = store.entries()
        sources = list(sources_of(lake, model, spec))
        due = [
            {**asdict(source), "do": do} for source in sources
            if (do := what_is_due(source, entries.get(source.name), spec, labels_token=token, now=now)) is not None
        ]  # fmt: skip
        salt = str(audit_salt(settings.home.resolve()))
        job = WatchJob(str(lake), salt, model, spec, how_of(spec), path, token, now.isoformat())
        found = (count or count_on_ray)(settings, job, due) if due else []
        bundles = bundles_in(lake)
        bundle_of = cache(lambda digest: read_bundle(bundles.path(digest)) if bundles.has(digest) else None)
        windows = revise_windows(
            store, spec, length=length, now=now, known_of=_known(bundle_of),
            look=lambda start, end: [
                *staleness_figures(
                    lake, model, start, end, datasets=spec.datasets,
                    time_of=lambda digest: None if (bundle := bundle_of(digest)) is None else bundle.card.time,
                ),
                *(() if parity is None else parity(start, end)),
            ],
        )  # fmt: skip
        store.consolidate()
    did = [answer.get("did", "") for answer in found]
    return Look(
        sources=len(sources),
        counted=sum(one.startswith("counted") for one in did),
        glanced=did.count("glanced"),
        rows=sum(answer.get("rows", 0) for answer in found),
        windows=tuple(windows),
        waiting=tuple(f"{answer['source']}: {answer['error']}" for answer in found if "error" in answer),
    )


def watch_again(
    settings: Settings,
    model: str,
    spec: MonitorSpec,
    *,
    every: timedelta,
    parity: Callable[[datetime, datetime], Sequence[Figure]] | None = None,
    on_look: Callable[[Look], object] = lambda look: None,
    looks: int | None = None,
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """Look again and again, on one Ray, until this process ends; what one look needed is gone before the next.

    Args:
        every: from the beginning of one look to the next; a look that takes longer is followed at once.
        parity: as of `watch_once`.
        on_look: is told of each.
        looks: how many; None goes on for ever.
        wait: waits so many seconds.
    """
    from twinscore.batch.session import ray_session

    clock = SystemClock()
    with ray_session(settings):
        number = 0
        while looks is None or number < looks:
            began = clock.monotonic_s()
            number += 1
            try:
                on_look(watch_once(settings, model, spec, parity=parity))
            except StoreConflict as error:  # another job does what this one would
                _log.warning("watch_skipped", model=model, reason=error.message)
            if looks is None or number < looks:
                wait(max(every.total_seconds() - (clock.monotonic_s() - began), 0.0))


def _known(bundle_of: Callable[[str], Bundle | None]) -> Callable[[str], KnownVersion | None]:
    @cache
    def known(digest: str) -> KnownVersion | None:
        bundle = bundle_of(digest)
        return None if bundle is None else KnownVersion(bundle)

    return known
