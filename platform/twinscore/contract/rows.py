"""JSON rows to typed rows and Arrow, and back with the same bits; knows nothing of HTTP or of expectations.

Nothing is coerced in silence: true is not 1, 3.0 is not a whole number, and a column that is
absent is a fault even where null is allowed. A whole number is accepted where a float64 is wanted,
because JSON writers drop the ".0", as long as the float64 is exactly that number.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from twinscore.contract.model import type_name
from twinscore.contract.rules import WHOLE_MAX
from twinscore.contract.show import show, stamp
from twinscore.contract.verdict import Fault, pointer
from twinscore.errors import near

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twinscore.contract.model import Contract

__all__ = [
    "CELL_DECODERS",
    "OUT_OF_RANGE",
    "WITHIN_YEARS",
    "RowDecoder",
    "UnfitCellError",
    "decode_rows",
    "rows_to_table",
    "table_to_rows",
]

MOST_HINTS = 100
"""Faults up to which an unknown column is told its nearest name."""

_TYPE, OUT_OF_RANGE = "type", "out_of_range"
WITHIN_YEARS = "a time within the years 1 to 9999"
"""What is expected of every time, in UTC; it is what JSON and Python can say."""
_NO_SURROGATES = "string: text without lone surrogates"
_EXACT_WHOLE = f"a whole number within +-{WHOLE_MAX} (2**53), which float64 holds exactly"
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:[Zz]|[+-]\d\d:\d\d)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")

_WANTED = {
    "int64": "int64: a whole number",
    "float64": "float64: a number",
    "bool": "bool: true or false",
    "string": "string: text",
    "timestamp[us, tz=UTC]": "timestamp[us, tz=UTC]: RFC 3339 text with an offset, such as 2024-01-31T12:00:00Z",
    "timestamp[us]": "timestamp[us]: text without an offset, such as 2024-01-31T12:00:00",
    "date32": "date32: text such as 2024-01-31",
}


class UnfitCellError(Exception):
    """A value is of the wrong type, or out of the range of its column."""

    def __init__(self, rule: str, expected: str = "") -> None:
        super().__init__(rule, expected)
        self.rule = rule
        self.expected = expected


class _Decode(Protocol):
    def __call__(self, value: Any) -> object: ...


class RowDecoder:
    """Turns JSON objects into rows of typed Python values; made once per contract."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._types = {column.name: type_name(column.type) for column in contract.columns}
        self._plan = [(name, _EXACT.get(kind), CELL_DECODERS[kind]) for name, kind in self._types.items()]

    def decode(
        self, instances: Sequence[object], *, at: str = "/instances"
    ) -> tuple[list[dict[str, Any]], list[Fault]]:
        """Return one typed row per instance, in order, and every fault; a faulty cell is None in its row."""
        rows: list[dict[str, Any]] = []
        faults: list[Fault] = []
        for index, instance in enumerate(instances):
            row: dict[str, Any] = {}
            try:
                for name, exact, decode in self._plan:
                    value = instance[name]  # type: ignore[index]
                    row[name] = value if value is None or type(value) is exact else decode(value)
                clean = type(instance) is dict and len(instance) == len(row)
            except (KeyError, TypeError, IndexError, UnfitCellError):
                clean = False
            if not clean:
                row = self._slowly(instance, f"{at}/{index}" if at else "", faults)
            rows.append(row)
        return rows, faults

    def _slowly(self, instance: object, at: str, faults: list[Fault]) -> dict[str, Any]:
        if not isinstance(instance, dict):
            faults.append(Fault(at, None, "not_an_object", "an object of column names and values", show(instance),
                                "critical"))  # fmt: skip
            return dict.fromkeys(self._types)
        row: dict[str, Any] = dict.fromkeys(self._types)
        for name, exact, decode in self._plan:
            wanted = _WANTED[self._types[name]]
            if name not in instance:
                faults.append(Fault(pointer(at, name), name, "missing_column", wanted, "absent", "critical"))
                continue
            value = instance[name]
            try:
                row[name] = value if value is None or type(value) is exact else decode(value)
            except UnfitCellError as unfit:
                faults.append(Fault(pointer(at, name), name, unfit.rule, unfit.expected or wanted, show(value),
                                    "critical"))  # fmt: skip
        for name in instance:
            if name not in self._types:
                shown = show(name)
                # The nearest name costs some time, and nobody reads the hundredth hint.
                hint = f". {near(shown, self._types)}" if len(faults) < MOST_HINTS else ""
                expected = f"a column of the contract{hint}"
                faults.append(Fault(pointer(at, shown), None, "unknown_column", expected, shown, "critical"))
        return row


def decode_rows(
    instances: Sequence[object], contract: Contract, *, at: str = "/instances"
) -> tuple[list[dict[str, object]], list[Fault]]:
    """Return one typed row per JSON object, in order, and every fault of every row.

    Args:
        at: JSON pointer of the list; empty when the document is itself the one object, so that
            faults read `/age` instead of `/instances/0/age`.

    Rules of faults: `not_an_object`, `missing_column`, `unknown_column`, `type`, `out_of_range`.
    A row with a fault is not to be used; its faulty cells are None.
    """
    return RowDecoder(contract).decode(instances, at=at)


def rows_to_table(rows: Sequence[Mapping[str, Any]], contract: Contract) -> pa.Table:
    """Return typed rows as a conformed table: (len(rows), contract.columns)."""
    columns = [pa.array([row[column.name] for row in rows], column.type) for column in contract.columns]
    return pa.table(columns, schema=contract.schema) if columns else pa.table({})


def table_to_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows that JSON can hold and `decode_rows` reads back to the same bits; NaN becomes null."""
    columns: dict[str, list[Any]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.to_pylist()
        if pa.types.is_timestamp(column.type):
            values = [None if value is None else stamp(value) for value in values]
        elif pa.types.is_date32(column.type):
            values = [None if value is None else value.isoformat() for value in values]
        elif pa.types.is_floating(column.type):
            values = [None if value != value else value for value in values]
        columns[name] = values
    names = list(columns)
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _whole(value: object) -> int:
    if type(value) is not int:
        raise UnfitCellError(_TYPE)
    if not -(2**63) <= value < 2**63:
        raise UnfitCellError(OUT_OF_RANGE, "within +-2**63")
    return value


def _number(value: object) -> float:
    if type(value) is float:
        return value
    if type(value) is not int:
        raise UnfitCellError(_TYPE)
    if not -WHOLE_MAX <= value <= WHOLE_MAX:
        raise UnfitCellError(OUT_OF_RANGE, _EXACT_WHOLE)
    return float(value)


def _truth(value: object) -> bool:
    if type(value) is not bool:
        raise UnfitCellError(_TYPE)
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise UnfitCellError(_TYPE)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UnfitCellError(_TYPE, _NO_SURROGATES) from None
    return value


def _instant(value: object, *, zoned: bool) -> datetime:
    found: object = value
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        try:
            found = datetime.fromisoformat(value.upper())
        except ValueError:
            raise UnfitCellError(_TYPE) from None
    if not isinstance(found, datetime) or (found.tzinfo is not None) is not zoned:
        raise UnfitCellError(_TYPE)
    try:
        return found.astimezone(UTC) if zoned else found
    except OverflowError:
        raise UnfitCellError(OUT_OF_RANGE, WITHIN_YEARS) from None


def _day(value: object) -> date:
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise UnfitCellError(_TYPE) from None
    if type(value) is not date:
        raise UnfitCellError(_TYPE)
    return value


_EXACT: dict[str, type] = {"float64": float, "bool": bool}
"""Types of values that are taken as they are, without a call."""

CELL_DECODERS: dict[str, _Decode] = {
    "int64": _whole,
    "float64": _number,
    "bool": _truth,
    "string": _text,
    "timestamp[us, tz=UTC]": lambda value: _instant(value, zoned=True),
    "timestamp[us]": lambda value: _instant(value, zoned=False),
    "date32": _day,
}
"""How one JSON value becomes a value of a column type, by the name of the type; raises `UnfitCellError`."""
