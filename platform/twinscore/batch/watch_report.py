"""What is known of watched models: their figures in the lake, and the report that is made of them.

<lake>/windows/<model>/figures/2026-03-01.parquet    figures of the windows that begin on a day
<lake>/monitoring/<model>/report.html                the page
<lake>/monitoring/<model>/report.json                the same for programs
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinscore.batch.checkpoint import write_whole
from twinscore.errors import FileUnreadable, InputEmpty, near
from twinscore.monitoring.figure import figures_of
from twinscore.monitoring.report_data import report_of
from twinscore.monitoring.report_page import report_page

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.shown import Distribution, ShownIncident
    from twinscore.settings import Settings

__all__ = ["MonitorReport", "monitor_report", "read_figures", "watched_models"]

_SHOWN_DAYS = 30
_DAY = timedelta(days=1)


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
    """Return the figures of a model's windows that begin in a span of time, in order of time.

    Raises:
        FileUnreadable: a file of figures is not one.
    """
    folder = settings.lake / "windows" / model / "figures"
    found: list[Figure] = []
    for path in sorted(folder.glob("[!.]*.parquet")):
        if _outside(path, since, until):
            continue
        try:
            table = pq.read_table(path, partitioning=None)
        except (OSError, pa.ArrowException) as error:
            message = f"The figures {path} cannot be read ({error}). Remove the file; the next run makes it again."
            raise FileUnreadable(message, path=str(path)) from error
        for bound, kept in ((since, pc.greater_equal), (until, pc.less)):
            if bound is not None:
                table = table.filter(kept(pc.field("start"), pa.scalar(bound, pa.timestamp("us", "UTC"))))
        found += figures_of(table)
    return sorted(found, key=lambda one: (one.start, one.end))


def monitor_report(
    settings: Settings,
    model: str,
    output: Path,
    *,
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
    distributions: Iterable[Distribution] = (),
    incidents: Sequence[ShownIncident] = (),
    limits: Mapping[str, float] | None = None,
) -> MonitorReport:
    """Make the report of a model and write it, page and JSON; an older one in the folder is replaced.

    Args:
        output: folder of the report.
        now: of the report.
        since: windows that begin from then on; None is thirty days before the newest.
        until: windows that begin before then.
        distributions: of the newest windows.
        incidents: open and closed ones.
        limits: by metric, what rules hold it against or what was promised.

    Raises:
        InputEmpty: nothing is known of the model.
        FileUnreadable: a file of figures is not one.
        StoreUnavailable: the report cannot be written.
    """
    known = watched_models(settings)
    if model not in known and not incidents:
        message = f"No window of {model!r} was counted yet. {near(model, known)} See docs/how-to/read-the-monitor.md."
        raise InputEmpty(message, model=model)
    figures = read_figures(settings, model, since or _first_shown(settings, model), until)
    report = report_of(model, figures, now=now, distributions=distributions, incidents=incidents, limits=limits)
    output.mkdir(parents=True, exist_ok=True)
    made = MonitorReport(output, report)
    write_whole(output / "report.json", json.dumps(report, indent=1, ensure_ascii=False).encode())
    write_whole(made.page, report_page(report).encode())
    return made


def _first_shown(settings: Settings, model: str) -> datetime | None:
    """Return the day thirty days before the newest with figures, by the names of the files."""
    days = [day for path in (settings.lake / "windows" / model / "figures").glob("*.parquet") if (day := _day(path))]
    return datetime.combine(max(days), datetime.min.time(), UTC) - _SHOWN_DAYS * _DAY if days else None


def _day(path: Path) -> date | None:
    try:
        return date.fromisoformat(path.stem)
    except ValueError:
        return None


def _outside(path: Path, since: datetime | None, until: datetime | None) -> bool:
    """Say whether a file's name tells that none of its windows begins in the span."""
    day = _day(path)
    if day is None:
        return False
    start = datetime.combine(day, datetime.min.time(), UTC)
    return (since is not None and start + _DAY <= since) or (until is not None and start >= until)
