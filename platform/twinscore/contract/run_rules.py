"""Run-level rules; placeholder while the row level is first made usable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.contract.aggregate import Aggregate
    from twinscore.contract.rules import Rule
    from twinscore.contract.model import Severity

__all__ = ["Mostly", "RunResult", "RunRule", "judge"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """The answer to one run-level expectation."""

    rule: str
    column: str | None
    expected: str
    observed: str
    success: bool
    severity: str


class RunRule:
    def __init__(self, rule_id: str, columns: tuple[str, ...], expected: str, severity: Severity) -> None:
        self.id, self.columns, self.expected, self.severity = rule_id, columns, expected, severity


class Mostly(RunRule):
    def __init__(self, rule: Rule, mostly: float) -> None:
        super().__init__(rule.id, rule.columns, f"{rule.expected} in {mostly:.4g} of the rows", rule.severity)


def judge(rules: Sequence[RunRule], aggregate: Aggregate) -> list[RunResult]:
    """Return the answer to every run-level expectation."""
    n = aggregate.n_rows
    return [RunResult("not_empty", None, "at least 1 row", str(n), n > 0, "critical")]
