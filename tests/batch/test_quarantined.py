"""Looking into a quarantine: counts by rule first, then lines; what came home is marked."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from twinscore.batch.quarantined import look, quarantine_lines, refused_or_committed
from twinscore.batch.read import CommittedRun, open_run
from twinscore.batch.retry import retry_with
from twinscore.batch.spec import QuarantineLimit
from twinscore.bundle.files import Bundle
from twinscore.errors import FileUnreadable, RunRefused, SettingsInvalid

from .conftest import Run, change, make_input, write_rows


@pytest.fixture
def made(run: Run, data: Path) -> CommittedRun:
    """A run in which row 3 broke two rules, rows 4 and 5 one each."""
    table = change(make_input(seed=0), "age", {3: -5, 4: -6})
    write_rows(data / "day-0.parquet", change(table, "plan", {3: "gold", 5: "gold"}))
    return open_run(run().folder)


def shown(run: CommittedRun, **options: object) -> list[tuple[str, str, str]]:
    tables = list(quarantine_lines(run, **options))  # type: ignore[arg-type]
    return [(row["row_id"], row["column"], row["state"]) for table in tables for row in table.to_pylist()]


def test_rows_are_counted_once_per_rule(made: CommittedRun) -> None:
    """A row that broke two rules counts for both, and once among the rows; the counts are the manifest's."""
    found = look(made)

    assert (found.rows, found.rows_home) == (3, 0)
    assert found.columns == {"age": 2, "plan": 2}
    assert found.rules == made.manifest["rules"]


def test_lines_can_be_picked(made: CommittedRun) -> None:
    """By a part of the rule, by column, and no more than asked for."""
    assert {column for _, column, _ in shown(made, column="plan")} == {"plan"}
    assert {key for key, _, _ in shown(made, rule="(plan")} == {"r0-3", "r0-5"}
    assert len(shown(made, limit=1)) == 1
    assert look(made, rule="(age").rows == 2


def test_unknown_rule_and_column_are_refused(made: CommittedRun) -> None:
    """A misspelling is answered with what is near."""
    with pytest.raises(SettingsInvalid, match="Did you mean 'age'"):
        look(made, column="agee")
    with pytest.raises(SettingsInvalid, match="has the rule 'nothing'"):
        look(made, rule="nothing")


def test_what_came_home_is_left_out_or_marked(made: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """Rows at home are shown only when all are asked for; a second refusal takes the place of the first."""
    table = change(make_input(seed=0).take(pa.array([3, 4])), "age", {1: 999})
    write_rows(tmp_path / "fixed.parquet", table)
    retry_with(made, bundle, str(tmp_path / "fixed.parquet"))

    assert sorted(shown(made)) == [("r0-4", "age", "refused"), ("r0-5", "plan", "refused")]
    assert sorted(shown(made, home=True)) == [
        ("r0-3", "age", "home"),
        ("r0-3", "plan", "home"),
        ("r0-4", "age", "refused"),
        ("r0-4", "age", "refused again"),
        ("r0-5", "plan", "refused"),
    ]
    assert (look(made).rows, look(made).rows_home) == (2, 1)


def test_refused_run_can_be_looked_into(run: Run, data: Path, tmp_path: Path) -> None:
    """By its own folder, or by the output that it never became."""
    write_rows(data / "day-0.parquet", change(make_input(seed=0), "age", {3: -5}))
    with pytest.raises(RunRefused) as caught:
        run(quarantine=QuarantineLimit(share=0.0))
    by_output = refused_or_committed(tmp_path / "out")

    assert by_output.folder == Path(caught.value.fields["kept"])
    assert shown(by_output) == shown(refused_or_committed(by_output.folder)) == [("r0-3", "age", "refused")]
    with pytest.raises(FileUnreadable, match="There is no run at"):
        refused_or_committed(tmp_path / "ou")


def test_clean_run_has_nothing_to_show(run: Run) -> None:
    """No row, no line, no error."""
    clean = open_run(run().folder)

    assert (look(clean).rows, shown(clean)) == (0, [])
