"""Reading training data: what a person may hand over by mistake, and the id of what was read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.errors import FileUnreadable, InputEmpty, InputError, SchemaMismatch, TwinscoreError
from twinscore.training.data import Columns, load_data, snapshot_of

TABLE = pa.table({"id": [1, 2, 3, 4], "x": [0.5, None, 1.5, 2.0], "y": [1, None, 0, 1]})
COLUMNS = Columns(("id",), "y")


def test_rows_without_a_label_are_counted_not_lost() -> None:
    """The table keeps every row, and says which have a label."""
    data = load_data(TABLE, COLUMNS)

    assert data.table.num_rows == 4
    assert [True, False, True, True] == data.labelled.tolist()
    assert data.n_unlabelled == 1


def test_a_folder_is_read_as_one_table(tmp_path: Path) -> None:
    """Parquet files of a folder are put together in the order of their names; hidden ones are left out."""
    pq.write_table(TABLE.slice(2), tmp_path / "b.parquet")
    pq.write_table(TABLE.slice(0, 2), tmp_path / "a.parquet")
    (tmp_path / "_manifest.json").write_text("{}")

    assert TABLE.equals(load_data(tmp_path, COLUMNS).table)


def test_the_snapshot_is_the_content_not_the_name(tmp_path: Path) -> None:
    """Renamed or reordered files are the same snapshot; one other value is another."""
    for name, part in (("a", TABLE.slice(0, 2)), ("b", TABLE.slice(2)), ("c", TABLE.slice(2)), ("d", TABLE)):
        pq.write_table(part, tmp_path / name)
    changed = TABLE.set_column(1, "x", pa.array([0.5, None, 1.5, 2.5]))
    pq.write_table(changed, tmp_path / "e")

    first = snapshot_of([tmp_path / "a", tmp_path / "b"])

    assert first == snapshot_of([tmp_path / "c", tmp_path / "a"])
    assert snapshot_of([tmp_path / "d"]) != snapshot_of([tmp_path / "e"])


@pytest.mark.parametrize(
    ("table", "columns", "kind", "expected"),
    [
        (TABLE, Columns(("id",), "why"), SchemaMismatch, "no column 'why', named as label. "),
        (TABLE, Columns(("idd",), "y"), SchemaMismatch, "'idd', named as key. Did you mean 'id'"),
        (TABLE, Columns(("id",), "y", groups=("sex",)), SchemaMismatch, "'sex', named as group"),
        (TABLE, Columns(("id",), "y", segments=("town",)), SchemaMismatch, "'town', named as segment"),
        (TABLE, Columns(("id",), "id"), InputError, "named as the label and as something else"),
        (TABLE, Columns((), "y"), InputError, "at least one key"),
        (TABLE, Columns(("y",), "x"), InputError, "key 'y' is null in 1 rows"),
        (TABLE.slice(0, 0), COLUMNS, InputEmpty, "has no rows"),
        (TABLE.slice(1, 1), COLUMNS, InputEmpty, "null in every row"),
        (pa.concat_tables([TABLE, TABLE]), COLUMNS, InputError, "4 values occur more than once, such as "),
        (pa.table([[1], [2]], names=["id", "id"]), COLUMNS, SchemaMismatch, "more than one column called 'id'"),
    ],
)
def test_what_is_wrong_with_the_columns_is_said(
    table: pa.Table, columns: Columns, kind: type[TwinscoreError], expected: str
) -> None:
    """Each mistake has a message that names the column."""
    with pytest.raises(kind, match=expected):
        load_data(table, columns)


@pytest.mark.parametrize(
    ("content", "expected"), [(b"", "it is empty"), (b"PAR1nonsensePAR1", "not a readable"), (b"a,b\n1,2\n", "Parquet")]
)
def test_a_file_that_is_not_parquet_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    """Empty, torn and foreign files are said by name with what to do."""
    (tmp_path / "data.parquet").write_bytes(content)

    with pytest.raises(FileUnreadable, match=rf"data\.parquet is not a readable Parquet file: .*{expected}|{expected}"):
        load_data(tmp_path / "data.parquet", COLUMNS)


def test_a_missing_file_offers_what_is_near(tmp_path: Path) -> None:
    """A typing error in the file's name is answered with the file beside it."""
    pq.write_table(TABLE, tmp_path / "loans.parquet")

    with pytest.raises(FileUnreadable, match=r"Did you mean 'loans\.parquet'"):
        load_data(tmp_path / "laons.parquet", COLUMNS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileUnreadable, match=r"holds no \*\.parquet"):
        load_data(tmp_path / "empty", COLUMNS)


def test_files_that_differ_are_named(tmp_path: Path) -> None:
    """A folder whose files have other columns or types is refused by file and column."""
    pq.write_table(TABLE, tmp_path / "a.parquet")
    pq.write_table(TABLE.set_column(1, "x", pa.array(["a"] * 4)), tmp_path / "b.parquet")

    with pytest.raises(SchemaMismatch, match=r"b\.parquet and .*a\.parquet have different columns.*'x'"):
        load_data(tmp_path, COLUMNS)
