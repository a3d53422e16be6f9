"""`twinscore report`: tables for people, JSON for programs, and the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from twinscore.batch.report import RunReport
from twinscore.batch.report_files import REPORT_JSON, REPORT_PAGE
from twinscore.batch.run import run_version
from twinscore.batch.spec import ScoreSpec
from twinscore.cli.main import app
from twinscore.ports.model_store import ModelVersion
from twinscore.settings import load_settings
from twinscore.testing.models import make_bundle, make_rows


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    """A real run over 500 rows, scored in this process."""
    import contextlib
    from collections.abc import Iterator
    from typing import Any

    import pyarrow.parquet as pq

    from twinscore.batch.shard import score_shard

    folder = tmp_path_factory.mktemp("report")
    bundle = make_bundle(folder / "bundle")
    pq.write_table(make_rows(rows=500).drop_columns(["label"]), folder / "rows.parquet")

    @contextlib.contextmanager
    def here(settings: object) -> Iterator[Any]:
        del settings
        yield lambda shards, repeated, bundle, job: (
            score_shard(shard, bundle, job, repeated.get(shard.number)) for shard in shards
        )

    version = ModelVersion("[bold]demo[/]", "1", (), bundle.digest, "", None)
    spec = ScoreSpec(model="demo", input=str(folder / "rows.parquet"), output=str(folder / "out"))
    return run_version(load_settings(home=folder / "home", num_cpus=1), spec, version, bundle, workers=here)


def ask(*words: str) -> Result:
    return CliRunner().invoke(app, ["report", *words], env={"COLUMNS": "140"})


def test_tables_for_people(done: RunReport) -> None:
    """The verdict, a sentence, tables and the page; a model's name is never read as markup."""
    shown = ask(str(done.folder)).stdout

    assert f"[bold]demo[/] version 1, run {done.run_id}: committed" in shown
    assert "500 of 500 rows were scored" in shown
    for title in ("Scores: PSI", "Decisions", "Time:"):
        assert title in shown
    assert f"The page: {done.folder / REPORT_PAGE}" in shown


def test_json_for_programs(done: RunReport) -> None:
    """What is printed is the report and nothing else."""
    assert json.loads(ask(str(done.folder), "--json").stdout) == json.loads((done.folder / REPORT_JSON).read_text())


def test_open_shows_the_page(done: RunReport, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--open` hands the page's address to the browser."""
    opened: list[str] = []
    monkeypatch.setattr("typer.launch", opened.append)

    assert ask(str(done.folder), "--open").exit_code == 0
    assert [(done.folder / REPORT_PAGE).as_uri()] == opened


def test_run_that_is_older_than_reports(done: RunReport, tmp_path: Path) -> None:
    """Its manifest is told; to open a page that is not there is an error."""
    (tmp_path / "_manifest.json").write_text((done.folder / "_manifest.json").read_text())
    shown = ask(str(tmp_path))

    assert "500 of 500 rows were scored." in shown.stdout
    assert "it is older than reports" in shown.stdout
    assert ask(str(tmp_path), "--open").stderr.startswith("error[file_unreadable]: The run at ")


def test_no_run_is_said(tmp_path: Path) -> None:
    """A folder without a run is answered with what to do."""
    missing = ask(str(tmp_path / "nothing"))

    assert (missing.exit_code, missing.stdout) == (1, "")
    assert missing.stderr.startswith("error[file_unreadable]: There is no run at ")
