"""What cannot be compiled is refused by name; what is built in is always there."""

from __future__ import annotations

import pickle
from typing import Any

import pyarrow as pa
import pytest

from twinscore.contract.compile import SUPPORTED, compile_contract
from twinscore.contract.model import Column, Contract, Expectation, type_of
from twinscore.errors import ContractInvalid

KINDS = {"id": "int64", "age": "int64", "debt": "float64", "sex": "string", "ok": "bool", "at": "timestamp[us, tz=UTC]",
         "seen": "timestamp[us]", "day": "date32"}  # fmt: skip
PRESENT = Expectation("expect_column_values_to_not_be_null", {"column": "age"})


def contract_of(*expectations: Expectation, key: tuple[str, ...] = ("id",)) -> Contract:
    return Contract("loans", 1, tuple(Column(n, type_of(k)) for n, k in KINDS.items()), key, expectations)


def test_an_empty_suite_is_refused() -> None:
    """Nothing would be checked, so everything would pass."""
    with pytest.raises(ContractInvalid, match="no expectations"):
        compile_contract(contract_of())


BETWEEN, IN_SET, REGEX = "values_to_be_between", "values_to_be_in_set", "values_to_match_regex"


@pytest.mark.parametrize(
    ("kind", "kwargs", "said"),
    [
        ("values_to_be_betwen", {"column": "age"}, "Did you mean 'expect_column_values_to_be_between'"),
        ("values_to_be_increasing", {"column": "age"}, "not one that can be compiled"),
        (BETWEEN, {"min_value": 1}, "the argument 'column' is missing"),
        (BETWEEN, {"column": "agee", "min_value": 1}, "no column 'agee'. Did you mean 'age'?"),
        (BETWEEN, {"column": ["age"], "min_value": 1}, "column must be a column name"),
        (BETWEEN, {"column": "age"}, "cannot both be absent"),
        (BETWEEN, {"column": "age", "min_value": 2, "max_value": 1}, "min_value 2 is greater than max_value 1"),
        (BETWEEN, {"column": "age", "min_value": "2"}, "must be a finite number"),
        (BETWEEN, {"column": "age", "min_value": True}, "must be a finite number"),
        (BETWEEN, {"column": "age", "min_value": 1, "strict_min": 1}, "strict_min must be true or false"),
        (
            BETWEEN,
            {"column": "age", "min_value": 1, "row_condition": "x"},
            "the argument 'row_condition' is not supported",
        ),
        (BETWEEN, {"column": "age", "min_value": 1, "mostly": 1.1}, "mostly must be a share from 0 to 1"),
        (BETWEEN, {"column": "sex", "min_value": 1}, "column 'sex' is string; this expectation speaks of number"),
        (BETWEEN, {"column": "at", "min_value": "2024-01-01T00:00:00"}, "2024-01-31T00:00:00Z"),
        (BETWEEN, {"column": "seen", "min_value": "2024-01-01T00:00:00Z"}, "min_value must be text like"),
        (BETWEEN, {"column": "seen", "min_value": "2024-01-01"}, "min_value must be text like"),
        (BETWEEN, {"column": "day", "min_value": "2024-02-30"}, "min_value must be text like '2024-01-31'"),
        (IN_SET, {"column": "sex", "value_set": []}, "value_set must be a list of at least one value"),
        (IN_SET, {"column": "sex", "value_set": ["a", 1]}, "value_set holds 1"),
        (IN_SET, {"column": "age", "value_set": [1, True]}, "value_set holds True"),
        (IN_SET, {"column": "ok", "value_set": [1]}, "value_set holds 1"),
        (IN_SET, {"column": "at", "value_set": ["2024-01-01T00:00:00Z"]}, "this expectation speaks of number"),
        (REGEX, {"column": "sex", "regex": "("}, "the regular expression '(' does not compile"),
        (REGEX, {"column": "sex", "regex": 5}, "a regular expression must be text"),
        (REGEX, {"column": "age", "regex": "1"}, "this expectation speaks of string"),
        ("pair_values_to_be_equal", {"column_A": "age", "column_B": "sex"}, "not comparable"),
        ("pair_values_to_be_equal", {"column_A": "at", "column_B": "seen"}, "not comparable"),
        ("pair_values_a_to_be_greater_than_b", {"column_A": "ok", "column_B": "ok"}, "have no order"),
        ("pair_values_to_be_equal", {"column_A": "age", "column_B": "id", "ignore_row_if": "never"}, "must be one of"),
        ("values_to_be_of_type", {"column": "age", "type_": "float64"}, "is int64 and never float64"),
        ("values_to_be_of_type", {"column": "age", "type_": "int46"}, "Did you mean 'int64'"),
        ("value_lengths_to_equal", {"column": "sex", "value": 1.5}, "value must be a whole number"),
        ("value_lengths_to_be_between", {"column": "sex"}, "cannot both be absent"),
        ("mean_to_be_between", {"column": "sex", "min_value": 1}, "this expectation speaks of number"),
        ("mean_to_be_between", {"column": "age", "min_value": 1, "mostly": 0.5}, "'mostly' is not supported"),
        (
            "quantile_values_to_be_between",
            {"column": "age", "quantile_ranges": {"quantiles": [2], "value_ranges": [[1, 2]]}},
            "must be a share of 0 to 1",
        ),
        (
            "quantile_values_to_be_between",
            {"column": "age", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[2, 1]]}},
            "is not in order",
        ),
        ("quantile_values_to_be_between", {"column": "age", "quantile_ranges": 1}, "quantile_ranges must map"),
    ],
)
def test_what_cannot_be_compiled_is_refused_by_name(kind: str, kwargs: dict[str, Any], said: str) -> None:
    """The message names the expectation and what is wrong with it; nothing is skipped."""
    with pytest.raises(ContractInvalid) as caught:
        compile_contract(contract_of(PRESENT, Expectation(f"expect_column_{kind}", kwargs)))

    assert f"expect_column_{kind}(" in caught.value.message
    assert said in caught.value.message


def test_all_faults_of_a_contract_are_told_at_once() -> None:
    """Two broken expectations and a broken key are three problems in one error."""
    broken = [Expectation("expect_nothing", {}), Expectation("expect_column_values_to_be_null", {})]
    with pytest.raises(ContractInvalid) as caught:
        compile_contract(contract_of(*broken, key=("no",)))

    assert 3 == len(caught.value.fields["problems"])


def test_columns_of_other_types_are_refused() -> None:
    """A contract made by hand holds only the types that both paths read."""
    columns = (Column("id", pa.int32()), Column("id", pa.int64()))
    with pytest.raises(ContractInvalid, match="there twice") as caught:
        compile_contract(Contract("x", 1, columns, ("id",), (PRESENT,)))

    assert "int32" in caught.value.message


def test_built_in_rules_are_always_there() -> None:
    """Keys are not null, and numbers fit the booster, whatever the suite says."""
    rules = [(rule.id, rule.columns) for rule in compile_contract(contract_of(PRESENT)).rules]

    expected = [("key_not_null", "id"), ("out_of_range", "age"), ("not_finite", "debt"), ("out_of_range", "debt")]

    assert expected == [(rule, columns[0]) for rule, columns in rules[:4]]


def test_a_checker_survives_pickling() -> None:
    """It travels to Ray workers as its contract."""
    checker = compile_contract(contract_of(PRESENT))
    copy = pickle.loads(pickle.dumps(checker))

    assert checker.contract == copy.contract
    assert [rule.id for rule in checker.rules] == [rule.id for rule in copy.rules]


def test_two_expectations_alike_have_two_names() -> None:
    """A fault says which of two expectations on one column it is."""
    low, high = ({"column": "age", "min_value": 1}, {"column": "age", "max_value": 9})
    kind = "expect_column_values_to_be_between"
    rules = compile_contract(contract_of(Expectation(kind, low), Expectation(kind, high))).rules

    assert [f"{kind}(age)", f"{kind}(age)#2"] == [rule.id for rule in rules if rule.id.startswith(kind)]


def test_the_supported_expectations_are_those_documented(request: pytest.FixtureRequest) -> None:
    """The reference page names every expectation that compiles."""
    page = (request.config.rootpath / "docs" / "reference" / "contracts.md").read_text(encoding="utf-8")

    assert [] == [kind for kind in sorted(SUPPORTED) if f"`{kind}`" not in page]
