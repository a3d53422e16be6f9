"""Figures of one model and a rule that is stepped through them, for tests of rules and of what carries orders out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from twinscore.monitoring.figure import Figure
from twinscore.monitoring.incident import RuleState
from twinscore.monitoring.rule_file import read_rule
from twinscore.monitoring.step import step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twinscore.monitoring.order import Order
    from twinscore.monitoring.rule import Rule

__all__ = ["HOUR", "START", "Watched", "figure_at"]

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def figure_at(
    window: int, value: float | None, *, metric: str = "psi", length: timedelta = HOUR, **more: Any
) -> Figure:
    """Return the figure of a window, counted from 0."""
    members: dict[str, Any] = {"model": "loans", "version": "3", "rows": 1_000, **more}
    start = START + window * length
    return Figure(start=start, end=start + length, metric=metric, value=value, **members)


@dataclass(slots=True)
class Watched:
    """A rule, what is kept of it, and every order that it gave."""

    rule: Rule
    state: RuleState = field(init=False)
    orders: list[Order] = field(default_factory=list)
    now: datetime = START

    def __post_init__(self) -> None:
        self.state = RuleState(model="loans", rule=self.rule.name)

    @classmethod
    def of(cls, **said: Any) -> Watched:
        """Return a rule that nothing is known of yet; `name` and `metric` have defaults."""
        return cls(read_rule({"name": "drift", "metric": "psi", **said}))

    def see(self, figures: Iterable[Figure], now: datetime | None = None) -> list[Order]:
        """Step through figures, by default as soon as the newest window is over, and return the orders."""
        figures = list(figures)
        self.now = max([self.now, *(figure.end for figure in figures)]) if now is None else now
        self.state, given = step(self.rule, self.state, figures, self.now)
        self.orders += given
        return list(given)

    def values(self, values: Iterable[float | None], *, first: int = 0, **more: Any) -> list[str]:
        """Step through one window after the other, and return the action and verb of each order with its window."""
        said = []
        for at, value in enumerate(values, start=first):
            said += [f"{at} {one.action} {one.verb}" for one in self.see([figure_at(at, value, **more)])]
        return said
