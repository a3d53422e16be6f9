"""How a running batch looks: live at a terminal, a few lines in a file, JSON lines for programs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from rich.console import Console

    from twinscore.batch.progress import Progress, ProgressCallback
    from twinscore.batch.report import RunReport

__all__ = ["LINE_EVERY_S", "show_progress", "tell_committed"]

LINE_EVERY_S = 10.0
"""Seconds between two lines of one step, where lines are kept."""

_STEPS = {
    "resolve": "Resolving version",
    "snapshot": "Reading footers",
    "start": "Starting workers",
    "score": "Scoring",
    "keys": "Comparing keys",
    "commit": "Committing",
    "publish": "Publishing",
    "done": "Done",
}
_WIDE = 120
_LONGEST_LABEL = max(len(label) for label in _STEPS.values())


def show_progress(console: Console, *, as_json: bool = False) -> AbstractContextManager[ProgressCallback]:
    """Return a context whose value shows a run.

    At a terminal, each step is a line that stays, with a spinner, bar, rows, rate, quarantine and time left while it
    runs. Elsewhere each step is printed when it begins, and then at most one line every LINE_EVERY_S seconds.
    """
    if as_json:
        return _json()
    return _live(console) if console.is_terminal else _lines(console)


def tell_committed(report: RunReport) -> None:
    """Write the last JSON line: the run and where it is."""
    import structlog

    structlog.get_logger("twinscore.batch").info("committed", **report.summary())


@contextmanager
def _json() -> Iterator[ProgressCallback]:
    from twinscore.batch.progress import at_most_every, json_lines, log_progress

    json_lines()
    yield at_most_every(LINE_EVERY_S, log_progress)


@contextmanager
def _lines(console: Console) -> Iterator[ProgressCallback]:
    from twinscore.batch.progress import at_most_every

    def show(event: Progress) -> None:
        facts = ", ".join(one for one in (_counts(event), _left(event), event.detail) if one)
        # A line of a log is one line, however long: wrapped, it could not be searched.
        line = f"{_STEPS.get(event.step, event.step)} {facts}".rstrip()
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    yield at_most_every(LINE_EVERY_S, show)


@contextmanager
def _live(console: Console) -> Iterator[ProgressCallback]:
    from rich import progress
    from rich.markup import escape
    from rich.table import Column

    bar = progress.Progress(
        progress.SpinnerColumn(finished_text="[green]✓[/]"),
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24 if console.width >= _WIDE else 8),
        # Where the terminal is narrow, the facts take two lines: cut off, the time left would be lost.
        progress.TextColumn("{task.fields[facts]}", table_column=Column(overflow="fold", no_wrap=False)),
        console=console,
    )
    step = ""
    running: progress.TaskID | None = None
    last: Progress | None = None

    def close() -> None:
        if running is None:
            return
        # What the step counted stays to be read; what is left of it does not.
        facts = escape(_counts(last) or last.detail) if last is not None else ""
        took = bar.tasks[-1].elapsed or 0.0
        bar.update(running, total=1, completed=1, facts=f"{facts} [dim]{took:.1f} s[/]".lstrip())
        bar.stop_task(running)

    def begin(label: str) -> None:
        nonlocal running
        close()
        running = bar.add_task(label.ljust(_LONGEST_LABEL), total=None, facts="")

    def show(event: Progress) -> None:
        nonlocal step, last
        if event.step == "done":
            close()
            step = event.step
            return
        if event.step != step:
            begin(_STEPS.get(event.step, event.step))
            step = event.step
        last = event
        facts = ", ".join(one for one in (_counts(event), _left(event)) if one) or event.detail
        total = event.rows_total if event.rows_done else None
        if running is not None:
            bar.update(running, completed=event.rows_done, total=total, facts=escape(facts))

    with bar:
        begin("Connecting to Ray")
        yield show


def _counts(event: Progress) -> str:
    """Return what was counted: rows of all rows, rate, quarantine; empty when nothing was."""
    if not event.rows_done:
        return ""
    parts = [f"{event.rows_done:,} of {event.rows_total:,} rows"]
    if event.rows_per_s:
        parts.append(f"{event.rows_per_s:,.0f} rows/s")
    if event.rows_quarantined:
        parts.append(f"{event.rows_quarantined:,} in quarantine")
    return ", ".join(parts)


def _left(event: Progress) -> str:
    """Return the time left of the step, when there is some and it is known."""
    if event.eta_s is None or event.eta_s < 1:
        return ""
    minutes, seconds = divmod(round(event.eta_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"
