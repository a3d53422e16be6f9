"""The compiled checker gives Great Expectations' own answers, row by row, on fuzzed tables and suites."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twinscore.contract.compile import compile_contract, rule_ids
from twinscore.contract.expectations import validate_with_gx
from twinscore.contract.model import Column, Contract, Expectation, type_of
from twinscore.contract.row_expectations import ROW_EXPECTATIONS
from twinscore.contract.rows import rows_to_table
from twinscore.contract.run_expectations import RUN_EXPECTATIONS
from twinscore.contract.verdict import Verdict

COLUMNS = {
    "k": "int64", "i": "int64", "j": "int64", "f": "float64", "g": "float64", "b": "bool", "c": "bool",
    "s": "string", "u": "string", "t": "timestamp[us, tz=UTC]", "v": "timestamp[us, tz=UTC]",
    "n": "timestamp[us]", "m": "timestamp[us]", "d": "date32", "e": "date32",
}  # fmt: skip
WHOLE, HALVES, TEXTS, TIMES, DAYS = ("i", "j"), ("f", "g"), ("s", "u"), ("t", "v", "n", "m"), ("d", "e")
WORDS = ("", "a", "b", "ab", "abc", "Ab1", "1", "é", "日本", "a b", "a\n", "x\ty", "a.b", "é1")
PATTERNS = (
    "^a",
    "b$",
    "a.b",
    r"\d",
    r"^\w+$",
    "[^a]",
    "a|1",
    "^$",
    "(?i)AB",
    "a{1,2}b?",
    r"\s",
    "(?!a)b",
    "[a-c]+$",
    ".",
)

wholes = st.integers(-4, 6)
halves = st.integers(-20, 20).map(lambda n: n / 4)
instants = st.integers(0, 5).map(lambda h: datetime(2024, 1, 1, 12) + timedelta(hours=h, microseconds=h % 2))
days = st.integers(0, 5).map(lambda n: date(2024, 1, 1) + timedelta(days=n))
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "int64": wholes,
    "float64": halves | st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 1e300]),
    "bool": st.booleans(),
    "string": st.sampled_from(WORDS) | st.text(max_size=4),
    "timestamp[us, tz=UTC]": instants.map(lambda instant: instant.replace(tzinfo=UTC)),
    "timestamp[us]": instants,
    "date32": days,
}


@st.composite
def rows_of(draw: st.DrawFn) -> list[dict[str, Any]]:
    n_rows = draw(st.integers(0, 9))
    columns: dict[str, list[Any]] = {}
    for name, kind in COLUMNS.items():
        # Whole columns without nulls, with some, and all null are different types in pandas.
        nulls = draw(st.sampled_from(["none", "some", "some", "all"])) if name != "k" else "none"
        cell = st.none() if nulls == "all" else CELLS[kind] if nulls == "none" else st.none() | CELLS[kind]
        columns[name] = draw(st.lists(cell, min_size=n_rows, max_size=n_rows))
    return [{name: columns[name][row] for name in COLUMNS} for row in range(n_rows)]


def of(*names: str) -> st.SearchStrategy[str]:
    return st.sampled_from(names)


maybe_mostly = st.just(...) | st.just(...) | st.sampled_from([0, 0.3, 0.5, 0.9, 1])
flag = st.sampled_from([..., True, False])


@st.composite
def between(draw: st.DrawFn) -> dict[str, Any]:
    column = draw(of(*WHOLE, *HALVES, *TIMES, *DAYS))
    zoned = "Z" if COLUMNS[column].endswith("UTC]") else ""
    bound = {
        "int64": wholes | halves,
        "float64": wholes | halves,
        "date32": days.map(date.isoformat),
    }.get(COLUMNS[column], instants.map(lambda instant: instant.isoformat() + zoned))
    low, high = sorted([draw(bound), draw(bound)])
    side = draw(st.sampled_from(["both", "low", "high"]))
    found: dict[str, Any] = {"column": column}
    if side != "high":
        found["min_value"] = low
    if side != "low":
        found["max_value"] = high
    for name in ("strict_min", "strict_max"):
        if draw(st.booleans()):
            found[name] = draw(st.booleans())
    return found


@st.composite
def value_sets(draw: st.DrawFn) -> dict[str, Any]:
    column = draw(of(*WHOLE, *HALVES, *TEXTS, "b"))
    value = {"int64": wholes | halves, "float64": wholes | halves, "bool": st.booleans()}.get(
        COLUMNS[column], st.sampled_from(WORDS)
    )
    return {"column": column, "value_set": draw(st.lists(value, min_size=1, max_size=6))}


@st.composite
def pairs(draw: st.DrawFn, *, equal: bool) -> dict[str, Any]:
    kinds = [(*WHOLE, *HALVES), TEXTS, ("t", "v"), ("n", "m"), DAYS] + ([("b", "c")] if equal else [])
    names = draw(st.sampled_from(kinds))
    found: dict[str, Any] = {"column_A": draw(of(*names)), "column_B": draw(of(*names))}
    if draw(st.booleans()):
        found["ignore_row_if"] = draw(
            st.sampled_from(["both_values_are_missing", "either_value_is_missing", "neither"])
        )
    if not equal and draw(st.booleans()):
        found["or_equal"] = draw(st.booleans())
    return found


def limits(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    ends = st.tuples(values, values).map(sorted)
    sides = st.sampled_from([("min_value", "max_value"), ("min_value",), ("max_value",)])
    return st.tuples(ends, sides, flag, flag).map(
        lambda drawn: {
            **dict(zip(("min_value", "max_value"), drawn[0], strict=True)),
            "strict_min": drawn[2],
            "strict_max": drawn[3],
            **dict.fromkeys({"min_value", "max_value"} - set(drawn[1]), ...),
        }
    )


def merged(kind: str, *parts: st.SearchStrategy[dict[str, Any]], mostly: bool = True) -> st.SearchStrategy[Expectation]:
    share = maybe_mostly if mostly else st.just(...)
    return st.tuples(share, st.sampled_from(["critical", "warning", "info"]), *parts).map(
        lambda drawn: Expectation(
            kind,
            {k: v for part in ({"mostly": drawn[0]}, *drawn[2:]) for k, v in part.items() if v is not ...},
            drawn[1],
        )
    )


def column(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"column": of(*names)})


def given_as(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: values})


lengths = st.integers(0, 4)
patterns = st.sampled_from(PATTERNS)
shares = st.sampled_from([0, 0.05, 0.1, 0.25, 0.5, 0.7, 0.9, 1])
odd = st.integers(-9, 19).map(lambda n: n / 2 + 0.0371)
ROW_SUITE = [
    merged("expect_column_values_to_not_be_null", column(*COLUMNS)),
    merged("expect_column_values_to_be_null", column(*COLUMNS)),
    merged("expect_column_values_to_be_between", between()),
    merged("expect_column_values_to_be_between", between()),
    merged("expect_column_values_to_be_in_set", value_sets()),
    merged("expect_column_values_to_not_be_in_set", value_sets()),
    merged("expect_column_values_to_match_regex", column(*TEXTS), given_as("regex", patterns)),
    merged("expect_column_values_to_not_match_regex", column(*TEXTS), given_as("regex", patterns)),
    merged("expect_column_values_to_match_regex_list", column(*TEXTS),
           given_as("regex_list", st.lists(patterns, min_size=1, max_size=3)),
           given_as("match_on", st.sampled_from([..., "any", "all"]))),
    merged("expect_column_values_to_not_match_regex_list", column(*TEXTS),
           given_as("regex_list", st.lists(patterns, min_size=1, max_size=3))),
    merged("expect_column_value_lengths_to_be_between", column(*TEXTS), limits(lengths)),
    merged("expect_column_value_lengths_to_equal", column(*TEXTS), given_as("value", lengths)),
    merged("expect_column_pair_values_a_to_be_greater_than_b", pairs(equal=False)),
    merged("expect_column_pair_values_to_be_equal", pairs(equal=True)),
]  # fmt: skip
RUN_SUITE = [
    merged("expect_column_values_to_be_unique", column(*COLUMNS)),
    merged("expect_compound_columns_to_be_unique",
           given_as("column_list", st.lists(of("i", "s", "b", "f", "n"), min_size=2, max_size=3, unique=True)),
           given_as("ignore_row_if",
                    st.sampled_from([..., "all_values_are_missing", "any_value_is_missing", "never"]))),
    merged("expect_table_row_count_to_be_between", limits(st.integers(0, 9)), mostly=False),
    merged("expect_table_row_count_to_equal", given_as("value", st.integers(0, 9)), mostly=False),
    merged("expect_table_column_count_to_equal", given_as("value", st.integers(13, 16)), mostly=False),
    merged("expect_table_columns_to_match_set",
           given_as("column_set", st.just(list(COLUMNS)) | st.lists(of(*COLUMNS, "zz"), min_size=1, unique=True)),
           given_as("exact_match", flag), mostly=False),
    merged("expect_table_columns_to_match_ordered_list",
           given_as("column_list", st.just(list(COLUMNS)) | st.permutations(list(COLUMNS))), mostly=False),
    merged("expect_column_to_exist", column(*COLUMNS, "zz"),
           given_as("column_index", st.just(...) | st.integers(0, 16)), mostly=False),
    merged("expect_column_min_to_be_between", column(*WHOLE, *HALVES), limits(halves), mostly=False),
    merged("expect_column_max_to_be_between", column(*WHOLE, *HALVES), limits(halves), mostly=False),
    merged("expect_column_min_to_be_between", column("n", "m"),
           limits(instants.map(datetime.isoformat)), mostly=False),
    merged("expect_column_max_to_be_between", column("t", "v"),
           limits(instants.map(lambda i: i.isoformat() + "Z")), mostly=False),
    merged("expect_column_mean_to_be_between", column(*WHOLE, *HALVES), limits(odd), mostly=False),
    merged("expect_column_median_to_be_between", column(*WHOLE, *HALVES), limits(halves), mostly=False),
    merged("expect_column_sum_to_be_between", column(*WHOLE, *HALVES), limits(halves), mostly=False),
    merged("expect_column_stdev_to_be_between", column(*WHOLE, *HALVES), limits(odd), mostly=False),
    merged("expect_column_quantile_values_to_be_between", column(*WHOLE, *HALVES),
           given_as("quantile_ranges", st.lists(
               st.tuples(shares, st.tuples(halves, halves).map(sorted)), min_size=1, max_size=3,
           ).map(lambda drawn: {"quantiles": [q for q, _ in drawn], "value_ranges": [ends for _, ends in drawn]})),
           given_as("allow_relative_error", st.sampled_from([..., False, "linear", "lower", "higher", "midpoint"])),
           mostly=False),
    merged("expect_column_unique_value_count_to_be_between", column(*COLUMNS), limits(lengths), mostly=False),
    merged("expect_column_proportion_of_unique_values_to_be_between", column(*COLUMNS),
           limits(st.sampled_from([0, 0.25, 0.5, 1])), mostly=False),
    merged("expect_column_proportion_of_non_null_values_to_be_between", column(*COLUMNS),
           limits(st.sampled_from([0, 0.25, 0.5, 1])), mostly=False),
    merged("expect_column_distinct_values_to_be_in_set", value_sets(), mostly=False),
    merged("expect_column_distinct_values_to_contain_set", value_sets(), mostly=False),
    merged("expect_column_distinct_values_to_equal_set", value_sets(), mostly=False),
    merged("expect_column_most_common_value_to_be_in_set", value_sets(), given_as("ties_okay", flag), mostly=False),
]  # fmt: skip


def contract_of(expectations: tuple[Expectation, ...]) -> Contract:
    columns = tuple(Column(name, type_of(kind)) for name, kind in COLUMNS.items())
    return Contract("fuzz", 1, columns, ("k",), expectations)


def compare(rows: list[dict[str, Any]], expectations: tuple[Expectation, ...]) -> None:
    contract = contract_of(expectations)
    table = rows_to_table(rows, contract)
    checker = compile_contract(contract)
    verdict = checker.check(table)
    faults = verdict.faults.to_pydict()
    broken: dict[str, list[int]] = {}
    for row, rule in zip(faults["row"], faults["rule"], strict=True):
        broken.setdefault(rule, []).append(row)
    # Great Expectations judges every row, so does this comparison: nothing is in quarantine.
    results = {result.rule: result for result in checker.judge(checker.aggregate(table, Verdict.clean(table.num_rows)))}
    for theirs, rule in zip(validate_with_gx(contract, table), rule_ids(contract), strict=True):
        where = (theirs, rule, table.to_pydict())
        assert theirs.error is None, where
        if rule in results:
            assert results[rule].success == theirs.success, (results[rule], *where)
        else:
            assert broken.get(rule, []) == list(theirs.unexpected or ()), (broken.get(rule), *where)
            assert (rule not in broken) == theirs.success, where


def check_rows_alike(rows: list[dict[str, Any]], expectations: tuple[Expectation, ...]) -> None:
    contract = contract_of(expectations)
    checker = compile_contract(contract)
    table = rows_to_table(rows, contract)
    verdict = checker.check(table)
    faults = verdict.faults.to_pylist()
    for place, row in enumerate(rows):
        one = checker.check_row(row)
        expected = [
            (f["column"], f["rule"], f["expected"], f["value"], f["severity"]) for f in faults if f["row"] == place
        ]
        assert [(f.column, f.rule, f.expected, f.value, f.severity) for f in one] == expected
        assert bool(verdict.accepted[place]) == all(f.severity != "critical" for f in one)
        assert bool(verdict.flagged[place]) == any(f.severity != "critical" for f in one)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows_of(), st.tuples(*ROW_SUITE, *ROW_SUITE))
def test_rows_are_judged_as_great_expectations_judges_them(
    rows: list[dict[str, Any]], expectations: tuple[Expectation, ...]
) -> None:
    """Every row rule calls exactly those rows unexpected that Great Expectations lists."""
    compare(rows, expectations)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows_of(), st.tuples(*RUN_SUITE))
def test_runs_are_judged_as_great_expectations_judges_them(
    rows: list[dict[str, Any]], expectations: tuple[Expectation, ...]
) -> None:
    """Every run rule succeeds exactly where Great Expectations does."""
    compare(rows, expectations)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows_of(), st.tuples(*ROW_SUITE, *ROW_SUITE))
def test_one_row_is_judged_as_in_a_table(rows: list[dict[str, Any]], expectations: tuple[Expectation, ...]) -> None:
    """The single-row check lists the same faults, in the same order and words, as the table check."""
    check_rows_alike(rows, expectations)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows_of(), st.tuples(*ROW_SUITE, *ROW_SUITE, *RUN_SUITE))
def test_many_suites_are_judged_as_great_expectations_judges_them(
    rows: list[dict[str, Any]], expectations: tuple[Expectation, ...]
) -> None:
    """The same comparison, many times over."""
    compare(rows, expectations)


def test_every_supported_expectation_is_fuzzed() -> None:
    """No expectation compiles without having been compared."""
    fuzzed = _types(ROW_SUITE + RUN_SUITE)
    typed = {"expect_column_values_to_be_of_type", "expect_column_values_to_be_in_type_list"}
    alike = {"expect_table_column_count_to_be_between"}

    assert set(ROW_EXPECTATIONS) | set(RUN_EXPECTATIONS) == fuzzed | typed | alike


def _types(suite: list[st.SearchStrategy[Expectation]]) -> set[str]:
    found: set[str] = set()

    @settings(max_examples=1, database=None, deadline=None)
    @given(st.tuples(*suite))
    def collect(expectations: tuple[Expectation, ...]) -> None:
        found.update(expectation.type for expectation in expectations)

    collect()
    return found
