"""Check one row in a few microseconds, by the same rules as a table; knows nothing of tables.

Rules that only bound or list values are folded into one comparison per column. Folding may only
ever say "clean" for a row that is clean: every other row is judged by the rules themselves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from twinscore.contract.rules import FLOAT32_MAX, Between, Finite, Holds, InSet, Present, Rule
from twinscore.contract.show import show, show_pair
from twinscore.contract.verdict import Fault, pointer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["RowCheck"]


class RowCheck:
    """Every row rule of a contract, folded for one row at a time."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._needed: list[tuple[str, Any, Any]] = []
        self._spans: list[tuple[str, Any, Any]] = []
        self._sets: list[tuple[str, frozenset[Any]]] = []
        self._present: list[str] = []
        self._tests: list[tuple[str, Callable[[Any], bool]]] = []
        self._rest: list[Rule] = []
        names = dict.fromkeys(name for rule in rules for name in rule.columns)
        for name in names:
            self._fold(name, [rule for rule in rules if rule.columns == (name,)])
        self._rest += [rule for rule in rules if len(rule.columns) > 1]

    def faults(self, row: Mapping[str, Any], at: str = "") -> list[Fault]:
        """Return every fault of a row, in order of the rules; `at` is the JSON pointer of the row."""
        try:
            if self._is_clean(row):
                return []
        except Exception:  # noqa: BLE001, S110 - whatever went wrong, the rules themselves now say what
            pass
        found = []
        for rule in self._rules:
            fault = _judge(rule, row, at)
            if fault is not None:
                found.append(fault)
        return found

    def _is_clean(self, row: Mapping[str, Any]) -> bool:
        for name, low, high in self._needed:
            if not low <= row[name] <= high:
                return False
        for name, low, high in self._spans:
            value = row[name]
            if value is not None and not low <= value <= high:
                return False
        for name, allowed in self._sets:
            if row[name] not in allowed:
                return False
        for name in self._present:
            if row[name] is None:
                return False
        for name, holds in self._tests:
            value = row[name]
            if value is not None and not holds(value):
                return False
        return not any(rule.broken_by([row[name] for name in rule.columns]) for rule in self._rest)

    def _fold(self, name: str, rules: Sequence[Rule]) -> None:
        holds = [rule for rule in rules if isinstance(rule, Holds)]
        needed = any(isinstance(rule, Present) for rule in rules)
        self._rest += [rule for rule in rules if not isinstance(rule, Holds | Present)]
        listed = [rule for rule in holds if isinstance(rule, InSet) and rule.inside]
        if listed:
            # A NaN is in no set, so it is left to the rules.
            allowed = {v for v in listed[0].allowed if all(rule.holds_for(v) for rule in holds)}
            self._sets.append((name, frozenset(allowed if needed else {*allowed, None})))
            return
        spans = [rule for rule in holds if isinstance(rule, Between | Finite)]
        if spans:
            ends = [_span(rule) for rule in spans]
            low, high = max(end[0] for end in ends), min(end[1] for end in ends)
            (self._needed if needed else self._spans).append((name, low, high))
        elif needed:
            self._present.append(name)
        self._tests += [(name, rule.holds_for) for rule in holds if rule not in spans]


def _span(rule: Between | Finite) -> tuple[Any, Any]:
    """Return closed bounds such that every value within them holds."""
    if isinstance(rule, Finite):
        return -rule.limit, rule.limit
    low, high = rule.low, rule.high
    number = isinstance(low if low is not None else high, int | float)
    if number:
        low = -FLOAT32_MAX if low is None else math.nextafter(low, math.inf) if rule.above else low
        high = FLOAT32_MAX if high is None else math.nextafter(high, -math.inf) if rule.below else high
        return low, high
    least, most = type(low if low is not None else high).min, type(low if low is not None else high).max
    zone = getattr(low if low is not None else high, "tzinfo", None)
    if zone is not None:
        least, most = least.replace(tzinfo=zone), most.replace(tzinfo=zone)
    step = getattr(least, "resolution", None)
    low = least if low is None else low + step if rule.above and step else low
    high = most if high is None else high - step if rule.below and step else high
    return low, high


def _judge(rule: Rule, row: Mapping[str, Any], at: str) -> Fault | None:
    try:
        values = [row[name] for name in rule.columns]
        if not rule.broken_by(values):
            return None
        value = show(values[0]) if len(values) == 1 else show_pair(rule.columns, values)
    except Exception as exc:  # noqa: BLE001 - a rule that cannot be asked is a rule that failed
        value = f"not judged: {type(exc).__name__}"
    column = rule.columns[0]
    return Fault(pointer(at, column), column, rule.id, rule.expected, value, rule.severity)
