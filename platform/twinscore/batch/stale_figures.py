"""How old batch predictions and the live version are, what waits to be scored, and how runs end, as figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from twinscore.batch.freshness import check_freshness
from twinscore.batch.runs import instant, known_runs
from twinscore.errors import TwinscoreError
from twinscore.monitoring.figure import Figure
from twinscore.wiring import load_version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twinscore.batch.freshness import Freshness
    from twinscore.batch.runs import KnownRuns
    from twinscore.settings import Settings

__all__ = ["LiveVersion", "batch_figures", "staleness_figures"]

_WINDOW = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class LiveVersion:
    """Which version is live, and since when it exists."""

    version: str
    created_at: datetime | None
    time_column: str | None = None
    """The model's event time."""


def staleness_figures(
    settings: Settings,
    model: str,
    now: datetime,
    *,
    since: datetime | None = None,
    datasets: Sequence[str] = (),
    live: LiveVersion | None = None,
) -> list[Figure]:
    """Return the figures of the topics `staleness` and `batch`; what cannot be told has no value and a note.

    Args:
        now: end of the window, and what ages are reckoned from.
        since: runs that ended from then on; None is a day before.
        datasets: of the runs, see `known_runs`; empty means all of the model's.
        live: the live version; None asks the registry.
    """
    why = ""
    if live is None:
        try:
            live = _live(settings, model)
        except TwinscoreError as error:
            why = error.message
    lake = settings.lake.resolve()
    runs = known_runs(lake, model, datasets)
    # The newest run of each dataset that was named, or of all.
    newest = [run for name in datasets for run in known_runs(lake, model, [name]).committed[:1]]
    looks: list[Freshness] = []
    for run in newest or runs.committed[:1]:
        try:
            looks.append(check_freshness(run, now=now, time_column=None if live is None else live.time_column))
        except TwinscoreError as error:
            why = why or error.message
    start = since or now - _WINDOW
    figures = batch_figures(model, runs, start, now)
    figures += [_age(model, looks, start, now), _waiting(model, looks, start, now)]
    return [*figures, _model_age(model, live, why, start, now)]


def batch_figures(model: str, runs: KnownRuns, start: datetime, end: datetime) -> list[Figure]:
    """Return `run_s`, `runs_failed` and `quarantine_share` of the runs that ended in a window; pure.

    A run that broke its limits failed, and so did one that was begun and that nobody writes. One whose input could not
    be opened leaves nothing behind: the exit code of its command is what tells.
    """
    ended = [run.manifest for run in runs.committed if start <= instant(run.manifest["finished_at"]) < end]
    refused = [run.manifest for run in runs.refused if start <= instant(run.manifest["finished_at"]) < end]
    given_up = [facts for facts in runs.interrupted if start <= instant(facts["started_at"]) < end]
    seconds = [_seconds(one) for one in ended]
    failed = len(refused) + len(given_up)
    rows = sum(one["rows_in"] for one in (*ended, *refused))
    quarantined = sum(one["rows_quarantined"] for one in (*ended, *refused))
    names = [f"run {one['run_id']} was refused: {one['refused']}" for one in refused]
    names += [f"run {one['run_id']} was begun and not finished" for one in given_up]
    nothing = "no run ended in the window"
    make = _maker(model, ended[0]["version"] if ended else "", start, end)
    return [
        make("run_s", seconds[0] if seconds else None, rows=len(ended), note="" if seconds else nothing),
        make("runs_failed", float(failed), rows=len(ended) + failed, note="; ".join(names[:3])),
        make("quarantine_share", quarantined / rows if rows else None, rows=rows, note="" if rows else nothing),
    ]


def _age(model: str, looks: Sequence[Freshness], start: datetime, end: datetime) -> Figure:
    make = _maker(model, "", start, end)
    if not looks:
        return make("prediction_age_s", None, note="there is no committed run")
    oldest = max(looks, key=lambda one: one.data_age)
    return make("prediction_age_s", oldest.data_age.total_seconds(), rows=oldest.rows_then, note=oldest.reason)


def _waiting(model: str, looks: Sequence[Freshness], start: datetime, end: datetime) -> Figure:
    make = _maker(model, "", start, end)
    counts = [one.rows_waiting for one in looks if one.rows_waiting is not None]
    if len(counts) < len(looks) or not looks:
        note = next((one.reason for one in looks if one.rows_waiting is None), "there is no committed run")
        return make("input_waiting_rows", None, note=note)
    return make("input_waiting_rows", float(sum(counts)), rows=sum(one.rows_now or 0 for one in looks))


def _model_age(model: str, live: LiveVersion | None, why: str, start: datetime, end: datetime) -> Figure:
    if live is None or live.created_at is None:
        said = why or "the model card does not say when the version was made"
        return _maker(model, "" if live is None else live.version, start, end, live=True)(
            "model_age_s", None, note=said
        )
    age_s = max((end - live.created_at).total_seconds(), 0.0)
    return _maker(model, live.version, start, end, live=True)("model_age_s", age_s)


def _maker(model: str, version: str, start: datetime, end: datetime, *, live: bool = False) -> Callable[..., Figure]:
    def make(metric: str, value: float | None, **more: Any) -> Figure:
        return Figure(
            model=model, version=version, role="live" if live else "batch", path="online" if live else "batch",
            start=start, end=end, metric=metric, value=value, **more,
        )  # fmt: skip

    return make


def _seconds(manifest: Mapping[str, Any]) -> float:
    """Return how long a run took, from the beginning of its first attempt."""
    return (instant(manifest["finished_at"]) - instant(manifest["started_at"])).total_seconds()


def _live(settings: Settings, model: str) -> LiveVersion:
    """Return the version that `@serving` names, or `@champion` where nobody promotes."""
    try:
        version, bundle = load_version(settings, f"{model}@serving")
    except TwinscoreError:
        version, bundle = load_version(settings, f"{model}@champion")
    created = bundle.card.created_at
    made = datetime.fromisoformat(created) if created else None
    if made is not None and made.tzinfo is None:
        made = made.replace(tzinfo=UTC)
    return LiveVersion(version.version, made, bundle.card.time)
