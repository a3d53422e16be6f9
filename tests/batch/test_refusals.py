"""Runs that must not become visible: what is said, and that nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.batch.spec import QuarantineLimit
from twinscore.bundle.files import Bundle
from twinscore.contract.model import Expectation
from twinscore.errors import (
    FileUnreadable,
    InputEmpty,
    RunRefused,
    SchemaMismatch,
    SettingsInvalid,
    StoreConflict,
    StoreUnavailable,
)

from .conftest import Run, change, everything_below, make_input, with_expectations, write_rows


@pytest.fixture(autouse=True)
def nothing_else_is_left(tmp_path: Path) -> Iterator[None]:
    """After every refusal only the input, the home and what the test itself made are there: no staging, no lock."""
    yield
    assert [] == [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def spoil(path: Path, group: int) -> None:
    """Overwrite bytes in the middle of a row group's first column; the footer stays whole."""
    chunk = pq.read_metadata(path).row_group(group).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(bytes(content))


def test_too_many_refused_rows(run: Run, data: Path, tmp_path: Path) -> None:
    """The message has the counts by rule; the quarantine is kept beside the output, the predictions are not."""
    path = data / "day-0.parquet"
    write_rows(path, change(pq.read_table(path), "age", dict.fromkeys(range(400), -1)))

    with pytest.raises(RunRefused) as caught:
        run()

    kept = Path(caught.value.fields["kept"])
    assert "400 of 3,000 rows were refused (expect_column_values_to_be_between(age): 400 rows)" in caught.value.message
    assert not (tmp_path / "out").exists()
    assert everything_below(kept) == {
        "_manifest.json",
        "_quarantine",
        "_quarantine/part-00000.parquet",
        "_report.html",
        "_report.json",
    }
    assert pq.read_table(kept / "_quarantine/part-00000.parquet").num_rows == 400


def test_limit_may_be_raised_or_be_a_count(run: Run, data: Path) -> None:
    """The same input passes a wider share, and fails a narrower count."""
    path = data / "day-0.parquet"
    write_rows(path, change(pq.read_table(path), "age", dict.fromkeys(range(400), -1)))

    with pytest.raises(RunRefused, match="and 399 rows"):
        run(quarantine=QuarantineLimit(share=1, count=399))

    assert run(quarantine=QuarantineLimit(share=0.2)).rows_quarantined == 400


def test_failed_run_level_rule(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    """A critical rule about the whole table refuses the run; a warning is only recorded."""
    kwargs = {"column": "age", "min_value": 1_000}
    critical = with_expectations(bundle, tmp_path / "b1", Expectation("expect_column_mean_to_be_between", kwargs))
    warning = Expectation("expect_column_mean_to_be_between", kwargs, "warning")

    with pytest.raises(RunRefused, match=r"expect_column_mean_to_be_between\(age\) wants .* and found"):
        run(using=critical)

    answers = run(using=with_expectations(bundle, tmp_path / "b2", warning)).manifest["run_results"]
    assert [("warning", False)] == [(one["severity"], one["success"]) for one in answers if "mean" in one["rule"]]


def test_schema_of_a_later_file(run: Run, data: Path, tmp_path: Path) -> None:
    """A column that is gone or of another type in one file stops the run before a row is scored."""
    table = make_input()
    age = table.column_names.index("age")
    write_rows(data / "day-1.parquet", table.set_column(age, "age", table["age"].cast(pa.string())))
    write_rows(data / "day-2.parquet", table.drop_columns(["debt"]))

    with pytest.raises(SchemaMismatch) as caught:
        run()

    assert "day-1.parquet: column 'age' is string, the contract wants int64." in caught.value.message
    assert "day-2.parquet: column 'debt' (float64) is missing." in caught.value.message
    assert not (tmp_path / "out").exists()


def test_value_that_does_not_survive_the_cast(run: Run, data: Path, tmp_path: Path) -> None:
    """A whole number too large for a float column is a fault of the file, found where it is read."""
    table = make_input()
    debt = table.column_names.index("debt")
    write_rows(data / "day-2.parquet", table.set_column(debt, "debt", pa.array([2**60 + 1] * 1_000)))

    with pytest.raises(SchemaMismatch, match=r"day-2.parquet does not fit .*'debt' is int64"):
        run()

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("column", [0, 3])
def test_corrupt_page(run: Run, data: Path, tmp_path: Path, column: int) -> None:
    """A file that breaks in the middle is named with its row groups; nothing becomes visible."""
    spoil(data / "day-1.parquet", group=1) if column == 0 else _cut_middle(data / "day-1.parquet", column)

    with pytest.raises(FileUnreadable) as caught:
        run(shard_rows=500)

    assert "day-1.parquet is corrupt in row groups" in caught.value.message
    assert not (tmp_path / "out").exists()


def _cut_middle(path: Path, column: int) -> None:
    chunk = pq.read_metadata(path).row_group(0).column(column)
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset : chunk.data_page_offset + 20] = bytes(20)
    path.write_bytes(bytes(content))


def test_zero_byte_file_and_empty_folder(run: Run, data: Path) -> None:
    """A file without a byte is unreadable, a folder without a file is empty."""
    (data / "day-1.parquet").write_bytes(b"")
    with pytest.raises(FileUnreadable, match=r"day-1.parquet is empty \(0 bytes\)"):
        run()
    for path in data.iterdir():
        path.unlink()
    with pytest.raises(InputEmpty, match="no Parquet file"):
        run()


def test_another_run_holds_the_output(run: Run, tmp_path: Path) -> None:
    """Another version over the same output is refused by the name of the run that is there, which stays."""
    first = run()
    before = everything_below(tmp_path / "out")

    with pytest.raises(StoreConflict) as caught:
        run(version="2")

    assert f"holds run {first.run_id} of demo/1" in caught.value.message
    assert before == everything_below(tmp_path / "out")


def test_other_files_hold_the_output(run: Run, tmp_path: Path) -> None:
    """A folder of something else is never written into; an empty one is taken."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")

    with pytest.raises(StoreConflict, match=r"holds thesis.tex and is no run"):
        run()

    (tmp_path / "out" / "thesis.tex").unlink()
    assert run().rows_scored == 3_000


def test_damaged_run_is_not_called_committed(run: Run, tmp_path: Path) -> None:
    """A second call looks whether the files of the first are all there."""
    run()
    (tmp_path / "out" / "part-00000.parquet").unlink()

    with pytest.raises(FileUnreadable, match=r"part-00000.parquet is missing"):
        run()


def test_output_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    """A place that is no folder is named before anything is scored."""
    (tmp_path / "file").write_text("x")

    with pytest.raises(StoreUnavailable, match="cannot be written"):
        run(output=str(tmp_path / "file" / "out"))


def test_output_inside_the_input(run: Run, data: Path) -> None:
    """Predictions among the input would be the next run's input."""
    with pytest.raises(SettingsInvalid, match="lies in the input"):
        run(output=str(data / "predictions"))


def test_unknown_key_column(run: Run) -> None:
    """A key that no file has is answered with the columns that are near."""
    with pytest.raises(SchemaMismatch, match=r"'row_idd' is missing.*Did you mean 'row_id'"):
        run(key=("row_idd",))


def test_leftover_of_a_crash_is_cleared_and_others_are_left(run: Run, tmp_path: Path) -> None:
    """A staging folder of the same run is begun again; one of another run is somebody else's."""
    run_id = run().run_id
    (tmp_path / "out").rename(tmp_path / "kept")
    same, other = tmp_path / f".out.{run_id}", tmp_path / ".out.0123456789abcdef"
    for folder in (same, other):
        folder.mkdir()
        (folder / "part-99999.parquet").write_text("left by a crash")

    report = run()

    assert (tmp_path / "kept" / "part-00000.parquet").exists()
    assert not (report.folder / "part-99999.parquet").exists()
    assert not same.exists()
    assert (other / "part-99999.parquet").exists()
    (other / "part-99999.parquet").unlink()
    other.rmdir()
