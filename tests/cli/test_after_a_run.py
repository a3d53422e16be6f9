"""Commands after a run: look into its quarantine, bring rows home, join outcomes, ask for its age; over `adult`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from twinscore.batch.drive import Pool
from twinscore.batch.read import open_run
from twinscore.batch.run import run_version
from twinscore.batch.shard import score_shard
from twinscore.batch.spec import ScoreSpec
from twinscore.cli.main import app
from twinscore.settings import Settings, load_settings
from twinscore.training.train import train
from twinscore.wiring import load_version


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "250"})


@contextlib.contextmanager
def _here(settings: Settings) -> Iterator[Pool]:
    """Score in this process, without a Ray."""
    del settings
    yield lambda shards, repeated, bundle, job: (
        score_shard(shard, bundle, job, repeated.get(shard.number)) for shard in shards
    )


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, adult_train: Path, adult_test: Path) -> Path:
    """A folder with `adult` scored into `run`; 20 ages are impossible, what they were is in `fixed.parquet`."""
    folder = tmp_path_factory.mktemp("after")
    settings = load_settings(home=folder / "home", num_cpus=2)
    train(settings, model="adult", data=adult_train, label="label", key="row_id", params={"num_boost_round": 20})
    table = pq.read_table(adult_test).slice(0, 4_000)
    age = table.column("age")
    broken = pc.if_else(pa.array([row < 20 for row in range(4_000)]), pa.scalar(-1, age.type), age)
    (folder / "input").mkdir()
    place = table.schema.get_field_index("age")
    pq.write_table(table.set_column(place, "age", broken), folder / "input" / "day.parquet")
    pq.write_table(table.slice(0, 15), folder / "fixed.parquet")
    pq.write_table(table.select(["row_id", "label"]), folder / "labels.parquet")
    version, bundle = load_version(settings, "adult")

    spec = ScoreSpec(model="adult", input=str(folder / "input"), output=str(folder / "run"))
    run_version(settings, spec, version, bundle, workers=_here)
    return folder


@pytest.fixture(autouse=True)
def _home(scored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSCORE_HOME", str(scored / "home"))


def test_quarantine_is_shown_brought_home_and_measured(scored: Path) -> None:
    """The whole way: 20 rows refused for their age, 15 come home, once; then their outcomes are there."""
    run = scored / "run"
    before = open_run(run).predictions(["row_id"]).num_rows
    shown = invoke("quarantine", "show", run, "--column", "age")
    assert shown.exit_code == 0, shown.output
    assert "20 rows in the quarantine" in shown.stdout
    assert "expect_column_values_to_be_between(age" in shown.stdout

    first = invoke("quarantine", "retry", run, "--input", scored / "fixed.parquet")
    again = invoke("quarantine", "retry", run, "--input", scored / "fixed.parquet")
    assert first.exit_code == 0, first.output
    assert "Brought home 15 of 15 rows with adult version 1" in first.stdout
    assert "brought home before; nothing was written now" in again.stdout
    assert pq.read_table(run).num_rows == before + 15

    found = json.loads(invoke("quarantine", "show", run, "--column", "age", "--format", "json").stdout)
    assert (found["rows"], found["rows_home"], len(found["lines"])) == (5, 15, 5)
    lines = invoke("quarantine", "show", run, "--format", "csv", "--all", "--limit", "0", "--rule", "(age").stdout
    table = csv.read_csv(pa.BufferReader(lines.encode()))
    assert table.num_rows == 20
    assert sorted(pc.value_counts(table["state"]).to_pylist(), key=lambda one: one["values"]) == [
        {"values": "home", "counts": 15},
        {"values": "refused", "counts": 5},
    ]

    measured = invoke("labels", run, "--labels", scored / "labels.parquet", "--column", "label", "--json")
    assert measured.exit_code == 0, measured.output
    answer = json.loads(measured.stdout)
    assert (answer["rows"], answer["labelled"]) == (before + 15, before + 15)
    assert 0.8 < answer["metrics"]["auc"] < 1
    assert 0.85 < answer["metrics"]["set_coverage"] < 0.95
    said = invoke("labels", run, "--labels", scored / "labels.parquet", "--column", "label").stdout
    assert "scored rows have an outcome (100.0%)" in said
    assert "set_coverage" in said


def test_freshness_ends_with_one_when_stale(scored: Path) -> None:
    """0 while the input is as it was, 1 when a file came in, 0 and `unknown` when it is gone."""
    run, data = scored / "run", scored / "input"
    fresh = invoke("freshness", run, "--max-age", "1d")
    pq.write_table(pq.read_table(data / "day.parquet"), data / "more.parquet", compression="zstd")
    stale = invoke("freshness", run, "--json")
    moved = data.rename(scored / "moved")
    gone = invoke("freshness", run, "--max-age", "1d")
    found = invoke("freshness", run, "--input", moved)
    moved.rename(data)
    (data / "more.parquet").unlink()

    assert (fresh.exit_code, stale.exit_code, gone.exit_code, found.exit_code) == (0, 1, 0, 1), fresh.output
    assert fresh.stdout.startswith("fresh: ")
    assert json.loads(stale.stdout)["new"] == ["more.parquet"]
    assert gone.stdout.startswith("unknown: The input cannot be looked at")


def test_errors_are_one_message(scored: Path) -> None:
    """A stranger's key, a wrong age, an unknown column: exit code 1, the code and what to do."""
    table = pq.read_table(scored / "input" / "day.parquet").slice(100, 1)
    pq.write_table(table, scored / "strangers.parquet")
    stranger = invoke("quarantine", "retry", scored / "run", "--input", scored / "strangers.parquet")
    age = invoke("freshness", scored / "run", "--max-age", "soon")
    column = invoke("labels", scored / "run", "--labels", scored / "labels.parquet", "--column", "lable")

    assert [one.exit_code for one in (stranger, age, column)] == [1, 1, 1]
    assert "not in the quarantine of run" in stranger.stderr
    assert "such as 26h" in age.stderr
    assert "Did you mean 'label'?" in column.stderr
