"""The input's files and footers, held against a contract."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.batch.snapshot import find_files, take_snapshot
from twinscore.errors import FileUnreadable, InputEmpty, SchemaMismatch

WANTED = pa.schema([("id", pa.string()), ("age", pa.int64()), ("income", pa.float64())])


def table(rows: int = 3) -> pa.Table:
    return pa.table({"id": [f"r{n}" for n in range(rows)], "age": range(rows), "income": [1.5] * rows}, schema=WANTED)


def test_snapshot_counts_rows_and_groups(tmp_path: Path) -> None:
    """Each file comes with its size and the rows of its row groups, in order of name."""
    pq.write_table(table(5), tmp_path / "b.parquet", row_group_size=2)
    pq.write_table(table(1), tmp_path / "a.parquet")

    snapshot = take_snapshot(tmp_path, WANTED, contract="c")

    assert [("a.parquet", (1,)), ("b.parquet", (2, 2, 1))] == [(file.name, file.groups) for file in snapshot.files]
    assert snapshot.rows == 6
    assert [file.size for file in snapshot.files] == [(tmp_path / file.name).stat().st_size for file in snapshot.files]


def test_digest_follows_the_data_and_not_the_place(tmp_path: Path) -> None:
    """The same files elsewhere are the same snapshot; other values are another."""
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        pq.write_table(table(4 if name == "three" else 3), tmp_path / name / "a.parquet")
    one, two, three = (take_snapshot(tmp_path / name, WANTED, contract="c").digest for name in ("one", "two", "three"))

    assert one == two
    assert one != three


def test_folder_is_searched_below_and_hidden_names_are_left_out(tmp_path: Path) -> None:
    """Sub-folders count; names that begin with `_` or `.` and other suffixes do not."""
    for name in ("x/a.parquet", "_quarantine/b.parquet", ".run/c.parquet", "d.txt", "e.pq", "_f.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    assert ["e.pq", "x/a.parquet"] == [path.relative_to(tmp_path).as_posix() for path in find_files(tmp_path)]


def test_glob_and_single_file(tmp_path: Path) -> None:
    """A glob names files, a file names itself whatever its suffix."""
    for name in ("a-1.parquet", "a-2.parquet", "b.parquet", "plain"):
        pq.write_table(table(), tmp_path / name)

    assert ["a-1.parquet", "a-2.parquet"] == [path.name for path in find_files(f"{tmp_path}/a-*.parquet")]
    assert take_snapshot(tmp_path / "plain", WANTED, contract="c").files[0].name == "plain"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b"PAR1", "is truncated (4 bytes)"),
        (b"a,b,c\n1,2,3\n4,5,6\n", "does not begin with PAR1"),
        (b"PAR1" + b"\0" * 40, "does not end with a Parquet footer"),
        (b"PAR1" + b"\0" * 40 + b"\x10\0\0\0PAR1", "has a corrupt footer"),
        (b"PAR1" + b"\0" * 40 + b"\xff\xff\0\0PAR1", "does not end with a Parquet footer"),
    ],
)
def test_file_that_is_no_parquet_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    """One bad file among good ones stops the run, by name."""
    pq.write_table(table(), tmp_path / "good.parquet")
    (tmp_path / "bad.parquet").write_bytes(content)

    with pytest.raises(FileUnreadable) as caught:
        take_snapshot(tmp_path, WANTED, contract="c")

    assert said in caught.value.message
    assert caught.value.fields["path"] == str(tmp_path / "bad.parquet")


def test_truncated_file_is_named(tmp_path: Path) -> None:
    """A file that lost its end, as a broken copy does, is refused."""
    pq.write_table(table(), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[: len(content) // 2])

    with pytest.raises(FileUnreadable, match="truncated or corrupt"):
        take_snapshot(tmp_path, WANTED, contract="c")


def test_schema_faults_name_file_column_and_both_types(tmp_path: Path) -> None:
    """Every fault of every file is found before a row is read."""
    pq.write_table(table(), tmp_path / "a.parquet")
    pq.write_table(table().drop_columns(["income"]).append_column("incom", pa.array([1.0] * 3)), tmp_path / "b.parquet")
    pq.write_table(table().set_column(1, "age", pa.array(["1", "2", "3"])), tmp_path / "c.parquet")

    with pytest.raises(SchemaMismatch) as caught:
        take_snapshot(tmp_path, WANTED, contract="loans")

    assert caught.value.fields["faults"] == [
        "b.parquet: column 'income' (float64) is missing. Did you mean 'incom'?",
        "c.parquet: column 'age' is string, the contract wants int64.",
    ]
    assert "Nothing was scored" in caught.value.message


def test_types_that_cast_without_loss_pass(tmp_path: Path) -> None:
    """Smaller numbers, dictionaries, large text, whole numbers for floats, and columns without any value fit."""
    pq.write_table(
        pa.table(
            {
                "id": pa.array(["a", "b"]).dictionary_encode(),
                "age": pa.array([None, None], pa.string()),
                "income": pa.array([1, 2], pa.int16()),
                "more": [1, 2],
            }
        ),
        tmp_path / "a.parquet",
    )

    assert take_snapshot(tmp_path, WANTED, contract="c").rows == 2


def test_nothing_to_score_is_said(tmp_path: Path) -> None:
    """An empty folder, a glob without a match and files without rows are refused, each in its words."""
    (tmp_path / "readme.txt").write_text("x")
    for source, said in ((tmp_path, "it holds readme.txt"), (f"{tmp_path}/*.parquet", "No file matches")):
        with pytest.raises(InputEmpty) as caught:
            take_snapshot(source, WANTED, contract="c")
        assert said in caught.value.message
    pq.write_table(table(0), tmp_path / "a.parquet")

    with pytest.raises(InputEmpty, match="no row"):
        take_snapshot(tmp_path, WANTED, contract="c")


def test_missing_input_offers_what_is_near(tmp_path: Path) -> None:
    """A wrong path is answered with the names beside it."""
    (tmp_path / "loans").mkdir()

    with pytest.raises(FileUnreadable, match="Did you mean 'loans'"):
        take_snapshot(tmp_path / "loan", WANTED, contract="c")
