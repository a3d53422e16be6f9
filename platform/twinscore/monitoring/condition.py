"""What a figure must be for a rule to be broken: comparisons joined by `and` and `or`, or no figure at all; pure.

What a figure does not say is neither true nor false: a condition that depends on it is unknown.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from twinscore.monitoring.quantity import show_number, show_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Both",
    "Comparison",
    "Condition",
    "Either",
    "Judged",
    "Missing",
    "Operator",
    "Term",
    "holds",
    "negated",
    "show_condition",
]

Term = Literal["value", "low", "high", "p_value", "rows"]
Operator = Literal[">", ">=", "<", "<="]
_COMPARE: dict[Operator, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_OTHER: dict[Operator, Operator] = {">": "<=", ">=": "<", "<": ">=", "<=": ">"}


class Judged(Protocol):
    """What a condition looks at: a figure, or what is kept of one."""

    @property
    def value(self) -> float | None:
        """The figure."""

    @property
    def low(self) -> float | None:
        """Lower end of its interval."""

    @property
    def high(self) -> float | None:
        """Upper end of its interval."""

    @property
    def p_value(self) -> float | None:
        """Of the test against no change."""

    @property
    def rows(self) -> int:
        """How many it is made of."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One part of a figure against a number in the metric's unit."""

    term: Term
    operator: Operator
    number: float


@dataclass(frozen=True, slots=True)
class Both:
    """All of its parts hold."""

    parts: tuple[Comparison | Both | Either, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One of its parts holds."""

    parts: tuple[Comparison | Both | Either, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """There has been no figure with a value for so long."""

    seconds: float


Condition: TypeAlias = "Comparison | Both | Either | Missing"


def holds(condition: Condition, figure: Judged) -> bool | None:
    """Return whether a figure is as the condition says; None where that cannot be told.

    Unknown and false is false, unknown or true is true. `Missing` is about time, and unknown of any figure.
    """
    if isinstance(condition, Comparison):
        found = getattr(figure, condition.term)
        if found is None or found != found:
            return None
        return _COMPARE[condition.operator](found, condition.number)
    if isinstance(condition, Missing):
        return None
    decides = isinstance(condition, Either)
    answers = [holds(part, figure) for part in condition.parts]
    if decides in answers:
        return decides
    return None if None in answers else not decides


def negated(condition: Comparison | Both | Either) -> Comparison | Both | Either:
    """Return the condition that holds exactly where this one does not.

    >>> show_condition(negated(Both((Comparison("low", ">", 0.1), Comparison("rows", ">=", 50)))))
    'low <= 0.1 or rows < 50'
    """
    if isinstance(condition, Comparison):
        return Comparison(condition.term, _OTHER[condition.operator], condition.number)
    parts = tuple([negated(part) for part in condition.parts])
    return Either(parts) if isinstance(condition, Both) else Both(parts)


def show_condition(condition: Condition, unit: str = "") -> str:
    """Return the condition as it is written in a rule.

    Args:
        unit: of the metric; times are shown with it.
    """
    if isinstance(condition, Missing):
        return f"missing for {show_seconds(condition.seconds)}"
    if isinstance(condition, Comparison):
        timed = unit in ("ms", "s") and condition.term in ("value", "low", "high")
        number = _show_time(condition.number, unit) if timed else show_number(condition.number)
        return f"{condition.term} {condition.operator} {number}"
    word = " and " if isinstance(condition, Both) else " or "
    return word.join(
        [
            f"({show_condition(part, unit)})"
            if isinstance(part, Either) or (isinstance(part, Both) and isinstance(condition, Both))
            else show_condition(part, unit)
            for part in condition.parts
        ]
    )


def _show_time(number: float, unit: str) -> str:
    """Return a time in the unit in which it is whole, where that says exactly the same."""
    thousandths = round(number * 1_000) if unit == "s" else round(number)
    same = thousandths >= 0 and number == (thousandths / 1_000 if unit == "s" else thousandths)
    return show_seconds(thousandths / 1_000) if same else f"{show_number(number)}{unit}"
