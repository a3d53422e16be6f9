"""The job scripts, run as `ray job submit` runs them: parse, build, call, exit."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from twinscore.batch.read import open_run
from twinscore.batch.spec import load_document, load_score_spec
from twinscore.demo.loans import LoanBook, loan_book, write_loan_files

pytestmark = pytest.mark.cluster


def call(script: Path, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    return int(ended.value.code or 0)


def test_train_then_score(
    repository: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both jobs with the specs beside them: a version is registered, then its run is committed, then found again."""
    import pyarrow.parquet as pq

    monkeypatch.setenv("TWINSCORE_NUM_CPUS", "1")
    jobs, data = repository / "jobs", home / "lake" / "data"
    write_loan_files(data / "loans", LoanBook(rows=2_000, seed=2, first_id=50_000), files=2)
    pq.write_table(loan_book(LoanBook(rows=4_000, seed=1)), data / "loans_history.parquet")

    trained = call(
        jobs / "train_model.py",
        *("--spec", str(jobs / "specs/train_loans.yaml"), "--set", "params={num_boost_round: 20}"),
        monkeypatch=monkeypatch,
    )
    score = ("--spec", str(jobs / "specs/loans.yaml"), "--set", "output=predictions/loans/today")
    first = call(jobs / "score_batch.py", *score, monkeypatch=monkeypatch)
    again = call(jobs / "score_batch.py", *score, monkeypatch=monkeypatch)
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    done = [line for line in lines if line["event"] == "committed"]
    run = open_run(home / "lake/predictions/loans/today")
    run.verify()

    assert (0, 0, 0) == (trained, first, again)
    assert [False, True] == [line["already_committed"] for line in done]
    assert {"resolve", "snapshot", "keys", "score", "commit", "done", "registered"} <= {line["event"] for line in lines}
    assert run.manifest["rows_in"] == 2_000 == run.manifest["rows_scored"] + run.manifest["rows_quarantined"]


@pytest.mark.parametrize("script", ["score_batch.py", "train_model.py"])
def test_what_is_wrong_is_one_line_and_exit_code_1(
    repository: Path,
    home: Path,
    script: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A wrong spec ends the job with our error as JSON, without a stack trace."""
    spec = home / "spec.yaml"
    spec.write_text("modle: loans\n")

    code = call(repository / "jobs" / script, "--spec", str(spec), monkeypatch=monkeypatch)
    (line,) = capfd.readouterr().err.splitlines()

    assert code == 1
    assert json.loads(line)["code"] == "settings_invalid"
    assert "Did you mean 'model'?" in json.loads(line)["message"]


def test_specs_beside_the_jobs_are_readable(repository: Path) -> None:
    """Every spec that is shipped can be used as it is."""
    specs = repository / "jobs" / "specs"

    assert load_score_spec(specs / "loans.yaml").input == "data/loans"
    assert load_document(specs / "train_loans.yaml")["label"] == "default"
