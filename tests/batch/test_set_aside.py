"""Files that cannot be scored, with `quarantine.files`: named and counted, none of their rows visible, none lost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.batch.drive import Pool
from twinscore.batch.freshness import check_freshness
from twinscore.batch.progress import Reporter
from twinscore.batch.quarantined import look
from twinscore.batch.read import open_run
from twinscore.batch.report_files import REPORT_PAGE, read_report
from twinscore.batch.run import run_version
from twinscore.batch.spec import ScoreSpec
from twinscore.batch.spec_parts import QuarantineLimit
from twinscore.bundle.files import Bundle
from twinscore.errors import FileUnreadable, PredictFailed, RunRefused, SchemaMismatch, StoreConflict
from twinscore.settings import Settings

from .conftest import Run, change, everything_below, make_input, model_version, workers_here, write_rows
from .stores import bucket, put, s3_server

__all__ = ["bucket", "s3_server"]

ASIDE = QuarantineLimit(files=True)


def spoil(path: Path, group: int) -> None:
    """Overwrite a row group's first column; the footer stays whole."""
    chunk = pq.read_metadata(path).row_group(group).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(bytes(content))


def as_text(path: Path) -> None:
    table = pq.read_table(path)
    write_rows(path, table.set_column(table.column_names.index("age"), "age", table["age"].cast(pa.string())))


def too_large(path: Path) -> None:
    """Whole numbers, which pass the footer's check and of which one is no float."""
    table = pq.read_table(path)
    numbers = pa.array([1] * 999 + [2**60 + 1])
    write_rows(path, table.set_column(table.column_names.index("debt"), "debt", numbers))


def too_far(path: Path) -> None:
    """A time of the contract's own type, in the year 11103."""
    table = pq.read_table(path)
    place = table.column_names.index("opened_at")
    times = pa.array([0] * 999 + [2**58]).cast(table.schema.field(place).type)
    write_rows(path, table.set_column(place, "opened_at", times))


SPOILS = {
    "zero bytes": (lambda path: path.write_bytes(b""), None, "is empty (0 bytes)"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-9]), None, "does not end with a Parquet footer"),
    "no Parquet": (lambda path: path.write_text("loan_id,amount\n" * 9), None, "it does not begin with PAR1"),
    "lacks a column": (
        lambda path: write_rows(path, pq.read_table(path).drop_columns(["debt"])), 1_000,
        "column 'debt' (float64) is missing.",
    ),
    "other type": (as_text, 1_000, "column 'age' is string, the contract wants int64."),
    "page": (lambda path: spoil(path, 1), 1_000, "is corrupt in row groups 0 to 2, after row"),
    "value": (too_large, 1_000, "column 'debt' is int64, the contract wants float64; not castable without loss"),
    "time": (too_far, 1_000, "column 'opened_at' has a value out of range; expected a time within the years 1 to 9999"),
}  # fmt: skip


def keys_in(folder: Path) -> list[str]:
    return sorted(pq.read_table(folder, columns=["row_id"])["row_id"].to_pylist())


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("spoilt", list(SPOILS))
def test_a_bad_file_is_set_aside_whole(run: Run, data: Path, tmp_path: Path, spoilt: str, number: int) -> None:
    """Whatever is wrong, and wherever it is found: the other files are scored, this one is named, and stays."""
    do, rows, said = SPOILS[spoilt]
    path = data / f"day-{number}.parquet"
    do(path)
    before = path.read_bytes()
    with pytest.raises((FileUnreadable, SchemaMismatch)):
        run(shard_rows=500)
    assert {"data", "home"} >= {entry.name for entry in tmp_path.iterdir()}

    report = run(quarantine=ASIDE, shard_rows=500)
    again = run(quarantine=ASIDE, shard_rows=500)
    (aside,) = report.manifest["input"]["set_aside"]
    open_run(report.folder).verify()

    assert (2_000, 2_000, 0, 1) == (
        report.rows_in, report.rows_scored, report.rows_quarantined, report.files_quarantined
    )  # fmt: skip
    assert sorted(f"r{day}-{row}" for day in {0, 1, 2} - {number} for row in range(1_000)) == keys_in(report.folder)
    assert (path.name, str(path), len(before), rows) == tuple(aside[name] for name in ("name", "path", "bytes", "rows"))
    assert said in aside["reason"]
    assert "Nothing became visible" not in aside["reason"]
    assert before == path.read_bytes()
    assert (report.run_id, True) == (again.run_id, again.already_committed)
    assert {"data", "home", "out"} == {entry.name for entry in tmp_path.iterdir()}


def test_several_at_once_are_found_in_one_more_look(run: Run, data: Path) -> None:
    """Two broken pages and an empty file among five: one new beginning, rows of the other two."""
    for number in (3, 4):
        write_rows(data / f"day-{number}.parquet", change(make_input(seed=number), "age", {7: -1}))
    (data / "day-0.parquet").write_bytes(b"")
    spoil(data / "day-1.parquet", 2)
    spoil(data / "day-2.parquet", 0)

    report = run(quarantine=ASIDE)

    assert ["day-0.parquet", "day-1.parquet", "day-2.parquet"] == [
        one["name"] for one in report.manifest["input"]["set_aside"]
    ]
    assert (2_000, 1_998, 2) == (report.rows_in, report.rows_scored, report.rows_quarantined)


def test_limit_of_files(run: Run, data: Path, tmp_path: Path) -> None:
    """One more than allowed, or all, ends the run with names and reasons; nothing is left."""
    (data / "day-0.parquet").write_bytes(b"")
    as_text(data / "day-1.parquet")
    with pytest.raises(RunRefused) as caught:
        run(quarantine=QuarantineLimit(files=True, max_files=1))
    assert "2 of 3 files of" in caught.value.message
    assert "the limit is 1. day-0.parquet: The file" in caught.value.message
    assert "day-1.parquet: column 'age' is string" in caught.value.message
    assert ["day-0.parquet", "day-1.parquet"] == caught.value.fields["files"]

    spoil(data / "day-2.parquet", 0)
    with pytest.raises(RunRefused, match=r"3 of 3 files of .* nothing is left to score"):
        run(quarantine=QuarantineLimit(files=True, max_files=None))
    for path in data.iterdir():
        path.write_bytes(b"")
    with pytest.raises(RunRefused, match=r"3 of 3 files of .* cannot be scored"):
        run(quarantine=ASIDE, empty="commit")

    assert {"data", "home"} >= {entry.name for entry in tmp_path.iterdir()}


def test_key_outside_the_contract_comes_from_a_file_that_has_it(run: Run, data: Path) -> None:
    """The first file may be any of the bad ones: the type of a key is asked of the first that has it."""
    for number in range(3):
        path = data / f"day-{number}.parquet"
        table = pq.read_table(path)
        numbers = pa.array(range(number * 1_000, number * 1_000 + 1_000))
        write_rows(path, table.append_column("number", numbers) if number else table)

    report = run(quarantine=ASIDE, key=("number",))

    assert (2_000, 1) == (report.rows_scored, report.files_quarantined)
    assert "column 'number' (int64) is missing" in report.manifest["input"]["set_aside"][0]["reason"]


def test_a_mended_file_makes_another_run(run: Run, data: Path, tmp_path: Path) -> None:
    """The run without the file and the run with it have two ids; the first one stays as it is."""
    good = (data / "day-1.parquet").read_bytes()
    spoil(data / "day-1.parquet", 1)
    without = run(quarantine=ASIDE)
    (data / "day-1.parquet").write_bytes(good)

    again = run(quarantine=ASIDE)  # the footer never changed, so only another look at the pages would tell
    with pytest.raises(StoreConflict, match="holds run"):
        run()
    whole = run(quarantine=ASIDE, output=str(tmp_path / "whole"))

    assert (without.run_id, True) == (again.run_id, again.already_committed)
    assert whole.run_id != without.run_id
    assert (3_000, 0) == (whole.rows_scored, whole.files_quarantined)


def test_an_interrupted_run_goes_on_without_the_file(
    settings: Settings, bundle: Bundle, data: Path, tmp_path: Path
) -> None:
    """What was set aside is part of the run: the next call keeps its shards, and does not find out anew."""
    spoil(data / "day-2.parquet", 2)
    spec = ScoreSpec(model="demo", input=str(data), output=str(tmp_path / "out"), quarantine=ASIDE, shard_rows=400)
    begun: list[int] = []
    steps: list[str] = []

    @contextlib.contextmanager
    def dying(settings: Settings) -> Iterator[Pool]:
        with workers_here(settings) as score:

            def some(*given: object) -> Iterator[object]:
                begun.append(1)
                for done, result in enumerate(score(*given)):  # type: ignore[arg-type]
                    if len(begun) == 2 and done == 3:
                        message = "the machine went away"
                        raise PredictFailed(message)
                    yield result

            yield some  # type: ignore[misc]

    with pytest.raises(PredictFailed, match="went away"):
        run_version(settings, spec, model_version(bundle), bundle, workers=dying)
    seen = (tmp_path / "out").exists()
    tell = Reporter(lambda event: steps.append(event.detail))
    report = run_version(settings, spec, model_version(bundle), bundle, workers=workers_here, reporter=tell)

    assert not seen
    assert (2_000, 1) == (report.rows_scored, report.files_quarantined)
    assert 1_400 == report.manifest["rows_kept"]
    assert [] == [detail for detail in steps if "begins again" in detail]


def test_a_file_that_vanishes_is_no_bad_file(settings: Settings, bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """What somebody deletes meanwhile could not be named later: the run ends."""
    spec = ScoreSpec(model="demo", input=str(data), output=str(tmp_path / "out"), quarantine=ASIDE)

    @contextlib.contextmanager
    def deleting(settings: Settings) -> Iterator[Pool]:
        (data / "day-1.parquet").unlink()
        with workers_here(settings) as score:
            yield score

    with pytest.raises(FileUnreadable, match=r"day-1.parquet cannot be read: No such file"):
        run_version(settings, spec, model_version(bundle), bundle, workers=deleting)

    assert {"data", "home"} >= {entry.name for entry in tmp_path.iterdir()}


def test_what_people_see_of_it(run: Run, data: Path) -> None:
    """Quarantine, report and page name the file; the dataset is fresh as long as the file stays what it is."""
    (data / "day-0.parquet").write_bytes(b"")
    report = run(quarantine=ASIDE)
    opened = open_run(report.folder)
    told = read_report(report.folder, report.manifest)
    before = check_freshness(opened)
    write_rows(data / "day-0.parquet", make_input(seed=0))
    after = check_freshness(opened)

    assert ["day-0.parquet"] == [file["name"] for file in look(opened).files]
    assert ["day-0.parquet"] == [file["name"] for file in told["quarantine"]["files"]]
    assert "Files that were set aside" in (report.folder / REPORT_PAGE).read_text()
    assert "1 file was set aside" in (report.folder / REPORT_PAGE).read_text()
    assert 1 == report.summary()["files_quarantined"]
    assert ("fresh", "stale", ("day-0.parquet",)) == (before.verdict, after.verdict, after.changed)


def test_in_a_store(run: Run, data: Path, bucket: tuple[str, str]) -> None:
    """An empty object and one with a broken page are set aside as files are, by their URI."""
    (data / "day-0.parquet").write_bytes(b"")
    spoil(data / "day-1.parquet", 1)

    report = run(input=put(data, bucket, "loans"), quarantine=ASIDE)

    assert (1_000, 2) == (report.rows_scored, report.files_quarantined)
    assert [f"s3://{bucket[0]}/loans/day-{number}.parquet" for number in (0, 1)] == [
        one["path"] for one in report.manifest["input"]["set_aside"]
    ]


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
def test_found_by_a_worker(settings: Settings, bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """An actor finds the page; the pool starts anew without the file, and nothing of the first beginning is left."""
    spoil(data / "day-1.parquet", 2)
    spec = ScoreSpec(model="demo", input=str(data), output=str(tmp_path / "out"), quarantine=ASIDE, shard_rows=200)

    report = run_version(settings, spec, model_version(bundle), bundle)
    open_run(report.folder).verify()

    assert (2_000, 1) == (report.rows_scored, report.files_quarantined)
    assert [] == [name for name in everything_below(tmp_path) if name.startswith(".")]
