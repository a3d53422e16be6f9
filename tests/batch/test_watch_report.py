"""Figures of the lake and the report that is made of them, on disk."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

import twinscore
from twinscore.bundle.files import Bundle
from twinscore.cli.main import app
from twinscore.errors import InputEmpty
from twinscore.monitoring.figure import Figure
from twinscore.settings import Settings
from twinscore.testing.figures import LIMITS, Watched, watched_story
from twinscore.testing.models import make_rows
from twinscore.wiring import bundle_store, window_store

from .watched import Watched as Counting


@pytest.fixture
def story() -> Watched:
    """A few days in which something begins."""
    return watched_story(days=3)


@pytest.fixture
def settings(tmp_path: Path, story: Watched) -> Settings:
    """A home with the figures of one model, a file per day."""
    made = Settings(home=tmp_path)
    windows: dict[datetime, list[Figure]] = {}
    for one in story.figures:
        windows.setdefault(one.start, []).append(one)
    window_store(made.lake, "loans").write({start: ("made up", found) for start, found in windows.items()})
    return made


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


def test_distributions_are_those_of_the_counted_rows(settings: Settings, bundle: Bundle, tmp_path: Path) -> None:
    """Of a real log the newest window's features and scores are shown beside the profile, to the row."""
    home = Settings(home=tmp_path / "home")
    bundle_store(home).publish(bundle.folder)
    watched = Counting(home, bundle)
    watched.write(3, 300, step_s=15.0)
    watched.look()
    made = twinscore.monitor_report(watched.model, settings=home)
    table = bundle.checker.conform(make_rows("binary", 300, 3).drop_columns(["label"]))
    newest = table.slice(240)
    found = {one["feature"]: one for one in made.report["distributions"]}

    assert set(found) == {"", *(feature.name for feature in bundle.spec.features)}
    assert {sum(one["counts"]) for one in found.values()} == {60}
    for feature in bundle.spec.features:
        profile = bundle.profile["features"][feature.name]
        reference = [*profile["counts"], *([profile["missing"]] if profile["missing"] else [])]
        one = found[feature.name]
        assert [rows for rows, name in zip(one["reference"], one["names"], strict=True) if name != "(new)"][
            : len(reference)
        ] == reference
        if feature.name in table.column_names and not one["ordered"]:
            wanted = Counter(newest[feature.name].to_pylist())
            shown = dict(zip(one["names"], one["counts"], strict=True))
            assert {name: shown[name] for name in wanted if name is not None} == {
                name: rows for name, rows in wanted.items() if name is not None
            }
    assert "<h3>Distribution</h3>" in made.page.read_text()
