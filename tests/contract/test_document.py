"""Contract files are read strictly and written so that they read back equal."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.contract.document import dumps_contract, load_contract, loads_contract, save_contract
from twinscore.contract.model import AUDIT_FORMS, COLUMN_TYPES, SEVERITIES, Column, Contract, Expectation
from twinscore.errors import ContractInvalid

TEXT = """\
name: loans
expectations:
- type: expect_column_values_to_be_between
  kwargs: {column: age, min_value: 18, max_value: 120}
- type: expect_column_values_to_be_in_set
  kwargs:
    column: day
    value_set: [2024-01-01, 'yes', 'no', 1e3]
  severity: warning
meta:
  twinscore:
    version: 2
    key: [id]
    columns: {id: int64, age: int64, day: string}
"""

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.text(min_size=1, max_size=8)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    columns = draw(st.dictionaries(names, st.sampled_from(list(COLUMN_TYPES.values())), min_size=1, max_size=4))
    expectations = st.builds(
        Expectation,
        names,
        st.dictionaries(names, plain, max_size=3),
        st.sampled_from(SEVERITIES),
        st.dictionaries(names, plain, max_size=2),
    )
    key = draw(st.lists(st.sampled_from(list(columns)), min_size=1, max_size=2, unique=True))
    return Contract(
        draw(st.text(max_size=8)),
        draw(st.integers(1, 99)),
        tuple(Column(name, kind, draw(st.sampled_from(AUDIT_FORMS))) for name, kind in columns.items()),
        tuple(key),
        tuple(draw(st.lists(expectations, max_size=3))),
    )


@given(contracts())
def test_what_is_written_reads_back_equal(contract: Contract) -> None:
    """Any contract survives YAML, and so does its digest."""
    read = loads_contract(dumps_contract(contract))

    assert contract == read
    assert contract.digest == read.digest


def test_a_document_is_a_suite_with_our_meta() -> None:
    """The file's parts land where they belong, and dates stay the text they are."""
    contract = loads_contract(TEXT)

    assert ("loans", 2, ("id",)) == (contract.name, contract.version, contract.key)
    assert ["id", "age", "day"] == contract.schema.names
    assert ["2024-01-01", "yes", "no"] == contract.expectations[1].kwargs["value_set"][:3]
    assert ["critical", "warning"] == [expectation.severity for expectation in contract.expectations]


def test_digest_follows_the_meaning_not_the_layout() -> None:
    """Comments and order of keys do not change the digest; a bound does."""
    same = loads_contract(
        "# a comment\n" + TEXT.replace("min_value: 18, max_value: 120", "max_value: 120, min_value: 18")
    )

    assert loads_contract(TEXT).digest == same.digest
    assert loads_contract(TEXT).digest != loads_contract(TEXT.replace("120", "121")).digest


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: loans\n", "name: loans\nname: loans\n", "line 2, column 1: the key 'name' is written twice"),
        ("{id: int64, age", "{id: int64, age: bool, age", "line 14, column 37: the key 'age' is written twice"),
        ("column: age, ", "column: age, column: age, ", "line 4, column 25: the key 'column' is written twice"),
        ("severity:", "severety:", "line 9, column 3: an expectation has no key 'severety'. Did you mean"),
        ("severity: warning", "severity: fatal", "line 9, column 13: severity 'fatal' must be one of"),
        ("version: 2", "version: '2'", "line 12, column 14: meta.twinscore.version must be a whole number"),
        ("version: 2", "version: true", "line 12, column 14: meta.twinscore.version must be a whole number"),
        ("version: 2", "version: 0", "line 12, column 14: meta.twinscore.version must be 1 or more"),
        ("key: [id]", "key: [idd]", "line 13, column 11: the key column 'idd' is not among the columns. Did you mean"),
        ("key: [id]", "key: []", "line 13, column 10: meta.twinscore.key must name at least one column"),
        ("age: int64", "age: int46", "line 14, column 31: column 'age': column type 'int46' is not one"),
        ("meta:\n", "mete:\n", "line 10, column 1: a contract has no key 'mete'. Did you mean 'meta'?"),
        ("max_value: 120", "max_value: .inf", "line 4, column 11: kwargs may hold only text, finite numbers"),
        ("max_value: 120", "max_value: !!python/object:os.system {}", "line 4, column"),
        ("max_value: 120", "max_value: {1: 2}", "line 4, column"),
        ("name: loans", "name: loans\n? [a]\n: b", "line 2, column 3: a key must be text"),
        ("name: loans", "name: [loans", "not YAML"),
        ("expectations:\n", "expectations: 3\nx:\n", "a contract has no key 'x'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_line_and_column(old: str, new: str, said: str) -> None:
    """Duplicate keys, unknown keys and wrong kinds of values are refused where they stand."""
    with pytest.raises(ContractInvalid) as caught:
        loads_contract(TEXT.replace(old, new, 1))

    assert said in caught.value.message
    assert "contract text" in caught.value.message


@pytest.mark.parametrize(
    "text", ["", "   \n", "# nothing\n", "---\n", "null", "[]", "5", "- a\n", "a: b: c", "\x00", "*a"]
)
def test_what_is_no_contract_is_refused(text: str) -> None:
    """Empty text, other YAML and no YAML at all end in the one error."""
    with pytest.raises(ContractInvalid):
        loads_contract(text)


@given(
    st.text(max_size=60) | st.lists(st.sampled_from([*TEXT.splitlines(True), "{", "[", "&a ", "*a", "? "])).map("".join)
)
def test_no_text_gets_past_the_error(text: str) -> None:
    """Whatever the text, it is a contract or ContractInvalid."""
    with contextlib.suppress(ContractInvalid):
        assert loads_contract(text).key


def test_an_alias_is_refused() -> None:
    """YAML's aliases, with which a small file becomes a huge one, are no part of a contract."""
    with pytest.raises(ContractInvalid, match="alias"):
        loads_contract(
            TEXT.replace("{column: age", "&k {column: age").replace(
                "  kwargs:\n    column: day", "  kwargs: *k\n    c: d"
            )
        )


def test_deep_nesting_is_refused() -> None:
    """A file nested a hundred thousand deep ends in the error, not in the interpreter's."""
    with pytest.raises(ContractInvalid):
        loads_contract("[" * 100_000)


def test_files_are_written_whole_and_named_when_missing(tmp_path: Path) -> None:
    """A saved contract loads; a missing, empty or binary file is named."""
    contract = loads_contract(TEXT)
    save_contract(contract, tmp_path / "loans" / "v2.yaml")
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")

    assert contract == load_contract(tmp_path / "loans" / "v2.yaml")
    assert ["v2.yaml"] == [path.name for path in (tmp_path / "loans").iterdir()]
    for name in ("absent.yaml", "empty.yaml", "binary.yaml", "."):
        with pytest.raises(ContractInvalid, match=r"contract file|is empty"):
            load_contract(tmp_path / name)


def marked(audit: str) -> str:
    return TEXT.replace("    key: [id]", f"    key: [id]\n    audit: {audit}")


def test_the_audit_form_of_columns_is_part_of_the_contract() -> None:
    """Marks are read, written and digested; a mark that is the default changes nothing, so old digests stay."""
    contract = loads_contract(marked("{day: hash, age: drop, id: keep}"))

    assert ["keep", "drop", "hash"] == [column.audit for column in contract.columns]
    assert contract == loads_contract(dumps_contract(contract))
    assert loads_contract(TEXT).digest == loads_contract(marked("{id: keep}")).digest != contract.digest
    assert "audit" not in dumps_contract(loads_contract(TEXT))
    assert "19803de41245f45c" == loads_contract(TEXT).digest[:16]


@pytest.mark.parametrize(
    ("audit", "message"),
    [
        ("{day: hide}", "line 14, column 18: .*must be one of keep, hash, drop, not 'hide'"),
        ("{dya: hash}", "line 14, column 13: .*no key 'dya'. Did you mean 'day'"),
        ("{day: 1}", "must be text, not int"),
        ("[day]", "must be a mapping of id, age, day"),
        ("{day: hash, day: drop}", "'day' is written twice"),
    ],
)
def test_a_wrong_audit_form_is_refused(audit: str, message: str) -> None:
    """A mark that is not understood would leave a secret in the log, so it is refused with its place."""
    with pytest.raises(ContractInvalid, match=message):
        loads_contract(marked(audit))
