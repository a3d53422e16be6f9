"""Commands for contracts on small files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from twinscore.cli.main import app
from twinscore.contract.document import load_contract


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["contract", *map(str, words)], env={"COLUMNS": "200"})


def table(n_rows: int = 40, **changed: Sequence[object]) -> pa.Table:
    columns: dict[str, Sequence[object]] = {
        "id": list(range(n_rows)),
        "age": [20 + row % 50 for row in range(n_rows)],
        "city": [("Rome", "Oslo")[row % 2] for row in range(n_rows)],
        "label": [row % 2 for row in range(n_rows)],
    }
    return pa.table({**columns, **changed})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A clean file."""
    path = tmp_path / "clean.parquet"
    pq.write_table(table(), path)
    return path


@pytest.fixture
def contract(tmp_path: Path, data: Path) -> Path:
    """The contract that was inferred from the clean file."""
    path = tmp_path / "v1.yaml"
    result = invoke("infer", "--data", data, "--key", "id", "--drop", "label", "--name", "people", "--output", path)
    assert result.exit_code == 0, result.output
    return path


def test_inferred_contract_leaves_out_the_label(contract: Path) -> None:
    """What is dropped is no column of the contract; key and name are as given."""
    loaded = load_contract(contract)

    assert (loaded.name, loaded.key) == ("people", ("id",))
    assert [column.name for column in loaded.columns] == ["id", "age", "city"]


def test_contract_is_printed_without_an_output(data: Path, contract: Path) -> None:
    """Without `--output` the same YAML goes to standard output, and the name is the file's."""
    result = invoke("infer", "--data", data, "--key", "id", "--drop", "label")

    assert result.stdout == contract.read_text().replace("people", "clean")


def test_unknown_column_to_drop_is_near_another(data: Path) -> None:
    """A misspelt column is refused with a hint, because a label that stays in is a bad surprise."""
    result = invoke("infer", "--data", data, "--key", "id", "--drop", "lable")

    assert result.exit_code == 1
    assert "Did you mean 'label'?" in result.stderr


def test_clean_data_passes(data: Path, contract: Path) -> None:
    """Data that keeps the contract ends with 0."""
    result = invoke("check", "--contract", contract, "--data", data)

    assert result.exit_code == 0, result.output
    assert "The data keeps the contract." in result.stdout


def test_broken_rows_are_counted_and_shown(tmp_path: Path, contract: Path) -> None:
    """Over several files: each rule with its count, at most five examples with file and row, exit code 1."""
    folder = tmp_path / "parts"
    folder.mkdir()
    ages: list[object] = [*[9_999] * 7, *[30] * 33]
    pq.write_table(table(age=ages), folder / "a.parquet")
    pq.write_table(table(id=list(range(100, 140)), city=["Atlantis"] + ["Rome"] * 39), folder / "b.parquet")

    result = invoke("check", "--contract", contract, "--data", folder)

    assert result.exit_code == 1
    assert result.stdout.count("9999") == 5
    assert "a.parquet row 4: 9999" in result.stdout
    assert "b.parquet row 0: Atlantis" in result.stdout
    assert "80 rows: 72 accepted, 8 refused" in result.stdout


def test_broken_whole_is_one(tmp_path: Path, contract: Path) -> None:
    """A rule about the whole, such as the uniqueness of the key, breaks the contract as well."""
    pq.write_table(table(id=[1] * 40), tmp_path / "twice.parquet")

    result = invoke("check", "--contract", contract, "--data", tmp_path / "twice.parquet")

    assert result.exit_code == 1
    assert "broken" in result.stdout


def test_no_rows_are_not_a_pass(tmp_path: Path, contract: Path) -> None:
    """An empty data set is refused by name."""
    pq.write_table(table(0), tmp_path / "empty.parquet")

    result = invoke("check", "--contract", contract, "--data", tmp_path / "empty.parquet")

    assert result.exit_code == 1
    assert "error[input_empty]" in result.stderr


def test_file_that_is_not_parquet_is_named(tmp_path: Path, contract: Path) -> None:
    """A broken file is named, without a traceback."""
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing more")

    result = invoke("check", "--contract", contract, "--data", tmp_path / "broken.parquet")

    assert result.exit_code == 1
    assert "error[file_unreadable]" in result.stderr
    assert "broken.parquet" in result.stderr


def test_data_docs_are_written(tmp_path: Path, data: Path, contract: Path) -> None:
    """Great Expectations' pages land in the folder asked for."""
    result = invoke("docs", "--contract", contract, "--data", data, "--output", tmp_path / "docs")

    assert result.exit_code == 0, result.output
    assert (tmp_path / "docs" / "index.html").is_file()
    assert str(tmp_path / "docs" / "index.html") in result.stdout.replace("\n", "")
