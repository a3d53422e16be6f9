"""Commands of the cache: build from a run, list, and features from a table."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from twinscore.batch.run import run_version
from twinscore.batch.spec import ScoreSpec
from twinscore.cli.main import app
from twinscore.settings import load_settings
from twinscore.training.train import train
from twinscore.wiring import load_version

from .test_after_a_run import _here


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "250"})


@pytest.fixture
def run(home: Path, tmp_path: Path, adult_train: Path, adult_test: Path) -> Path:
    """A run of 1,000 rows of `adult`."""
    settings = load_settings(home=home, num_cpus=2)
    train(settings, model="adult", data=adult_train, label="label", key="row_id", params={"num_boost_round": 5})
    pq.write_table(pq.read_table(adult_test).slice(0, 1_000), tmp_path / "input.parquet")
    version, bundle = load_version(settings, "adult")
    spec = ScoreSpec(model="adult", input=str(tmp_path / "input.parquet"), output=str(tmp_path / "run"))
    return run_version(settings, spec, version, bundle, workers=_here).folder


def test_a_run_is_built_and_listed(run: Path, home: Path) -> None:
    """The file lies in the lake, under the model's bundle, and says which run it is."""
    none = invoke("cache", "list", "--model", "adult")
    built = invoke("cache", "build", "--run", run)
    shown = invoke("cache", "list", "--model", "adult")
    (line,) = json.loads(invoke("cache", "list", "--model", "adult", "--json").stdout)

    assert [0, 0, 0] == [none.exit_code, built.exit_code, shown.exit_code]
    assert "There is no file of scores of adult." in none.stdout
    assert f"run {line['run_id']}" in built.stdout
    assert f"version 1  run {line['run_id']}" in shown.stdout
    assert Path(line["path"]) == home / "lake" / "cache" / "adult" / line["bundle_digest"] / f"{line['run_id']}.arrow"


def test_features_are_built_from_a_table_in_the_lake(run: Path, home: Path, adult_test: Path) -> None:
    """By the key of the contract of the version that is named."""
    del run
    pq.write_table(pq.read_table(adult_test, columns=["row_id", "age"]).slice(0, 2), home / "lake" / "ages.parquet")

    built = invoke("cache", "features", "--model", "adult", "--table", "ages.parquet", "--column", "age")

    assert (0, True) == (built.exit_code, "Built features from 2 rows" in built.stdout)
    assert 1 == len([*(home / "lake" / "cache" / "adult" / "features").glob("*.arrow")])


def test_a_folder_without_a_run_is_refused(home: Path, tmp_path: Path) -> None:
    """One message, no traceback."""
    del home
    refused = invoke("cache", "build", "--run", tmp_path / "nothing")

    assert (1, True) == (refused.exit_code, "There is no run at" in refused.stderr)
