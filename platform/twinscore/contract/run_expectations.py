"""The expectations that decide runs: one builder each, from arguments to a run rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.contract.row_expectations import value_set
from twinscore.contract.run_rules import Columns, Limits, RowCount, RunRule, Unique
from twinscore.contract.statistic_rules import MostCommon, Quantiles, Statistic, ValuesSeen

if TYPE_CHECKING:
    from collections.abc import Callable

    from twinscore.contract.arguments import Arguments

__all__ = ["RUN_EXPECTATIONS"]

_METHODS = ("nearest", "linear", "lower", "higher", "midpoint")
_IGNORE = ("all_values_are_missing", "any_value_is_missing", "never")
_ANY_KIND = ("number", "string", "bool", "timestamp", "date")


def _statistic(name: str, *kinds: str) -> Callable[[Arguments], RunRule]:
    def build(args: Arguments) -> RunRule:
        column = args.column(kinds=kinds)
        limits = Limits(**args.bounds(column if name in ("min", "max") else None))
        return Statistic(args.id, column, args.severity, name=name, limits=limits)

    return build


def _values_seen(args: Arguments, *, within: bool, covering: bool) -> RunRule:
    column = args.column(kinds=("number", "string", "bool"))
    values = value_set(args, column)
    return ValuesSeen(args.id, column, args.severity, values=values, within=within, covering=covering)


def _most_common(args: Arguments) -> RunRule:
    column = args.column(kinds=("number", "string", "bool"))
    return MostCommon(args.id, column, args.severity, values=value_set(args, column), ties=args.flag("ties_okay"))


def _quantiles(args: Arguments) -> RunRule:
    column = args.column(kinds=("number",))
    found = args.value("quantile_ranges")
    if not isinstance(found, dict) or set(found) != {"quantiles", "value_ranges"}:
        message = "quantile_ranges must map 'quantiles' and 'value_ranges' to lists"
        raise args.fault(message)
    shares, ends = found["quantiles"], found["value_ranges"]
    if not isinstance(shares, list) or not isinstance(ends, list) or len(shares) != len(ends) or not shares:
        message = "quantiles and value_ranges must be lists of the same length, of at least one"
        raise args.fault(message)
    ranges = [_quantile_range(args, share, end) for share, end in zip(shares, ends, strict=True)]
    method = args.value("allow_relative_error", default=False)
    if method not in (False, *_METHODS):
        message = f"allow_relative_error must be false or one of {', '.join(_METHODS)}, not {method!r}"
        raise args.fault(message)
    return Quantiles(args.id, column, args.severity, ranges=ranges, method=method or "nearest")


def _quantile_range(args: Arguments, share: Any, ends: Any) -> tuple[float, Any, Any]:
    numbers: list[Any] = (
        [end for end in ends if end is not None] if isinstance(ends, list) and len(ends) == 2 else [None]
    )
    if not _is_number(share) or not 0 <= share <= 1 or not all(_is_number(end) for end in numbers):
        message = f"the quantile {share!r} with range {ends!r} must be a share of 0 to 1 and two numbers or nulls"
        raise args.fault(message)
    if numbers != sorted(numbers):
        message = f"the range {ends!r} of quantile {share} is not in order"
        raise args.fault(message)
    return float(share), ends[0], ends[1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _limits_whole(args: Arguments) -> Limits:
    low, high = args.number("min_value", whole=True), args.number("max_value", whole=True)
    if low is None and high is None:
        message = "min_value and max_value cannot both be absent"
        raise args.fault(message)
    if low is not None and high is not None and low > high:
        message = f"min_value {low} is greater than max_value {high}"
        raise args.fault(message)
    return Limits(low, high, args.flag("strict_min"), args.flag("strict_max"))


def _exactly(args: Arguments) -> Limits:
    value = args.number("value", whole=True)
    if value is None:
        message = "the argument 'value' is missing"
        raise args.fault(message)
    return Limits(value, value)


def _column_count(args: Arguments) -> RunRule:
    low, high = args.number("min_value", whole=True), args.number("max_value", whole=True)
    if low is None and high is None:
        message = "min_value and max_value cannot both be absent"
        raise args.fault(message)
    return RowCount(args.id, args.severity, Limits(low, high), of_columns=True)


def _names(args: Arguments, name: str) -> list[str]:
    names = args.items(name)
    if not all(isinstance(item, str) for item in names):
        message = f"{name} must be a list of column names"
        raise args.fault(message)
    return names


def _match_set(args: Arguments) -> RunRule:
    wanted = frozenset(_names(args, "column_set"))
    exact = args.value("exact_match", default=True)
    if not isinstance(exact, bool):
        message = f"exact_match must be true or false, not {exact!r}"
        raise args.fault(message)
    expected = f"{'exactly' if exact else 'at least'} the columns {', '.join(sorted(wanted))}"
    return Columns(
        args.id, args.severity, expected, lambda names: set(names) == wanted if exact else wanted <= set(names)
    )


def _match_list(args: Arguments) -> RunRule:
    wanted = tuple(_names(args, "column_list"))
    return Columns(
        args.id, args.severity, f"the columns {', '.join(wanted)} in this order", lambda names: names == wanted
    )


def _exists(args: Arguments) -> RunRule:
    name = args.value("column")
    place = args.number("column_index", whole=True)
    if not isinstance(name, str):
        message = f"column must be a column name, not {name!r}"
        raise args.fault(message)
    if not place:
        # Great Expectations reads the index 0 as no index at all.
        return Columns(args.id, args.severity, f"a column {name}", lambda names: name in names)
    at = int(place)
    expected = f"a column {name} at place {at}"
    return Columns(args.id, args.severity, expected, lambda names: -len(names) <= at < len(names) and names[at] == name)


def _unique(args: Arguments) -> RunRule:
    column = args.column()
    return Unique(args.id, (column.name,), args.severity, ignore="any_value_is_missing", share=_share(args))


def _compound(args: Arguments) -> RunRule:
    names = _names(args, "column_list")
    known = {column.name for column in args.contract.columns}
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) != len(names) or len(names) < 2:
        message = f"column_list must name two or more columns of the contract, each once, not {names}"
        raise args.fault(message)
    ignore = args.choice("ignore_row_if", _IGNORE)
    return Unique(args.id, names, args.severity, ignore=ignore, share=_share(args))


def _share(args: Arguments) -> float | None:
    if not args.has("mostly"):
        return None
    mostly = args.number("mostly")
    if mostly is not None and not 0 <= mostly <= 1:
        message = f"mostly must be a share from 0 to 1, not {mostly}"
        raise args.fault(message)
    return 1.0 if mostly is None else float(mostly)


RUN_EXPECTATIONS: dict[str, Callable[[Arguments], RunRule]] = {
    "expect_table_row_count_to_be_between": lambda args: RowCount(args.id, args.severity, _limits_whole(args)),
    "expect_table_row_count_to_equal": lambda args: RowCount(args.id, args.severity, _exactly(args)),
    "expect_table_column_count_to_be_between": _column_count,
    "expect_table_column_count_to_equal": lambda args: RowCount(
        args.id, args.severity, _exactly(args), of_columns=True
    ),
    "expect_table_columns_to_match_set": _match_set,
    "expect_table_columns_to_match_ordered_list": _match_list,
    "expect_column_to_exist": _exists,
    "expect_column_values_to_be_unique": _unique,
    "expect_compound_columns_to_be_unique": _compound,
    "expect_column_min_to_be_between": _statistic("min", "number", "timestamp", "date"),
    "expect_column_max_to_be_between": _statistic("max", "number", "timestamp", "date"),
    "expect_column_mean_to_be_between": _statistic("mean", "number"),
    "expect_column_median_to_be_between": _statistic("median", "number"),
    "expect_column_sum_to_be_between": _statistic("sum", "number"),
    "expect_column_stdev_to_be_between": _statistic("stdev", "number"),
    "expect_column_quantile_values_to_be_between": _quantiles,
    "expect_column_unique_value_count_to_be_between": _statistic("unique_count", *_ANY_KIND),
    "expect_column_proportion_of_unique_values_to_be_between": _statistic("unique_proportion", *_ANY_KIND),
    "expect_column_proportion_of_non_null_values_to_be_between": _statistic("non_null_proportion", *_ANY_KIND),
    "expect_column_distinct_values_to_be_in_set": lambda args: _values_seen(args, within=True, covering=False),
    "expect_column_distinct_values_to_contain_set": lambda args: _values_seen(args, within=False, covering=True),
    "expect_column_distinct_values_to_equal_set": lambda args: _values_seen(args, within=True, covering=True),
    "expect_column_most_common_value_to_be_in_set": _most_common,
}
"""Builders by expectation type."""
