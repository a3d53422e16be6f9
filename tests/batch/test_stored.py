"""A committed run beside its input: the rows in order, with the scores that are on disk."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.batch.read import open_run
from twinscore.batch.spec_parts import JoinSpec, QuarantineLimit
from twinscore.batch.stored import stored_scores
from twinscore.bundle.files import Bundle
from twinscore.errors import FileUnreadable, InputEmpty, StoreConflict
from twinscore.scoring.table import check_and_score

from .conftest import Run, change, make_input, write_rows


def test_rows_and_scores_are_those_of_the_run(run: Run, data: Path, bundle: Bundle) -> None:
    """Refused rows stay among the rows, those with a repeated key are left out, and the scores are the core's."""
    for number in (0, 1):
        table = change(make_input(seed=number), "row_id", {9: "twice"})
        write_rows(data / f"day-{number}.parquet", change(table, "age", {5: -1}))
    opened = open_run(run(shard_rows=500).folder)

    found = stored_scores(opened, bundle, 1_500)
    table = pa.concat_tables([pq.read_table(data / f"day-{number}.parquet") for number in (0, 1)]).slice(0, 1_500)
    asked = bundle.checker.conform(table.filter(pa.array([row not in {9, 1_009} for row in range(1_500)])))
    verdict, scores = check_and_score(asked, bundle)

    assert asked.to_pydict() == found.table.to_pydict()
    assert (2, verdict.accepted.nonzero()[0].tolist()) == (found.n_by_key, list(found.accepted))
    assert scores.to_pydict() == found.scores.to_pydict()
    assert 1_496 == found.scores.num_rows


def test_every_way_to_take_rows_in_is_repeated(run: Run, data: Path, bundle: Bundle, tmp_path: Path) -> None:
    """Renamed columns, a filter, a side table and a file that was set aside: the run is read as it was."""
    for number in range(3):
        table = make_input(seed=number)
        side = table.select(["row_id", "debt"]).rename_columns(["row_id", "owed"])
        pq.write_table(side, tmp_path / f"side-{number}.parquet")
        names = ["years" if name == "age" else name for name in table.drop_columns(["debt"]).column_names]
        write_rows(data / f"day-{number}.parquet", table.drop_columns(["debt"]).rename_columns(names))
    (data / "day-2.parquet").write_bytes(b"")
    tables = [
        pq.read_table(tmp_path / f"side-{number}.parquet").rename_columns(["row_id", "debt"]) for number in (0, 1)
    ]
    (tmp_path / "side").mkdir()
    pq.write_table(pa.concat_tables(tables), tmp_path / "side/all.parquet")
    report = run(
        columns={"age": "years"}, filter=[["age", ">", 30]], quarantine=QuarantineLimit(files=True),
        join=(JoinSpec(path=str(tmp_path / "side"), on="row_id", columns=("debt",)),),
    )  # fmt: skip

    found = stored_scores(open_run(report.folder), bundle, 10_000)

    assert (report.rows_in, report.rows_in) == (found.table.num_rows, found.scores.num_rows)
    assert check_and_score(found.table, bundle)[1].to_pydict() == found.scores.to_pydict()


def test_an_input_that_moved_or_changed(run: Run, data: Path, bundle: Bundle, tmp_path: Path) -> None:
    """The same files elsewhere are the same input; other files are not, and neither is a run that was touched."""
    opened = open_run(run().folder)
    moved = data.rename(tmp_path / "moved")
    with pytest.raises(FileUnreadable, match="does not exist"):
        stored_scores(opened, bundle, 10)
    assert 10 == stored_scores(opened, bundle, 10, source=str(moved)).table.num_rows
    write_rows(moved / "day-1.parquet", make_input(seed=9))
    with pytest.raises(StoreConflict, match="is no longer what the run read"):
        stored_scores(opened, bundle, 10, source=str(moved))
    part = opened.folder / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1])

    with pytest.raises(FileUnreadable, match="is not as it was committed"):
        stored_scores(opened, bundle, 10, source=str(moved))


def test_a_run_without_a_row_has_nothing_to_compare(run: Run, bundle: Bundle) -> None:
    """An empty run is told apart from one that agrees."""
    report = run(filter=[["age", ">", 1_000]], empty="commit")

    with pytest.raises(InputEmpty, match="has no scores to compare"):
        stored_scores(open_run(report.folder), bundle, 10)
