"""Command that shows what a run was: its counts, scores, rules and times, and the page that has it all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.table import Table

__all__ = ["report_command"]

_SHOWN = 10
_BLOCKS = "▏▎▍▌▋▊▉█"
_WIDTH = 20


def report_command(
    run: Annotated[Path, typer.Argument(help="Folder of a run, committed or refused.")],
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Show the report of a run: what was scored, refused, shifted and spent."""
    import json

    from rich.console import Console

    from twinscore.batch.read import open_run
    from twinscore.batch.report_files import REPORT_PAGE, read_report
    from twinscore.errors import FileUnreadable

    folder = run.expanduser().absolute()
    report = read_report(folder, open_run(folder).manifest)
    page = folder / REPORT_PAGE
    if as_json:
        typer.echo(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        _print(Console(), report, page)
    if not show:
        return
    if not page.is_file():
        message = f"The run at {folder} has no {REPORT_PAGE}: it is older than reports. Leave --open out."
        raise FileUnreadable(message, folder=str(folder))
    typer.launch(page.as_uri())


def _print(console: Console, report: dict[str, Any], page: Path) -> None:
    from rich.markup import escape

    from twinscore.batch.report_words import summary

    run = report["run"]
    colour = {"COMMITTED": "green", "REFUSED": "red"}.get(str(run["verdict"]), "yellow")
    console.print(
        f"[bold]{escape(str(run['model']))}[/] version {escape(str(run['version']))}, "
        f"run {escape(str(run['run_id']))}: "
        f"[{colour}]{escape(str(run['verdict']).lower())}[/]",
        highlight=False,
    )
    console.print(escape(summary(report)), highlight=False)
    if run["refused"]:
        console.print(escape(run["refused"]), style="red", highlight=False, soft_wrap=True)
    for table in _tables(report):
        console.print(table)
    if page.is_file():
        console.print(f"The page: {page}", markup=False, highlight=False, soft_wrap=True)
    else:
        console.print("This run has no page: it is older than reports, so this is what its manifest tells.")


def _tables(report: dict[str, Any]) -> Iterator[Table]:
    from twinscore.page.words import bin_name, count, duration, percent, rate

    scores = report["scores"]
    if scores is not None and scores["rows"]:
        shift = scores["shift"]
        title = "Scores" + (f": PSI {shift['psi']:.3f}, {_no(shift['size'])} shift" if shift else "")
        most = max(one["share"] for one in scores["bins"])
        yield _table(
            title, ("score", "", "rows", "share", "reference"),
            [(bin_name(one), _bar(one["share"] / most), count(one["rows"]), percent(one["share"]),
              percent(one["reference_share"])) for one in scores["bins"]],
        )  # fmt: skip
    if report["decisions"]:
        yield _table(
            "Decisions", ("decision", "", "rows", "share"),
            [(str(one["decision"]), _bar(one["share"] or 0.0), count(one["rows"]), percent(one["share"]))
             for one in report["decisions"][:_SHOWN]],
        )  # fmt: skip
    if report["quarantine"]["rules"]:
        yield _table(
            "Quarantine", ("rule", "rows", "of all"),
            [(one["rule"], count(one["rows"]), percent(one["share"])) for one in report["quarantine"]["rules"]],
        )  # fmt: skip
    contract = report["contract"]
    if contract["failed"] or contract["inconclusive"]:
        yield _table(
            "Rules about the whole", ("rule", "expected", "observed", "answer"),
            [tuple(str(one[name]) for name in ("rule", "expected", "observed", "answer"))
             for one in contract["results"] if one["answer"] != "passed"][:_SHOWN],
        )  # fmt: skip
    if report["importance"]:
        features = report["importance"]["features"]
        most = max(one["mean_abs"] for one in features) or 1.0
        yield _table(
            "Importance", ("feature", "", "mean |SHAP|", "share"),
            [(one["feature"], _bar(one["mean_abs"] / most), f"{one['mean_abs']:.4g}", percent(one["share"]))
             for one in features[:_SHOWN]],
        )  # fmt: skip
    timings = report["timings"]
    if timings["steps"]:
        yield _table(
            f"Time: {duration(timings['total_s'])}, {rate(timings['rows_per_s'])} rows/s", ("step", "time", "rows/s"),
            [(one["step"], duration(one["seconds"]), rate(one["rows_per_s"])) for one in timings["steps"]],
        )  # fmt: skip


def _table(title: str, names: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", show_edge=False)
    words = {"", "rule", "feature", "decision", "score", "step", "expected", "observed", "answer"}
    for name in names:
        table.add_column(name, overflow="fold", justify="left" if name in words else "right")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def _no(size: str) -> str:
    return "no" if size == "none" else size


def _bar(share: float) -> str:
    """Draw a share of _WIDTH letters, in eighths of a letter."""
    eighths = round(8 * _WIDTH * min(max(share, 0.0), 1.0))
    return _BLOCKS[-1] * (eighths // 8) + (_BLOCKS[eighths % 8 - 1] if eighths % 8 else "")
