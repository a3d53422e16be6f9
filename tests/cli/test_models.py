"""The commands `train` and `adopt`, as a person types them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from twinscore.cli.main import app
from twinscore.cli.models import _derived
from twinscore.testing.models import make_rows


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file to train on, and quick parameters beside it."""
    folder = tmp_path_factory.mktemp("data")
    pq.write_table(make_rows("binary", 600), folder / "rows.parquet")
    (folder / "fast.yaml").write_text("num_boost_round: 5\n")
    return folder / "rows.parquet"


@pytest.mark.usefixtures("home")
def test_train_prints_what_it_made(data: Path) -> None:
    """The version, its contract, the rows of each part, what was decided, metrics and the next command."""
    result = CliRunner().invoke(
        app,
        [
            *("train", "--model", "small", "--data", str(data), "--label", "label", "--key", "row_id"),
            *("--group", "city", "--drop", "plan", "--derive", "ratio=debt / income"),
            *("--params", str(data.parent / "fast.yaml")),
        ],
    )

    assert result.exit_code == 0, result.output
    for expected in (
        "Registered small/1 @champion",
        "contracts/small/v1.yaml",
        "train 420, stop 60, calibrate 60, test 60",
        "The task is classification: 'label' holds text.",
        "The score is the probability of 'yes'.",
        "auc 0.",
        "city = berlin",
        "Next: twinscore score --model small/1",
    ):
        assert expected in result.output


@pytest.mark.usefixtures("home")
def test_a_mistake_is_one_message(data: Path) -> None:
    """A misspelt column ends with exit code 1 and the message, without a traceback."""
    result = CliRunner().invoke(
        app, ["train", "--model", "m", "--data", str(data), "--label", "lable", "--key", "row_id"]
    )

    assert result.exit_code == 1
    assert "Did you mean 'label'?" in result.output
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("home")
def test_adopting_what_is_not_there_says_what_to_do(data: Path) -> None:
    """An unknown model is answered with the command that makes one."""
    result = CliRunner().invoke(app, ["adopt", "models:/nobody/1", "--data", str(data), "--key", "row_id"])

    assert result.exit_code == 1
    assert "twinscore train --model nobody" in result.output


def test_derived_features_are_name_and_expression() -> None:
    """Only the first equals sign separates; a name is given once."""
    assert _derived(["a = x == y", "b=1/z"]) == {"a": "x == y", "b": "1/z"}
    for wrong in (["a"], ["=x"], ["a="], ["a=x", "a=y"]):
        with pytest.raises(typer.BadParameter, match="NAME=EXPRESSION"):
            _derived(wrong)
