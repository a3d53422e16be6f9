"""Contracts go to Great Expectations and back, its types are ours, and Data Docs are built."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from twinscore.contract.compile import compile_contract
from twinscore.contract.datadocs import build_data_docs
from twinscore.contract.expectations import from_suite, to_suite, validate_with_gx
from twinscore.contract.model import COLUMN_TYPES, Column, Contract, Expectation
from twinscore.errors import ContractInvalid

CELLS: dict[str, Any] = {
    "int64": 1,
    "float64": 0.5,
    "bool": True,
    "string": "a",
    "timestamp[us, tz=UTC]": datetime(2024, 1, 1, tzinfo=UTC),
    "timestamp[us]": datetime(2024, 1, 1),
    "date32": date(2024, 1, 1),
}
COLUMNS = tuple(Column(name, kind) for name, kind in COLUMN_TYPES.items())
BETWEEN = Expectation(
    "expect_column_values_to_be_between", {"column": "int64", "max_value": 1}, "warning", {"why": "x"}
)


def contract_of(*expectations: Expectation) -> Contract:
    return Contract("c", 3, COLUMNS, ("int64",), expectations)


def table_of(n_rows: int) -> pa.Table:
    return pa.table({name: pa.array([CELLS[name]] * n_rows, kind) for name, kind in COLUMN_TYPES.items()})


def compiles(expectation: Expectation) -> bool:
    try:
        compile_contract(contract_of(expectation))
    except ContractInvalid:
        return False
    return True


def test_a_contract_becomes_a_suite_and_back() -> None:
    """Types, arguments, severity and meta survive the way to Great Expectations and back."""
    contract = contract_of(BETWEEN, Expectation("expect_column_to_exist", {"column": "bool"}))

    assert contract == from_suite(to_suite(contract), columns=COLUMNS, key=("int64",), version=3)


def test_what_great_expectations_refuses_is_named() -> None:
    """An expectation that it does not know, or with arguments that it refuses, is ContractInvalid."""
    for kind, kwargs in (("expect_nothing", {}), (BETWEEN.type, {"column": "int64", "min_value": "x"})):
        with pytest.raises(ContractInvalid, match=kind):
            to_suite(contract_of(Expectation(kind, kwargs)))


@pytest.mark.parametrize("listed", [False, True])
def test_types_are_called_as_great_expectations_calls_them(listed: bool) -> None:
    """A type that compiles is one that Great Expectations finds in the column."""
    kind = "expect_column_values_to_be_in_type_list" if listed else "expect_column_values_to_be_of_type"
    words = ["int64", "int", "float64", "float", "bool", "str", "datetime64", "datetime64[us]", "Timestamp", "date"]
    asked = [
        Expectation(kind, {"column": name, **({"type_list": [word]} if listed else {"type_": word})})
        for name in COLUMN_TYPES
        for word in words
    ]
    compiled = [expectation for expectation in asked if compiles(expectation)]

    assert (7 if listed else 10) == len(compiled)
    assert [] == [found for found in validate_with_gx(contract_of(*compiled), table_of(2)) if not found.success]


def test_rows_keep_their_numbers_however_the_table_is_cut() -> None:
    """Great Expectations and the checker count rows alike from 0 through all chunks."""
    contract = contract_of(BETWEEN)
    table = pa.concat_tables([table_of(1), table_of(3).set_column(0, "int64", pa.array([2, 1, 5]))])
    verdict = compile_contract(contract).check(table)

    assert [1, 3] == verdict.faults["row"].to_pylist()
    assert (1, 3) == validate_with_gx(contract, table)[0].unexpected


def test_data_docs_are_a_static_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index and the page of the validation are HTML that names the expectation's column; nothing else is left."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    index = build_data_docs(contract_of(BETWEEN), table_of(3), tmp_path / "docs")
    pages = [page.read_text(encoding="utf-8") for page in (tmp_path / "docs" / "validations").rglob("*.html")]

    assert tmp_path / "docs" / "index.html" == index
    assert "<html" in index.read_text(encoding="utf-8")
    assert any("int64" in page for page in pages)
    assert [] == list((tmp_path / "temporary").iterdir())


def test_the_checker_never_imports_great_expectations() -> None:
    """Loading, compiling and checking need neither Great Expectations nor pandas."""
    code = (
        "import sys; from twinscore.contract import check, compile, document, rows, infer, expectations;"
        "print([name for name in ('great_expectations', 'pandas', 'ray', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]\n" == done.stdout
