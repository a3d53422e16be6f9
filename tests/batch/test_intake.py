"""Where columns come from: files, folders, other names, side tables; and what is said when they do not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.batch.intake import Intake, open_intake
from twinscore.batch.plan import plan_shards
from twinscore.batch.reading import read_piece
from twinscore.batch.spec import ScoreSpec, read_score_spec
from twinscore.contract.model import Column, Contract
from twinscore.errors import FileUnreadable, InputEmpty, SchemaMismatch, SettingsInvalid, TwinscoreError

CONTRACT = Contract(
    "loans", 1, (Column("id", pa.int64()), Column("country", pa.string()), Column("day", pa.date32())), ("id",), ()
)


def spec(folder: Path | list[Path | str], **more: Any) -> ScoreSpec:
    source = [str(one) for one in folder] if isinstance(folder, list) else str(folder)
    return read_score_spec({"model": "m", "input": source, "output": "/o", **more})


def write(path: Path, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def rows_of(intake: Intake) -> list[dict[str, Any]]:
    pieces = [piece for shard in plan_shards(intake.snapshot) for piece in shard.pieces]
    tables = [some.table for piece in pieces for some in read_piece(piece, intake.wanted, recipe=intake.recipe)]
    return [row for table in tables for row in table.to_pylist()]


def test_folders_give_columns_in_the_contracts_types(tmp_path: Path) -> None:
    """`name=value` folders become columns, null and escapes included; a column of the file wins."""
    write(tmp_path / "country=D%20E/day=2026-11-01/a.parquet", id=[1, 2])
    write(tmp_path / "country=__HIVE_DEFAULT_PARTITION__/day=2026-11-02/a.parquet", id=[3], country=["own"])
    write(tmp_path / "country=__HIVE_DEFAULT_PARTITION__/day=2026-11-03/a.parquet", id=[4])

    intake = open_intake(spec(tmp_path), CONTRACT)

    assert [(1, "D E", "2026-11-01"), (2, "D E", "2026-11-01"), (3, "own", "2026-11-02"), (4, None, "2026-11-03")] == [
        (row["id"], row["country"], str(row["day"])) for row in rows_of(intake)
    ]
    assert [{"country", "day"}, {"day"}, {"country", "day"}] == [
        set(file["folders"]) for file in intake.snapshot.to_plain()
    ]


def test_one_partition_alone_reads_like_all_of_them(tmp_path: Path) -> None:
    """A path into a partition, or a pattern that matches one, does not lose the folder's value."""
    write(tmp_path / "country=DE/day=2026-11-01/a.parquet", id=[1])
    for source in ("country=DE/day=2026-11-01", "country=DE", "country=*/day=*/*.parquet"):
        assert rows_of(open_intake(spec(tmp_path / source), CONTRACT))[0]["country"] == "DE"


def test_folder_that_does_not_parse(tmp_path: Path) -> None:
    """The folder, the column, the text and the type are named."""
    write(tmp_path / "day=soon/a.parquet", id=[1], country=["x"])

    with pytest.raises(SchemaMismatch) as caught:
        open_intake(spec(tmp_path), CONTRACT)

    assert f"The folder {tmp_path}/day=soon gives column 'day' the value 'soon', which is no date32." in (
        caught.value.message
    )


def test_other_names_and_key_and_filter_beside_the_contract(tmp_path: Path) -> None:
    """Columns are renamed; key and filter may use what the contract has not; the fingerprint's facts hold it all."""
    write(
        tmp_path / "a.parquet", id=[1, 2, 3], land=["DE", "FR", None], day=[None] * 3, ref=["a", "b", "c"], n=[1, 2, 3]
    )
    given = spec(tmp_path, columns={"country": "land", "k": "ref"}, key="k", filter=[["n", ">=", 2]])

    intake = open_intake(given, CONTRACT)

    assert [("b", "FR"), ("c", None)] == [(row["k"], row["country"]) for row in rows_of(intake)]
    assert intake.recipe.facts() == {
        "columns": {"country": "land", "k": "ref"}, "filter": [[["n", ">=", 2]]], "joins": [],
    }  # fmt: skip


def test_misspelt_names_are_refused(tmp_path: Path) -> None:
    """A renamed column that nothing asks for, and a file's column that is not there."""
    write(tmp_path / "a.parquet", id=[1], country=["DE"], day=[None])

    with pytest.raises(SettingsInvalid, match=r"renames 'contry', which is no column .* Did you mean 'country'\?"):
        open_intake(spec(tmp_path, columns={"contry": "country"}), CONTRACT)
    with pytest.raises(SchemaMismatch) as caught:
        open_intake(spec(tmp_path, columns={"country": "land"}), CONTRACT)
    assert "column 'country' (in the files: 'land') (string) is missing." in caught.value.message


def test_list_of_inputs(tmp_path: Path) -> None:
    """Files, folders and globs add up, with names below what they share; a file named twice is refused."""
    for name in ("x/a.parquet", "x/b.parquet", "y/deep/c.parquet"):
        write(tmp_path / name, id=[1], country=["DE"], day=[None])

    found = open_intake(spec([tmp_path / "x", tmp_path / "y/deep/*.parquet"]), CONTRACT)

    assert [file.name for file in found.snapshot.files] == ["x/a.parquet", "x/b.parquet", "y/deep/c.parquet"]
    with pytest.raises(SettingsInvalid, match=r"name .*x/a.parquet twice"):
        open_intake(spec([tmp_path / "x", tmp_path / "x/a.parquet"]), CONTRACT)
    with pytest.raises(SettingsInvalid, match="different stores"):
        open_intake(spec([tmp_path / "x", "s3://bucket/x"]), CONTRACT)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([[1]]), "is list<element: int64>, the contract wants"),
        (pa.array([{"a": 1}]), "is struct<a: int64>, the contract wants"),
        (pa.array([b"x"]), "is binary, the contract wants"),
        (pa.array([0], pa.timestamp("us", "UTC")), "is timestamp[us, tz=UTC], the contract wants"),
    ],
)
def test_types_that_no_contract_holds(tmp_path: Path, column: pa.Array, said: str) -> None:
    """Nested columns, bytes and times in another kind of zone are named with both types."""
    pq.write_table(pa.table({"t": column}), tmp_path / "a.parquet")
    for kind in (pa.timestamp("us"), pa.string()):
        with pytest.raises(SchemaMismatch) as caught:
            open_intake(spec(tmp_path), Contract("c", 1, (Column("t", kind),), ("t",), ()))
        assert said in caught.value.message


def test_double_column_and_column_absent_in_one_file(tmp_path: Path) -> None:
    """One file lacks a column, another has it twice, another as text: all are told at once."""
    write(tmp_path / "a.parquet", id=[1], country=["DE"], day=[None])
    write(tmp_path / "b.parquet", id=[1], day=[None])
    pq.write_table(
        pa.table([pa.array([1]), pa.array([2]), pa.array(["DE"]), pa.nulls(1)], names=["id", "id", "country", "day"]),
        tmp_path / "c.parquet",
    )
    write(tmp_path / "d.parquet", id=["1"], country=["DE"], day=[None])

    with pytest.raises(SchemaMismatch) as caught:
        open_intake(spec(tmp_path), CONTRACT)

    assert caught.value.fields["faults"] == [
        "b.parquet: column 'country' (string) is missing. Known: day, id.",
        "c.parquet: column 'id' (int64) is there 2 times.",
        "d.parquet: column 'id' is string, the contract wants int64.",
    ]


def test_unreadable_path(tmp_path: Path) -> None:
    """A folder or file without rights is named: asked by a process that is not root."""
    write(tmp_path / "in/a.parquet", id=[1], country=["DE"], day=[None])
    (tmp_path / "in").chmod(0o700 if os.getuid() == 0 else 0)
    script = (
        "import os, sys\n"
        "from twinscore.batch.find import find_inputs\n"
        "from twinscore.batch.footer import read_footer\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "for ask in (lambda: find_inputs((sys.argv[1],)), lambda: read_footer(sys.argv[1] + '/a.parquet')):\n"
        "    try: ask()\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    for folder in [tmp_path, *tmp_path.parents][: len(tmp_path.parts) - 2]:
        if os.getuid() == 0 and folder.stat().st_uid == 0:
            folder.chmod(0o755)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "in")], capture_output=True, text=True, check=False
        )
    finally:
        (tmp_path / "in").chmod(0o700)
    if "Traceback" in done.stderr:
        pytest.skip("another user cannot run this Python here")

    listed, opened = done.stdout.splitlines()
    assert listed.startswith(f"FileUnreadable The input {tmp_path}/in cannot be read: Permission denied. Mend")
    assert opened == f"FileUnreadable The file {tmp_path}/in/a.parquet cannot be read: Permission denied."


WITH_SIDE = Contract(
    "loans", 1, (Column("id", pa.int64()), Column("income", pa.float64()), Column("segment", pa.string())), ("id",), ()
)


def test_side_table_joins_in_order(tmp_path: Path) -> None:
    """Rows keep their order; a key that is missing or unknown gets nulls; a prefix keeps names apart."""
    write(tmp_path / "in/a.parquet", id=[1, 2, 3, 4], customer=["b", "a", None, "zz"], raw=[1, 2, 3, 4])
    write(tmp_path / "side/1.parquet", customer=["a", None], come=[10, 99], ment=["x", "null"], more=[0, 0])
    write(tmp_path / "side/2.parquet", customer=["b"], come=[20], ment=["y"], more=[0])
    joins = [
        {"path": str(tmp_path / "side"), "on": "customer", "columns": ["come"], "prefix": "in"},
        {"path": str(tmp_path / "side"), "on": "customer", "columns": "ment", "prefix": "seg"},
    ]

    intake = open_intake(spec(tmp_path / "in", join=joins, filter=[["raw", "!=", 2]]), WITH_SIDE)

    assert [(1, 20.0, "y"), (3, None, None), (4, None, None)] == [
        (row["id"], row["income"], row["segment"]) for row in rows_of(intake)
    ]
    kept = intake.to_plain()["joins"]
    assert [("customer", {"income": "come"}, 3), ("customer", {"segment": "ment"}, 3)] == [
        (one["on"], one["columns"], one["rows"]) for one in kept
    ]


def test_another_side_table_is_another_run(tmp_path: Path) -> None:
    """What is joined is part of the facts that make a run."""
    write(tmp_path / "in/a.parquet", id=[1], segment=["x"], c=[1])
    facts = []
    for income in (1.0, 2.0):
        write(tmp_path / "side.parquet", c=[1], income=[income])
        join = {"path": str(tmp_path / "side.parquet"), "on": "c", "columns": ["income"]}
        facts.append(open_intake(spec(tmp_path / "in", join=join), WITH_SIDE).recipe.facts())

    assert facts[0] != facts[1]


@pytest.mark.parametrize(
    ("join", "kind", "said"),
    [
        ({"on": "nobody"}, SchemaMismatch, "is on column 'nobody', which is missing in"),
        ({"on": "real"}, SchemaMismatch, "is on column 'real', which is float64"),
        ({"on": "raw"}, SchemaMismatch, "column 'raw' (int64) is missing"),
        ({"columns": ["incom"]}, SettingsInvalid, "takes 'incom', which is no column of the contract. Did you mean"),
        ({"columns": ["segment"]}, SchemaMismatch, "is in the file and in the side table"),
        ({"columns": ["customer"]}, SettingsInvalid, "join.columns of a batch scoring must be columns other than"),
        ({"max_bytes": 10}, SettingsInvalid, "needs more than 10 bytes in memory"),
        ({"path": "double.parquet"}, SchemaMismatch, "has customer = 'a' 2 times"),
        ({"path": "number.parquet"}, SchemaMismatch, "column 'customer' is int64, the contract wants string"),
        ({"path": "nowhere.parquet"}, FileUnreadable, "does not exist"),
    ],
)
def test_side_table_that_cannot_be_joined(
    tmp_path: Path, join: dict[str, Any], kind: type[TwinscoreError], said: str
) -> None:
    """Key, columns, size and files of a side table are checked before a row is scored."""
    write(tmp_path / "in/a.parquet", id=[1], customer=["a"], raw=[1], real=[1.0], segment=["x"])
    write(tmp_path / "side.parquet", customer=["a", "b"], income=[1.0, 2.0], segment=["x", "y"], real=[1.0, 2.0])
    write(tmp_path / "double.parquet", customer=["a", "b", "a"], income=[1.0, 2.0, 3.0])
    write(tmp_path / "number.parquet", customer=[1], income=[1.0])
    given = {"path": "side.parquet", "on": "customer", "columns": ["income"], **join}
    given["path"] = str(tmp_path / str(given["path"]))

    with pytest.raises(kind) as caught:
        open_intake(spec(tmp_path / "in", join=given), WITH_SIDE)

    assert said in caught.value.message


def test_empty_input_may_be_an_answer(tmp_path: Path) -> None:
    """With `empty: commit` a folder without files is an input without rows; without it, it is an error."""
    with pytest.raises(InputEmpty, match="it is empty"):
        open_intake(spec(tmp_path), CONTRACT)

    assert open_intake(spec(tmp_path, empty="commit"), CONTRACT).is_empty
