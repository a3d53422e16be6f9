"""The expectations that decide rows: one builder each, from arguments to a rule.

Every builder accepts exactly what Great Expectations answers without an error, and refuses the rest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from twinscore.contract.arguments import kind_of
from twinscore.contract.model import type_name
from twinscore.contract.pair_rules import Ignore, Pair, PairTest
from twinscore.contract.rules import Between, InSet, Null, Present, Rule
from twinscore.contract.text_rules import Length, Matches, Pattern
from twinscore.errors import near

if TYPE_CHECKING:
    from collections.abc import Callable

    from twinscore.contract.arguments import Arguments
    from twinscore.contract.model import Column

__all__ = ["ROW_EXPECTATIONS", "value_set"]

_IGNORE = ("both_values_are_missing", "either_value_is_missing", "neither")

_TYPE_WORDS = {
    "int64": ("int64", "int"),
    "float64": ("float64", "float"),
    "bool": ("bool",),
    "string": ("str",),
    "timestamp[us]": ("datetime64", "datetime64[us]"),
    "timestamp[us, tz=UTC]": ("Timestamp",),
    "date32": ("date",),
}
"""What `expect_column_values_to_be_of_type` calls each column type on pandas."""

_LISTED_TYPE_WORDS = {**_TYPE_WORDS, "string": (), "timestamp[us]": ("datetime64[us]",), "timestamp[us, tz=UTC]": ()}
"""The same for `expect_column_values_to_be_in_type_list`, which finds fewer of them."""


def _present(args: Arguments) -> Rule:
    return Present(args.id, (args.column().name,), "not null", args.severity)


def _null(args: Arguments) -> Rule:
    return Null(args.id, (args.column().name,), "null", args.severity)


def _between(args: Arguments) -> Rule:
    column = args.column(kinds=("number", "timestamp", "date"))
    return Between(args.id, column, args.severity, **args.bounds(column))


def _in_set(args: Arguments, *, inside: bool) -> Rule:
    column = args.column(kinds=("number", "string", "bool"))
    return InSet(args.id, column, args.severity, value_set=value_set(args, column), inside=inside)


def value_set(args: Arguments, column: Column) -> list[Any]:
    """Return `value_set`, every value of the column's own kind; nulls, which no rule sees, are left out."""
    values = [value for value in args.items("value_set") if value is not None]
    for value in values:
        found = {bool: "bool", int: "number", float: "number", str: "string"}.get(type(value))
        if found != kind_of(column):
            message = f"value_set holds {value!r}, which column {column.name!r} ({type_name(column.type)}) never does"
            raise args.fault(message)
    return values


def _matches(args: Arguments, *, wanted: str) -> Rule:
    column = args.column(kinds=("string",))
    return Matches(args.id, column, args.severity, patterns=[_pattern(args, args.value("regex"))], wanted=wanted)


def _matches_list(args: Arguments) -> Rule:
    column = args.column(kinds=("string",))
    patterns = [_pattern(args, text) for text in args.items("regex_list")]
    wanted = args.choice("match_on", ("any", "all"))
    return Matches(args.id, column, args.severity, patterns=patterns, wanted=wanted)


def _matches_none(args: Arguments) -> Rule:
    column = args.column(kinds=("string",))
    patterns = [_pattern(args, text) for text in args.items("regex_list")]
    return Matches(args.id, column, args.severity, patterns=patterns, wanted="none")


def _pattern(args: Arguments, text: Any) -> Pattern:
    if not isinstance(text, str):
        message = f"a regular expression must be text, not {text!r}"
        raise args.fault(message)
    try:
        return Pattern(text)
    except (re.error, RecursionError, OverflowError) as exc:
        message = f"the regular expression {text!r} does not compile: {exc}"
        raise args.fault(message) from exc


def _length_between(args: Arguments) -> Rule:
    column = args.column(kinds=("string",))
    low, high = (cast("int | None", args.number(name, whole=True)) for name in ("min_value", "max_value"))
    if low is None and high is None:
        message = "min_value and max_value cannot both be absent"
        raise args.fault(message)
    above, below = args.flag("strict_min"), args.flag("strict_max")
    low = None if low is None else low + above
    high = None if high is None else high - below
    return Length(args.id, column, args.severity, low=low, high=high)


def _length_equal(args: Arguments) -> Rule:
    column = args.column(kinds=("string",))
    length = cast("int | None", args.number("value", whole=True))
    if length is None:
        message = "the argument 'value' is missing"
        raise args.fault(message)
    return Length(args.id, column, args.severity, low=length, high=length)


def _pair(args: Arguments, *, equal: bool) -> Rule:
    first, second = args.column("column_A"), args.column("column_B")
    if kind_of(first) != kind_of(second) or (kind_of(first) != "number" and first.type != second.type):
        message = (
            f"{first.name!r} is {type_name(first.type)} and {second.name!r} is {type_name(second.type)}: not comparable"
        )
        raise args.fault(message)
    if not equal and kind_of(first) == "bool":
        message = "true and false have no order"
        raise args.fault(message)
    test: PairTest = "equal" if equal else "greater_equal" if args.flag("or_equal") else "greater"
    ignore = cast("Ignore", args.choice("ignore_row_if", _IGNORE))
    return Pair(args.id, (first.name, second.name), args.severity, test=test, ignore=ignore)


def _typed(args: Arguments, *, listed: bool) -> None:
    column = args.column()
    wanted = args.items("type_list") if listed else [args.value("type_")]
    words = _LISTED_TYPE_WORDS if listed else _TYPE_WORDS
    known = [word for names in words.values() for word in names]
    for word in wanted:
        if word not in known:
            message = f"the type {word!r} is not known. {near(str(word), known)}"
            raise args.fault(message)
    if not set(wanted) & set(words[type_name(column.type)]):
        message = f"column {column.name!r} is {type_name(column.type)} and never {' or '.join(wanted)}"
        raise args.fault(message)


ROW_EXPECTATIONS: dict[str, Callable[[Arguments], Rule | None]] = {
    "expect_column_values_to_not_be_null": _present,
    "expect_column_values_to_be_null": _null,
    "expect_column_values_to_be_of_type": lambda args: _typed(args, listed=False),
    "expect_column_values_to_be_in_type_list": lambda args: _typed(args, listed=True),
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": lambda args: _in_set(args, inside=True),
    "expect_column_values_to_not_be_in_set": lambda args: _in_set(args, inside=False),
    "expect_column_values_to_match_regex": lambda args: _matches(args, wanted="any"),
    "expect_column_values_to_not_match_regex": lambda args: _matches(args, wanted="none"),
    "expect_column_values_to_match_regex_list": _matches_list,
    "expect_column_values_to_not_match_regex_list": _matches_none,
    "expect_column_value_lengths_to_be_between": _length_between,
    "expect_column_value_lengths_to_equal": _length_equal,
    "expect_column_pair_values_a_to_be_greater_than_b": lambda args: _pair(args, equal=False),
    "expect_column_pair_values_to_be_equal": lambda args: _pair(args, equal=True),
}
"""Builders by expectation type; None means that the schema itself already keeps the expectation."""
