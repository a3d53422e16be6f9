"""Repaired rows come home: into the same dataset, by the run's own version, once."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.batch.linked import LINKED, part_name
from twinscore.batch.publish import publish_run
from twinscore.batch.read import CommittedRun, open_run
from twinscore.batch.retry import bundle_of, retry_run, retry_with
from twinscore.batch.spec import QuarantineLimit
from twinscore.batch.spec_parts import ExplainSpec
from twinscore.bundle.files import Bundle
from twinscore.errors import BundleInvalid, InputError, RunRefused, SchemaMismatch, StoreConflict
from twinscore.scoring.table import SCORE_SCHEMA, check_and_score
from twinscore.settings import Settings
from twinscore.testing.models import make_bundle
from twinscore.wiring import bundle_store, prediction_sink

from .conftest import Run, change, everything_below, make_input, write_rows

BROKEN = {3: -5, 10: 900, 500: -1, 501: -2}
"""Rows of the first day whose age is impossible."""


@pytest.fixture
def quarantined(run: Run, data: Path) -> CommittedRun:
    """A run with four rows in quarantine for their age, and two because they share a key."""
    first = change(make_input(seed=0), "age", BROKEN)
    write_rows(data / "day-0.parquet", first)
    write_rows(data / "day-1.parquet", change(make_input(seed=1), "row_id", {7: "twin", 8: "twin"}))
    return open_run(run(shard_rows=500).folder)


def repaired(path: Path, *rows: int, **changes: dict[int, object]) -> str:
    """Write those rows of the first day as they should have been."""
    table = make_input(seed=0)
    for column, values in changes.items():
        table = change(table, column, values)
    write_rows(path, table.take(pa.array(rows)))
    return str(path)


def visible(run: CommittedRun) -> set[str]:
    return {path.name for path in run.folder.glob("*.parquet")}


def test_rows_come_home_with_the_scores_of_the_core(quarantined: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """Repaired rows get the bits that the scoring core gives them, and the run's own version; the rest stays."""
    report = retry_with(quarantined, bundle, repaired(tmp_path / "fixed.parquet", 3, 10))
    made = quarantined.predictions()
    linked = made.slice(made.num_rows - 2)
    expected = check_and_score(make_input(seed=0).take(pa.array([3, 10])), bundle)[1]

    assert (report.rows_in, report.rows_scored, report.rows_quarantined) == (2, 2, 0)
    assert linked["row_id"].to_pylist() == ["r0-3", "r0-10"]
    assert linked.select(SCORE_SCHEMA.names).to_pydict() == expected.to_pydict()
    assert set(linked["run_id"].to_pylist()) == {report.run_id}
    assert set(linked["version"].to_pylist()) == {quarantined.manifest["version"]}
    assert sorted(quarantined.quarantine()["row_id"].to_pylist()) == ["r0-500", "r0-501", "twin", "twin"]
    quarantined.verify()


def test_manifest_stays_that_of_the_first_run(quarantined: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """Totals are the first run's; `linked` lists what was added, in order, each with its own count."""
    before = (quarantined.folder / "_manifest.json").read_bytes()
    one = retry_with(quarantined, bundle, repaired(tmp_path / "one.parquet", 3))
    two = retry_with(quarantined, bundle, repaired(tmp_path / "two.parquet", 10, 500, age={500: -1}))
    again = open_run(quarantined.folder)

    assert (quarantined.folder / "_manifest.json").read_bytes() == before
    assert [linked["run_id"] for linked in again.linked] == [one.run_id, two.run_id]
    assert [linked["of"] for linked in again.linked] == [quarantined.manifest["run_id"]] * 2
    for linked in again.linked:
        assert linked["rows_in"] == linked["rows_scored"] + linked["rows_quarantined"]
    assert two.rows_quarantined == 1


def test_readers_see_the_dataset_with_the_rows_that_came_home(
    quarantined: CommittedRun, bundle: Bundle, tmp_path: Path
) -> None:
    """pandas, duckdb, polars and pyarrow read the folder as before, with as many rows and the same types."""
    folder = quarantined.folder
    before = pd.read_parquet(folder)
    retry_with(quarantined, bundle, repaired(tmp_path / "fixed.parquet", 3, 10, 500, age={500: -1}))
    after = pd.read_parquet(folder)
    rows = len(before) + 2

    assert (len(after), after.dtypes.to_dict()) == (rows, before.dtypes.to_dict())
    assert pq.read_table(folder).num_rows == rows
    counted = duckdb.sql(f"select count(*), count(distinct row_id) from '{folder}/part-*.parquet'")
    assert counted is not None
    assert counted.fetchall() == [(rows, rows)]
    assert pl.scan_parquet(folder / "part-*.parquet").select(pl.len()).collect().item() == rows


def test_same_rows_again_change_nothing(quarantined: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """The same rows, from a file of another name and layout, are found to be there."""
    first = retry_with(quarantined, bundle, repaired(tmp_path / "fixed.parquet", 3, 10))
    before = everything_below(quarantined.folder)
    other = tmp_path / "again.parquet"
    pq.write_table(pq.read_table(tmp_path / "fixed.parquet"), other, row_group_size=1, compression="zstd")
    second = retry_with(quarantined, bundle, str(other))

    assert (first.already_committed, second.already_committed) == (False, True)
    assert second.run_id == first.run_id
    assert everything_below(quarantined.folder) == before


def test_row_that_came_home_is_not_taken_twice(quarantined: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """A key that is home is refused by name; one that was refused again may be repaired again."""
    retry_with(quarantined, bundle, repaired(tmp_path / "one.parquet", 3, 10, age={10: -7}))
    with pytest.raises(InputError, match="The key r0-3 of the repaired rows is brought home"):
        retry_with(quarantined, bundle, repaired(tmp_path / "two.parquet", 3, 500))
    retry_with(quarantined, bundle, repaired(tmp_path / "three.parquet", 10))

    assert sorted(quarantined.quarantine()["row_id"].to_pylist()) == ["r0-500", "r0-501", "twin", "twin"]
    assert quarantined.predictions(["row_id"])["row_id"].to_pylist()[-2:] == ["r0-3", "r0-10"]
    assert visible(quarantined) == {path.name for path in quarantined.folder.glob("*.parquet")}
    quarantined.verify()


def test_refused_again_has_the_new_reason(quarantined: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """Of a row that was refused twice, the quarantine tells the last reason; the old one is kept in its file."""
    retry_with(quarantined, bundle, repaired(tmp_path / "one.parquet", 3, age={3: 777}))
    lines = quarantined.quarantine().to_pylist()

    assert [line["value"] for line in lines if line["row_id"] == "r0-3"] == ["777"]
    assert sum(part.lines.num_rows for part in quarantined.quarantine_parts()) == len(lines) + 1


def test_rows_that_shared_a_key_come_home_as_one(quarantined: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """One row with the key settles it; two of them are refused again."""
    rows = make_input(seed=1).slice(7, 2)
    twins = change(rows, "row_id", {0: "twin", 1: "twin"})
    write_rows(tmp_path / "two.parquet", twins)
    write_rows(tmp_path / "one.parquet", twins.slice(0, 1))
    both = retry_with(quarantined, bundle, str(tmp_path / "two.parquet"))
    one = retry_with(quarantined, bundle, str(tmp_path / "one.parquet"))

    assert (both.rows_scored, both.rows_quarantined) == (0, 2)
    assert (one.rows_scored, one.rows_quarantined) == (1, 0)
    assert "twin" not in quarantined.quarantine()["row_id"].to_pylist()


def test_strangers_are_refused_by_name(quarantined: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """A key that the run never refused is named, and nothing is written."""
    with pytest.raises(InputError, match=r"r0-4; r0-5 of the repaired rows are not in the quarantine"):
        retry_with(quarantined, bundle, repaired(tmp_path / "fixed.parquet", 3, 4, 5))

    assert quarantined.linked == ()
    assert not [name for name in visible(quarantined) if name.startswith("part-r")]


def test_limit_holds(quarantined: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """With more refused again than allowed, nothing is written and the rule is named."""
    source = repaired(tmp_path / "fixed.parquet", 3, 10, age={10: -1})
    with pytest.raises(RunRefused, match=r"1 of 2 repaired rows were refused again .*age"):
        retry_with(quarantined, bundle, source, limit=QuarantineLimit(share=0.4))
    assert quarantined.linked == ()

    assert retry_with(quarantined, bundle, source, limit=QuarantineLimit(share=0.5)).rows_scored == 1


def test_other_bundle_is_refused(quarantined: CommittedRun, tmp_path: Path) -> None:
    """Rows come home with the run's own version, or not at all."""
    other = make_bundle(tmp_path / "other", seed=5)

    with pytest.raises(BundleInvalid, match="was scored with another bundle"):
        retry_with(quarantined, other, repaired(tmp_path / "fixed.parquet", 3))


def test_bundle_is_found_by_digest(
    quarantined: CommittedRun, bundle: Bundle, settings: Settings, tmp_path: Path
) -> None:
    """The bundle store answers for a version that no registry knows any more."""
    bundle_store(settings).publish(bundle.folder)

    assert bundle_of(settings, quarantined).digest == bundle.digest
    assert retry_run(settings, quarantined.folder, repaired(tmp_path / "fixed.parquet", 3)).rows_scored == 1


def test_refused_run_has_no_home(run: Run, data: Path, settings: Settings, tmp_path: Path) -> None:
    """Rows of a run that was refused as a whole cannot come home."""
    write_rows(data / "day-0.parquet", change(make_input(seed=0), "age", BROKEN))
    with pytest.raises(RunRefused) as caught:
        run(quarantine=QuarantineLimit(share=0.0))

    with pytest.raises(RunRefused, match="was refused as a whole"):
        retry_run(settings, Path(caught.value.fields["kept"]), repaired(tmp_path / "fixed.parquet", 3))


def test_key_of_another_type_is_refused(quarantined: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """A key must be what the contract says; both types are named."""
    rows = make_input(seed=0).slice(3, 1)
    write_rows(tmp_path / "fixed.parquet", rows.set_column(0, "row_id", pa.array([3])))

    with pytest.raises(SchemaMismatch, match="row_id"):
        retry_with(quarantined, bundle, str(tmp_path / "fixed.parquet"))


def test_columns_may_be_called_as_in_the_input(run: Run, data: Path, bundle: Bundle, tmp_path: Path) -> None:
    """Where the run renamed a column, repaired rows may have either name."""
    for path in data.glob("*.parquet"):
        table = pq.read_table(path).rename_columns({"age": "years"})
        write_rows(path, change(table, "years", {3: -5, 4: -5}) if path.stem == "day-0" else table)
    made = open_run(run(columns={"age": "years"}).folder)
    fixed = make_input(seed=0).slice(3, 2)
    write_rows(tmp_path / "theirs.parquet", fixed.slice(0, 1).rename_columns({"age": "years"}))
    write_rows(tmp_path / "ours.parquet", fixed.slice(1, 1))

    assert retry_with(made, bundle, str(tmp_path / "theirs.parquet")).rows_scored == 1
    assert retry_with(made, bundle, str(tmp_path / "ours.parquet")).rows_scored == 1


def test_second_retry_at_once_is_refused(quarantined: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """While another process holds the lock, a retry says who does, and works afterwards."""
    source = repaired(tmp_path / "fixed.parquet", 3)
    (quarantined.folder / LINKED).mkdir()
    with (quarantined.folder / LINKED / ".lock").open("w+") as held:
        held.write(str(os.getpid()))
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreConflict, match=f"Process {os.getpid()} retries rows"):
            retry_with(quarantined, bundle, source)

    assert retry_with(quarantined, bundle, source).rows_scored == 1


def test_leftovers_of_a_dead_retry_are_not_seen(quarantined: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """A manifest and a quarantine without their file of predictions are no run; the next retry sweeps them away."""
    report = retry_with(quarantined, bundle, repaired(tmp_path / "one.parquet", 3, 10, age={10: -1}))
    (quarantined.folder / part_name(report.run_id)).unlink()

    quarantined.verify()
    assert quarantined.linked == ()
    assert quarantined.quarantine()["value"].to_pylist().count("-1") == 1
    retry_with(quarantined, bundle, repaired(tmp_path / "two.parquet", 500))
    kept = [path.stem for path in (quarantined.folder / LINKED).glob("[!.]*.json")]
    assert kept == [manifest["run_id"] for manifest in open_run(quarantined.folder).linked]
    assert not (quarantined.folder / "_quarantine" / part_name(report.run_id)).exists()


def test_same_run_again_is_found_with_what_was_added(
    quarantined: CommittedRun, run: Run, bundle: Bundle, tmp_path: Path
) -> None:
    """Scoring the same input into the same output after a retry is still the run that is there."""
    retry_with(quarantined, bundle, repaired(tmp_path / "fixed.parquet", 3))

    assert run(shard_rows=500).already_committed


def test_damage_to_a_linked_file_is_named(quarantined: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """Files of linked runs are proved as the others are."""
    report = retry_with(quarantined, bundle, repaired(tmp_path / "fixed.parquet", 3))
    path = quarantined.folder / part_name(report.run_id)
    path.write_bytes(path.read_bytes() + b"x")

    with pytest.raises(Exception, match=part_name(report.run_id)):
        quarantined.verify()


def test_more_rows_than_a_batch_become_one_file(run: Run, data: Path, bundle: Bundle, tmp_path: Path) -> None:
    """Large repairs are read in batches, and still are one file."""
    table = make_input(70_000, seed=9)
    write_rows(data / "day-0.parquet", change(table, "age", dict.fromkeys(range(66_000), -1)), group=30_000)
    made = open_run(run(quarantine=QuarantineLimit(share=1.0)).folder)
    write_rows(tmp_path / "fixed.parquet", table.slice(0, 66_000), group=20_000)
    report = retry_with(made, bundle, str(tmp_path / "fixed.parquet"))

    assert (report.rows_in, report.rows_scored) == (66_000, 66_000)
    assert len([name for name in visible(made) if name.startswith("part-r")]) == 1
    assert made.quarantine().num_rows == 0
    assert replace(made).predictions(["row_id"]).num_rows == 72_000


def test_rows_come_home_explained_as_the_others_are(
    run: Run, data: Path, bundle: Bundle, settings: Settings, tmp_path: Path
) -> None:
    """A linked part has the columns of the first, contributions too; published again, only its rows are added."""
    write_rows(data / "day-0.parquet", change(make_input(seed=0), "age", BROKEN))
    opened = open_run(run(explain=ExplainSpec(rows="all", into="columns")).folder)
    sink = prediction_sink(settings, "sqlite:///scores.db")
    first = publish_run(opened, sink)
    retry_with(opened, bundle, repaired(tmp_path / "fixed.parquet", 3, 10))
    second, third = publish_run(opened, sink), publish_run(opened, sink)
    made = opened.predictions()
    with closing(sqlite3.connect(settings.lake / "scores.db")) as connection:
        rows = connection.execute("select count(*), count(distinct row_id) from demo").fetchone()

    assert made["contributions"].null_count == 0
    assert 2_998 == made.num_rows == len(pd.read_parquet(opened.folder))
    assert [(2_996, False), (2_998, False), (2_998, True)] == [
        (one.rows, one.already_there) for one in (first, second, third)
    ]
    assert (2_998, 2_998) == rows


def test_explanations_beside_the_rows_come_home_too(run: Run, data: Path, bundle: Bundle, tmp_path: Path) -> None:
    """Beside the predictions, a linked run has explanations of its own."""
    write_rows(data / "day-0.parquet", change(make_input(seed=0), "age", BROKEN))
    opened = open_run(run(explain=ExplainSpec(rows="all")).folder)
    report = retry_with(opened, bundle, repaired(tmp_path / "fixed.parquet", 3, 10))
    opened.verify()

    explained = pq.read_table(opened.folder / "_explanations" / part_name(report.run_id))
    assert ["r0-3", "r0-10"] == explained["row_id"].to_pylist()
