"""Runs over a part of the input: filters, joins, folders and inputs without a row, from spec to committed run."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.batch.read import open_run
from twinscore.batch.spec import QuarantineLimit
from twinscore.batch.spec_parts import JoinSpec
from twinscore.errors import InputEmpty

from .conftest import Run, change, make_input, write_rows


def test_filtered_rows_are_counted_and_the_rest_scored(run: Run, data: Path, tmp_path: Path) -> None:
    """Rows of the input are those taken and those filtered; the scores are those of the whole run."""
    whole = run()
    table = pa.concat_tables([pq.read_table(path) for path in sorted(data.iterdir())])
    ids = {row["row_id"] for row in table.to_pylist() if row["age"] is not None and row["age"] < 40}

    part = run(output=str(tmp_path / "part"), filter=[["age", "<", 40]])
    scores = {row["row_id"]: row["score"] for row in open_run(tmp_path / "part").predictions().to_pylist()}
    before = {row["row_id"]: row["score"] for row in open_run(tmp_path / "out").predictions().to_pylist()}

    assert part.rows_in == part.rows_scored + part.rows_quarantined == len(ids)
    assert part.manifest["rows_filtered"] + part.rows_in == 3_000
    assert part.manifest["input"]["filter"] == [[["age", "<", 40]]]
    assert {key: before[key] for key in scores} == scores
    assert whole.run_id != part.run_id


def test_quarantine_has_the_row_of_the_file(run: Run, data: Path, tmp_path: Path) -> None:
    """Under a filter a refused row keeps its number in its file, and so does a repeated key."""
    table = change(make_input(seed=1), "age", {700: -1, 701: -1})
    table = change(table, "row_id", {900: table["row_id"][10].as_py()})
    write_rows(data / "day-1.parquet", change(table, "income", dict.fromkeys([10, 700, 701, 900], 77_777.0)))
    write_rows(data / "day-2.parquet", change(make_input(seed=2), "income", {5: 77_777.0}))

    run(filter=[["income", "=", 77_777]], quarantine=QuarantineLimit(share=1))
    lines = open_run(tmp_path / "out").quarantine().to_pylist()

    assert {(line["file"], line["row"]) for line in lines} == {("day-1.parquet", row) for row in (10, 700, 701, 900)}


def test_folders_and_side_tables_score_as_the_plain_rows(run: Run, data: Path, tmp_path: Path) -> None:
    """Columns that come from folders and from a side table give the scores that the file's own would."""
    run()
    cut = tmp_path / "cut"
    tables = []
    for path in sorted(data.iterdir()):
        table = pq.read_table(path)
        tables.append(table.select(["row_id", "debt"]))
        table = table.drop_columns(["debt"])
        cities = table["city"].to_pylist()
        for city in dict.fromkeys(cities):
            name = "__HIVE_DEFAULT_PARTITION__" if city is None else city
            (cut / f"city={name}").mkdir(parents=True, exist_ok=True)
            some = table.filter(pa.array([one == city for one in cities])).drop_columns(["city"])
            write_rows(cut / f"city={name}" / path.name, some)
    pq.write_table(pa.concat_tables(tables), tmp_path / "side.parquet")
    join = JoinSpec(path=str(tmp_path / "side.parquet"), on="row_id", columns=("debt",))

    run(input=str(cut), output=str(tmp_path / "joined"), join=(join,))
    columns = ["row_id", "score", "decision"]
    before, after = (open_run(tmp_path / name).predictions(columns).sort_by("row_id") for name in ("out", "joined"))

    assert before == after


@pytest.mark.parametrize("how", ["filter", "statistics", "folder"])
def test_input_without_a_row(run: Run, data: Path, tmp_path: Path, how: str) -> None:
    """An empty input is an error by default, and with `empty: commit` a run that says EMPTY and can be read."""
    asked = {"filter": [["age", "=", 33], ["age", "!=", 33]], "statistics": [["age", ">", 10**6]], "folder": None}[how]
    if how == "folder":
        for path in data.iterdir():
            path.unlink()
    with pytest.raises(InputEmpty):
        run(filter=asked)
    assert not (tmp_path / "out").exists()

    report = run(filter=asked, empty="commit")
    manifest = report.manifest

    assert ("EMPTY", 0, 0, 0) == (manifest["verdict"], report.rows_in, report.rows_scored, report.rows_quarantined)
    assert manifest["rows_filtered"] == (0 if how == "folder" else 3_000)
    assert open_run(tmp_path / "out").predictions().num_rows == pq.read_table(tmp_path / "out").num_rows == 0
    assert run(filter=asked, empty="commit").already_committed
