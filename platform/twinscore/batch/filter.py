"""Which rows of the input are scored: conditions on columns, over rows, over statistics and over folders.

A missing value, null or NaN, fulfils no comparison, `!=` and `not in` included; `is null` and `is not null` ask for it.
The form is that of pyarrow's `filters`: a list of conditions that must all hold, or a list of such lists, one of which
must hold (disjunctive normal form).
"""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from twinscore.contract.model import type_name
from twinscore.errors import SchemaMismatch, SettingsInvalid, near

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Bounds", "Condition", "Filter", "parse_filter"]

_COMPARISONS: dict[str, Callable[..., Any]] = {
    "==": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
}  # fmt: skip
_IN, _NULL = ("in", "not in"), ("is null", "is not null")
_OPERATORS = ("=", *_COMPARISONS, *_IN, *_NULL)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is known of a column in some rows before they are read."""

    low: Any = None
    high: Any = None
    """Smallest and largest value; None where that is not known."""
    nulls: bool = True
    """Whether some value may be missing."""
    values: bool = True
    """Whether some value may be there."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a column with a value, a list of values, or nothing."""

    column: str
    op: str
    value: Any = None

    def __str__(self) -> str:
        return f"{self.column} {self.op}" if self.op in _NULL else f"{self.column} {self.op} {_shown(self.value)}"

    def typed(self, kind: pa.DataType) -> Condition:
        """Return the condition with its values as the column's type has them.

        Raises:
            SchemaMismatch: a value is of another type, or the type has no order.
        """
        if self.op in _NULL:
            return self
        if pa.types.is_boolean(kind) and self.op in {"<", "<=", ">", ">="}:
            message = f"The filter {self} asks for an order, which column {self.column!r} (bool) has not. Use = or in."
            raise SchemaMismatch(message, column=self.column)
        if self.op in _IN:
            return replace(self, value=tuple(self._as(kind, one) for one in self.value))
        return replace(self, value=self._as(kind, self.value))

    def holds(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return for each value whether the condition holds: bool (n_rows,), without nulls."""
        missing = pc.is_null(column, nan_is_null=True)
        if self.op in _NULL:
            return missing if self.op == "is null" else pc.invert(missing)
        if self.op in _IN:
            # Adding zero makes -0.0 and 0.0 the one value that they are.
            column = pc.add(column, 0.0) if pa.types.is_floating(column.type) else column
            held = pc.is_in(column, value_set=pa.array(self.value, column.type))
            held = held if self.op == "in" else pc.invert(held)
        else:
            held = _COMPARISONS[self.op](column, pa.scalar(self.value, column.type))
        return pc.fill_null(pc.and_(held, pc.invert(missing)), False)

    def may_hold(self, bounds: Bounds) -> bool:
        """Tell whether a row within the bounds can fulfil the condition; True when in doubt."""
        if self.op == "is null":
            return bounds.nulls
        if not bounds.values:
            return False
        if self.op == "is not null" or bounds.low is None or bounds.high is None:
            return True
        low, high, value = bounds.low, bounds.high, self.value
        one = low == high
        answers: dict[str, Callable[[], bool]] = {
            "==": lambda: low <= value <= high,
            "!=": lambda: not (one and low == value),
            "<": lambda: low < value,
            "<=": lambda: low <= value,
            ">": lambda: high > value,
            ">=": lambda: high >= value,
            "in": lambda: any(low <= item <= high for item in value),
            "not in": lambda: not (one and low in value),
        }
        return answers[self.op]()

    def _as(self, kind: pa.DataType, value: Any) -> Any:
        typed = _typed(kind, value)
        if typed is None:
            quotes = " Put it in quotes." if pa.types.is_string(kind) else ""
            message = (
                f"The filter {self} compares column {self.column!r} ({type_name(kind)}) with "
                f"{_shown(value)}, which is {type(value).__name__}.{quotes}"
            )
            raise SchemaMismatch(message, column=self.column)
        return typed


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions in disjunctive normal form: in one of the lists all must hold."""

    any_of: tuple[tuple[Condition, ...], ...]

    def __str__(self) -> str:
        parts = [" and ".join(str(one) for one in every) for every in self.any_of]
        return parts[0] if len(parts) == 1 else " or ".join(f"({part})" for part in parts)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that it speaks of, each once, in order."""
        return tuple(dict.fromkeys(one.column for every in self.any_of for one in every))

    def typed(self, types: Mapping[str, pa.DataType]) -> Filter:
        """Return the filter with values of the columns' types; see `Condition.typed`."""
        return Filter(tuple(tuple(one.typed(types[one.column]) for one in every) for every in self.any_of))

    def mask(self, table: pa.Table) -> pa.ChunkedArray:
        """Return which rows fulfil it: bool (n_rows,), without nulls."""
        found = None
        for every in self.any_of:
            held = None
            for one in every:
                answer = one.holds(table.column(one.column))
                held = answer if held is None else pc.and_(held, answer)
            found = held if found is None else pc.or_(found, held)
        return found

    def may_hold(self, bounds: Callable[[str], Bounds]) -> bool:
        """Tell whether rows can fulfil it of which `bounds` says what is known, by column."""
        return any(all(one.may_hold(bounds(one.column)) for one in every) for every in self.any_of)

    def to_plain(self) -> list[list[list[Any]]]:
        """Return the filter as JSON can hold it."""
        return [
            [[one.column, one.op] if one.op in _NULL else [one.column, one.op, _plain(one.value)] for one in every]
            for every in self.any_of
        ]


def parse_filter(given: object, *, source: str = "The spec") -> Filter:
    """Return the filter that a list of conditions, or a list of such lists, writes.

    Raises:
        SettingsInvalid: it is no such list, an operator is unknown, or a value cannot be compared.

    >>> str(parse_filter([["country", "in", ["DE", "FR"]], ["amount", ">", 100]]))
    "country in ['DE', 'FR'] and amount > 100"
    """
    if isinstance(given, Filter):
        return given
    if not isinstance(given, list | tuple) or not given:
        raise _wrong(source, "filter", "a list of conditions such as [country, in, [DE, FR]]", given)
    # One list deeper there are the alternatives of a disjunctive normal form.
    nested = all(_listed(item) and all(_listed(inner) for inner in item) for item in given)
    groups = given if nested else [given]
    return Filter(tuple(tuple(_condition(one, source) for one in every) for every in groups))


def _listed(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0


def _condition(given: Any, source: str) -> Condition:
    if not _listed(given) or len(given) not in (2, 3) or not all(isinstance(text, str) for text in given[:2]):
        raise _wrong(source, "filter", "conditions of column, operator and value", given)
    column, op = given[0], " ".join(given[1].lower().split())
    if op not in _OPERATORS:
        message = f"{source} has filter: {_shown(given)} with the operator {given[1]!r}. {near(op, _OPERATORS)}"
        raise SettingsInvalid(message, operator=given[1])
    if len(given) != (2 if op in _NULL else 3):
        wanted = "no value, as in [income, is null]" if op in _NULL else "a value, as in [amount, '>', 100]"
        raise _wrong(source, "filter", wanted, given)
    values = tuple(given[2:])
    if op in _IN:
        if not _listed(given[2]):
            raise _wrong(source, "filter", f"a list of values after {op!r}", given)
        values = tuple(given[2])
    for one in values:
        if one is None or (isinstance(one, float) and not math.isfinite(one)):
            raise _wrong(source, "filter", "values that are not missing; write [column, is null] for those", given)
        if not isinstance(one, str | int | float | dt.date):
            raise _wrong(source, "filter", "values that are text, numbers, true, false, dates or times", given)
    value = values if op in _IN else values[0] if values else None
    return Condition(column, "==" if op == "=" else op, value)


def _typed(kind: pa.DataType, value: Any) -> Any:
    """Return a value as the contract's type holds it, or None when it is of another."""
    types = pa.types
    if isinstance(value, bool) or types.is_boolean(kind):
        return value if isinstance(value, bool) and types.is_boolean(kind) else None
    if types.is_floating(kind):
        return float(value) if isinstance(value, int | float) else None
    if types.is_integer(kind):
        return value if isinstance(value, int) and -(2**63) <= value < 2**63 else None
    if types.is_string(kind):
        return value if isinstance(value, str) else None
    try:
        if types.is_date(kind):
            value = dt.date.fromisoformat(value) if isinstance(value, str) else value
            return value if isinstance(value, dt.date) and not isinstance(value, dt.datetime) else None
        value = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        # A day is its first moment: in UTC where the column is in UTC.
        value = dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC if kind.tz else None)
    if not isinstance(value, dt.datetime) or (value.tzinfo is None) != (kind.tz is None):
        return None
    return value.astimezone(dt.UTC) if kind.tz else value


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, dt.date) else value


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_shown(one) for one in value)}]"
    return value.isoformat() if isinstance(value, dt.date) else repr(value)


def _wrong(source: str, name: str, expected: str, got: object) -> SettingsInvalid:
    text = _shown(got) if isinstance(got, list | tuple) else json.dumps(got, default=str)
    return SettingsInvalid(f"{source} has {name}: {text}, which must be {expected}.", source=source, key=name)
