"""The command `score`: options over a spec file over defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from twinscore.batch import run as batch_run
from twinscore.batch.spec import ScoreSpec
from twinscore.cli.main import app
from twinscore.errors import TwinscoreError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> Any:
    """Run the command up to the point where Ray would start, and return the spec that it made."""
    del home
    monkeypatch.chdir(tmp_path)
    specs: list[ScoreSpec] = []

    def stop(settings: object, spec: ScoreSpec, **_: object) -> None:
        specs.append(spec)
        message = "stopped"
        raise TwinscoreError(message)

    monkeypatch.setattr(batch_run, "run_batch", stop)
    monkeypatch.setattr("twinscore.stack.connect", lambda *_: __import__("contextlib").nullcontext())

    def ask(*words: str) -> ScoreSpec:
        result = CliRunner().invoke(app, ["score", *words])
        assert specs, result.output
        return specs.pop()

    return ask


def test_paths_of_options_lie_where_the_person_is(asked: Any, tmp_path: Path) -> None:
    """Options alone make a spec; a URI stays as it is, and several inputs are a list."""
    spec = asked("--model", "m", "--input", "a", "--input", "s3://b/c", "--output", "out", "--key", "id")

    assert (str(tmp_path / "a"), "s3://b/c") == spec.inputs
    assert (str(tmp_path / "out"), ("id",)) == (spec.output, spec.key)


def test_options_win_over_the_spec_and_set_over_both(asked: Any, tmp_path: Path) -> None:
    """What the file says and no option changes stays, paths of the lake included."""
    (tmp_path / "s.yaml").write_text(
        "model: m\ninput: data\noutput: out\nquarantine: {share: 0.3, count: 5}\nempty: commit\ncolumns: {a: x}\n"
    )

    spec = asked(
        *("--spec", "s.yaml", "--output", "here", "--max-quarantine-count", "7", "--shard-rows", "100", "--restart"),
        *("--column", "b=y", "--filter", "[country, in, [DE, NO]]", "--filter", "[age, '>', 3]"),
        *("--set", "shard_rows=200", "--set", "explain.rows=all"),
    )

    assert ("data", str(tmp_path / "here")) == (spec.input, spec.output)
    assert (0.3, 7, 200, "commit", True) == (
        spec.quarantine.share, spec.quarantine.count, spec.shard_rows, spec.empty, spec.restart,
    )  # fmt: skip
    assert ({"a": "x", "b": "y"}, "all") == (spec.columns, spec.explain.rows)
    assert str(spec.filter) == "country in ['DE', 'NO'] and age > 3"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "model=m"], "The command lacks input, output"),
        (["--set", "modle=m"], "unknown key 'modle'. Did you mean 'model'"),
        (["--model", "m", "--input", "a", "--output", "o", "--empty", "maybe"], "must be one of fail, commit"),
        (["--model", "m", "--input", "a", "--output", "o", "--filter", "[a, '~', 1]"], "the operator '~'"),
        (["--model", "m", "--input", "a", "--output", "s3://b/o"], "is in an object store"),
        (["--spec", "none.yaml"], "The spec none.yaml does not exist"),
    ],
)
def test_a_mistake_is_one_message(words: list[str], said: str) -> None:
    """What is wrong is said with the name of the key, and the exit code is 1."""
    result = CliRunner().invoke(app, ["score", *words])

    assert result.exit_code == 1
    assert said in result.stderr
