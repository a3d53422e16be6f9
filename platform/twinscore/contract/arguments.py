"""Read the arguments of one expectation, with a message for each that is missing, unknown or of a wrong kind.

Knows the columns of the contract; knows nothing of what the arguments are for.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinscore.contract.model import type_name
from twinscore.errors import ContractInvalid, near

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.contract.model import Column, Contract, Expectation

__all__ = ["Arguments", "kind_of"]

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def kind_of(column: Column) -> str:
    """Return what a column holds: number, bool, string, timestamp or date."""
    arrow = column.type
    if pa.types.is_integer(arrow) or pa.types.is_floating(arrow):
        return "number"
    return "date" if pa.types.is_date32(arrow) else type_name(arrow).split("[")[0]


class Arguments:
    """The keyword arguments of one expectation, read once each; `close` refuses what nobody read."""

    def __init__(self, contract: Contract, expectation: Expectation, rule_id: str) -> None:
        self.contract = contract
        self.expectation = expectation
        self.id = rule_id
        self.severity = expectation.severity
        self._read: set[str] = set()

    def fault(self, text: str) -> ContractInvalid:
        """Return the error for something that is wrong with this expectation."""
        return ContractInvalid(f"{self.id}: {text}", expectation=self.id)

    def has(self, name: str) -> bool:
        """Say whether the argument is written."""
        return name in self.expectation.kwargs

    def value(self, name: str, *, default: Any = ...) -> Any:
        """Return an argument as it is written; without a default it must be there."""
        self._read.add(name)
        if name in self.expectation.kwargs:
            return self.expectation.kwargs[name]
        if default is ...:
            message = f"the argument {name!r} is missing"
            raise self.fault(message)
        return default

    def close(self) -> None:
        """Refuse arguments that nobody read, because an ignored argument is a rule that does not hold."""
        for name in self.expectation.kwargs:
            if name not in self._read:
                message = f"the argument {name!r} is not supported. {near(name, self._read)}"
                raise self.fault(message)

    def column(self, name: str = "column", *, kinds: Sequence[str] = ()) -> Column:
        """Return the contract's column that an argument names; it must hold one of `kinds`."""
        found = self.value(name)
        if not isinstance(found, str):
            message = f"{name} must be a column name, not {type(found).__name__}"
            raise self.fault(message)
        known = {column.name: column for column in self.contract.columns}
        if found not in known:
            message = f"the contract has no column {found!r}. {near(found, known)}"
            raise self.fault(message)
        column = known[found]
        if kinds and kind_of(column) not in kinds:
            message = f"column {found!r} is {type_name(column.type)}; this expectation speaks of {' or '.join(kinds)}"
            raise self.fault(message)
        return column

    def flag(self, name: str) -> bool:
        """Return a true-or-false argument; absent or null is false."""
        found = self.value(name, default=None)
        if found is not None and not isinstance(found, bool):
            message = f"{name} must be true or false, not {found!r}"
            raise self.fault(message)
        return bool(found)

    def number(self, name: str, *, whole: bool = False) -> float | int | None:
        """Return a finite number, or None when it is absent or null."""
        found = self.value(name, default=None)
        if found is None:
            return None
        kinds = int if whole else (int, float)
        if isinstance(found, bool) or not isinstance(found, kinds) or not math.isfinite(found):
            message = f"{name} must be a {'whole' if whole else 'finite'} number, not {found!r}"
            raise self.fault(message)
        return found

    def items(self, name: str) -> list[Any]:
        """Return a list that holds at least one thing."""
        found = self.value(name)
        if not isinstance(found, list | tuple) or not found:
            message = f"{name} must be a list of at least one value"
            raise self.fault(message)
        return list(found)

    def choice(self, name: str, options: Sequence[str]) -> str:
        """Return one of `options`; absent means the first."""
        found = self.value(name, default=options[0])
        if found not in options:
            message = f"{name} must be one of {', '.join(options)}, not {found!r}"
            raise self.fault(message)
        return str(found)

    def bounds(self, column: Column | None = None) -> dict[str, Any]:
        """Return `low`, `high`, `above`, `below` from min_value, max_value, strict_min, strict_max.

        Bounds are numbers, or of the kind of `column`; at least one is there, and they are in order.
        """
        low, high = (self._bound(name, column) for name in ("min_value", "max_value"))
        if low is None and high is None:
            message = "min_value and max_value cannot both be absent"
            raise self.fault(message)
        if low is not None and high is not None and low > high:
            message = f"min_value {low} is greater than max_value {high}"
            raise self.fault(message)
        return {"low": low, "high": high, "above": self.flag("strict_min"), "below": self.flag("strict_max")}

    def _bound(self, name: str, column: Column | None) -> Any:
        kind = "number" if column is None else kind_of(column)
        if kind == "number":
            return self.number(name)
        found = self.value(name, default=None)
        if found is None:
            return None
        wanted = _DAY if kind == "date" else _INSTANT
        if isinstance(found, str) and wanted.fullmatch(found):
            try:
                bound = date.fromisoformat(found) if kind == "date" else datetime.fromisoformat(found)
            except ValueError:
                bound = None
            zoned = column is not None and getattr(column.type, "tz", None) is not None
            if bound is not None and (kind == "date" or (getattr(bound, "tzinfo", None) is not None) is zoned):
                return bound
        example = {"date": "2024-01-31", "timestamp": "2024-01-31T00:00:00"}[kind]
        if kind == "timestamp" and column is not None and column.type.tz is not None:
            example += "Z"
        message = f"{name} must be text like {example!r} for a {kind} column, not {found!r}"
        raise self.fault(message)
