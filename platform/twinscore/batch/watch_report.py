"""The report of a watched model: read from the counts and figures of the lake, written as page and JSON.

<lake>/monitoring/<model>/report.html    the page
<lake>/monitoring/<model>/report.json    the same for programs
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from twinscore.batch.checkpoint import write_whole
from twinscore.batch.watch_windows import window_tallies
from twinscore.bundle.files import read_bundle
from twinscore.errors import BundleError, InputEmpty, near
from twinscore.monitoring.plan import plan_of
from twinscore.monitoring.report_data import report_of
from twinscore.monitoring.report_page import report_page
from twinscore.monitoring.spread import distributions_of
from twinscore.wiring import bundles_in, window_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.plan import Plan
    from twinscore.monitoring.shown import Distribution, ShownIncident
    from twinscore.settings import Settings

__all__ = ["MonitorReport", "monitor_report", "newest_distributions", "read_figures", "watched_models"]

_SHOWN = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class MonitorReport:
    """A report that was made, and where it is."""

    folder: Path
    report: dict[str, Any]

    @property
    def page(self) -> Path:
        """The page."""
        return self.folder / "report.html"


def watched_models(settings: Settings) -> list[str]:
    """Return the models that have figures."""
    return sorted(path.parent.name for path in (settings.lake / "windows").glob("*/figures") if path.is_dir())


def read_figures(
    settings: Settings, model: str, since: datetime | None = None, until: datetime | None = None
) -> list[Figure]:
    """Return the figures of a model's windows that begin in a span of time, in order of time."""
    return window_store(settings.lake, model).read(since, until)


def newest_distributions(settings: Settings, model: str, figures: Sequence[Figure]) -> list[Distribution]:
    """Return how features and scores of the newest window of each path are spread; those that can be told.

    Args:
        figures: of the model; they say which windows are the newest.
    """
    newest: dict[tuple[str, str], Figure] = {}
    for one in figures:
        if not one.segment and one.role in ("live", "batch") and one.metric in ("psi", "score_psi", "score_mean"):
            known = newest.get((one.path, one.role))
            if known is None or (one.end, one.rows) > (known.end, known.rows):
                newest[one.path, one.role] = one
    store = window_store(settings.lake, model)
    found = []
    for one in newest.values():
        for key, tally in window_tallies(store, [one.start], one.end - one.start).get(one.start, {}).items():
            if (key.path, key.role, key.segment, key.version) == (one.path, one.role, "", one.version):
                plan = _plan(settings, key.bundle_digest)
                found += [] if plan is None else distributions_of(key, tally, plan)
    return found


def monitor_report(
    settings: Settings,
    model: str,
    output: Path,
    *,
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
    incidents: Sequence[ShownIncident] = (),
    limits: Mapping[str, float] | None = None,
) -> MonitorReport:
    """Make the report of a model and write it, page and JSON; an older one in the folder is replaced.

    Args:
        output: folder of the report.
        now: of the report.
        since: windows that begin from then on; None is thirty days before the newest.
        until: windows that begin before then.
        incidents: open and closed ones.
        limits: by metric, what rules hold it against or what was promised.

    Raises:
        InputEmpty: nothing is known of the model.
        StoreUnavailable: the report cannot be written.
    """
    known = watched_models(settings)
    if model not in known and not incidents:
        message = f"No window of {model!r} was counted yet. {near(model, known)} See docs/how-to/read-the-monitor.md."
        raise InputEmpty(message, model=model)
    if since is None and model in known:
        since = max(window_store(settings.lake, model).stamps(), default=now) - _SHOWN
    figures = read_figures(settings, model, since, until) if model in known else []
    report = report_of(
        model, figures, now=now, distributions=newest_distributions(settings, model, figures), incidents=incidents,
        limits=limits,
    )  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    made = MonitorReport(output, report)
    write_whole(output / "report.json", json.dumps(report, indent=1, ensure_ascii=False).encode())
    write_whole(made.page, report_page(report).encode())
    return made


def _plan(settings: Settings, digest: str) -> Plan | None:
    """Return how rows of a bundle were counted; None when it is gone or broken: its windows have no distributions."""
    bundles = bundles_in(settings.lake)
    if not digest or not bundles.has(digest):
        return None
    try:
        return plan_of(read_bundle(bundles.path(digest)))
    except BundleError:
        return None
