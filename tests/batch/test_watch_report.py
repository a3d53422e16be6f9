"""Figures of the lake and the report that is made of them, on disk."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import twinscore
from twinscore.batch.watch_report import read_figures, watched_models
from twinscore.cli.main import app
from twinscore.errors import FileUnreadable, InputEmpty
from twinscore.monitoring.figure import table_of
from twinscore.settings import Settings
from twinscore.testing.figures import LIMITS, START, Watched, watched_story


@pytest.fixture
def story() -> Watched:
    """A few days in which something begins."""
    return watched_story(days=3)


@pytest.fixture
def settings(tmp_path: Path, story: Watched) -> Settings:
    """A home with the figures of one model, a file per day."""
    made = Settings(home=tmp_path)
    folder = made.lake / "windows" / "loans" / "figures"
    folder.mkdir(parents=True)
    for day in sorted({one.start.date() for one in story.figures}):
        found = table_of([one for one in story.figures if one.start.date() == day])
        pq.write_table(found, folder / f"{day}.parquet")
    return made


def test_figures_come_back_in_order_of_time(settings: Settings, story: Watched) -> None:
    """All of them, or those of the windows that begin in a span."""
    found = read_figures(settings, "loans")
    day = START + timedelta(days=1)
    span = read_figures(settings, "loans", day + timedelta(hours=6), day + timedelta(hours=12))

    assert watched_models(settings) == ["loans"]
    assert found == sorted(story.figures, key=lambda one: (one.start, one.end))
    assert {one.start for one in span} == {day + timedelta(hours=6)}


def test_report_is_written_as_page_and_json(settings: Settings, story: Watched) -> None:
    """The folder holds both, with what was handed in; the page says what the document says."""
    made = twinscore.monitor_report("loans", settings=settings, incidents=story.incidents, limits=LIMITS)
    document = json.loads((made.folder / "report.json").read_text())

    assert made.folder == settings.lake / "monitoring" / "loans"
    assert document == made.report
    assert document["limits"] == LIMITS
    assert document["headline"]["says"].split(":")[0] in made.page.read_text()


def test_command_says_whether_anything_is_wrong(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The headline in the terminal, the page where it was asked for; JSON alone with --json."""
    monkeypatch.setenv("TWINSCORE_HOME", str(settings.home))
    asked = ["monitor", "report", "--model", "loans", "--output", str(tmp_path / "out")]
    shown = CliRunner().invoke(app, asked)
    printed = CliRunner().invoke(app, [*asked, "--since", "2026-05-02", "--until", "2026-05-03", "--json"])

    assert (shown.exit_code, printed.exit_code) == (0, 0)
    assert "No incident is open. The newest figures are" in shown.output
    assert (tmp_path / "out" / "report.html").is_file()
    assert {len(one["windows"]) for one in json.loads(printed.output)["scopes"]} == {4, 1}


def test_unknown_model_is_named_with_what_is_near(settings: Settings) -> None:
    """A typo is answered with the model that was meant."""
    with pytest.raises(InputEmpty, match="loans"):
        twinscore.monitor_report("loan", settings=settings)


def test_broken_file_is_named(settings: Settings) -> None:
    """A file that is not Parquet is named with what to do."""
    broken = settings.lake / "windows" / "loans" / "figures" / f"{datetime(2026, 5, 2, tzinfo=UTC):%Y-%m-%d}.parquet"
    broken.write_bytes(b"PAR1 no")
    with pytest.raises(FileUnreadable, match=broken.name):
        read_figures(settings, "loans")
