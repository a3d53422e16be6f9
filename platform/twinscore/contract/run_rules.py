"""Rules that decide a whole run from merged aggregates: shares, uniqueness, counts, columns; knows nothing of rows.

A rule that has nothing to look at answers as Great Expectations does; that nothing passes in
silence is kept by `not_empty`, which every contract has built in.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from twinscore.contract.hashing import hash_cells, hash_rows
from twinscore.contract.moments import Tally
from twinscore.contract.show import show
from twinscore.contract.sketches import Uniques

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twinscore.contract.aggregate import Aggregate, Part
    from twinscore.contract.cells import Cells, Mask
    from twinscore.contract.model import Severity
    from twinscore.contract.rules import Rule

__all__ = ["Columns", "Limits", "Mostly", "RowCount", "RunResult", "RunRule", "Unique", "judge"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """The answer to one run-level rule."""

    rule: str
    column: str | None
    expected: str
    observed: str
    success: bool
    severity: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a statistic; a value that is no number keeps none of them."""

    low: Any = None
    high: Any = None
    above: bool = False
    below: bool = False

    def hold(self, value: Any) -> bool:
        """Say whether a value lies within."""
        if value is None or value != value:
            return False
        if self.low is not None and not (operator.gt if self.above else operator.ge)(value, self.low):
            return False
        return self.high is None or bool((operator.lt if self.below else operator.le)(value, self.high))

    def __str__(self) -> str:
        words = [f"{'>' if self.above else '>='} {show(self.low)}"] if self.low is not None else []
        words += [f"{'<' if self.below else '<='} {show(self.high)}"] if self.high is not None else []
        return " and ".join(words)


class RunRule:
    """One thing that a run as a whole must keep.

    Args:
        needs: name of the part that it measures; rules that measure the same share a part.
    """

    def __init__(
        self, rule_id: str, columns: Sequence[str], expected: str, severity: Severity, *, needs: str | None = None
    ) -> None:
        self.id = rule_id
        self.columns = tuple(columns)
        self.expected = expected
        self.severity = severity
        self.needs = needs

    def measure(self, cells: Mapping[str, Cells], accepted: Mask) -> Part:
        """Return the part of one piece of a table; asked only of rules that need one."""
        raise NotImplementedError

    def answer(self, part: Any, whole: Aggregate) -> tuple[str, bool]:
        """Return what was observed, in words, and whether the rule is kept."""
        raise NotImplementedError


class Mostly(RunRule):
    """At least a share of the rows that a row rule looks at keeps it."""

    def __init__(self, rule: Rule, share: float) -> None:
        expected = f"{rule.expected}, in at least {share:.6g} of the rows"
        super().__init__(rule.id, rule.columns, expected, rule.severity, needs=f"tally {rule.id}")
        self.rule = rule
        self.share = share

    def measure(self, cells: Mapping[str, Cells], accepted: Mask) -> Part:
        """Count the rows looked at and those that break the rule."""
        columns = [cells[name] for name in self.columns]
        broken = self.rule.broken(columns)
        return Tally(self.rule.n_considered(columns), 0 if broken is None else int(np.count_nonzero(broken)))

    def answer(self, part: Tally | None, whole: Aggregate) -> tuple[str, bool]:
        """Compare the share of rows that keep the rule."""
        return _share(part, self.share)


class Unique(RunRule):
    """No two rows agree in the columns.

    Without `share` only accepted rows are looked at: what is in quarantine is not scored twice.
    """

    def __init__(
        self, rule_id: str, columns: Sequence[str], severity: Severity, *, ignore: str, share: float | None
    ) -> None:
        expected = "every row differs" + ("" if share is None else f", in at least {share:.6g} of the rows")
        scope = "accepted" if share is None else "all"
        super().__init__(rule_id, columns, expected, severity, needs=f"uniques {scope} {ignore} {'/'.join(columns)}")
        self.ignore = ignore
        self.share = share

    def measure(self, cells: Mapping[str, Cells], accepted: Mask) -> Part:
        """Hash the rows looked at."""
        columns = [cells[name] for name in self.columns]
        hashes = hash_cells(columns[0]) if len(columns) == 1 else hash_rows(columns)
        kept = accepted.copy() if self.share is None else np.ones(len(accepted), dtype=bool)
        gaps = [np.zeros(len(kept), dtype=bool) if column.missing is None else column.missing for column in columns]
        if self.ignore == "any_value_is_missing":
            kept &= ~np.logical_or.reduce(gaps)
        elif self.ignore == "all_values_are_missing":
            kept &= ~np.logical_and.reduce(gaps)
        return Uniques(np.sort(hashes[kept]))

    def answer(self, part: Uniques | None, whole: Aggregate) -> tuple[str, bool]:
        """Count the rows that have an equal."""
        tally = None if part is None else Tally(len(part.hashes), part.n_repeated)
        return _share(tally, 1.0 if self.share is None else self.share)


class RowCount(RunRule):
    """The number of rows, or of source columns, lies between bounds."""

    def __init__(self, rule_id: str, severity: Severity, limits: Limits, *, of_columns: bool = False) -> None:
        super().__init__(rule_id, (), f"{limits} {'columns' if of_columns else 'rows'}", severity)
        self.limits = limits
        self.of_columns = of_columns

    def answer(self, part: None, whole: Aggregate) -> tuple[str, bool]:
        """Compare the counts."""
        counts = sorted({len(names) for names in whole.columns}) if self.of_columns else [whole.n_rows]
        return " or ".join(map(str, counts)), bool(counts) and all(self.limits.hold(count) for count in counts)


class Columns(RunRule):
    """The source has the columns that a test wants.

    Args:
        test: says whether one list of names is as wanted; every part of the run must pass.
    """

    def __init__(
        self, rule_id: str, severity: Severity, expected: str, test: Callable[[tuple[str, ...]], bool]
    ) -> None:
        super().__init__(rule_id, (), expected, severity)
        self.test = test

    def answer(self, part: None, whole: Aggregate) -> tuple[str, bool]:
        """Test every list of columns that occurred."""
        bad = [names for names in sorted(whole.columns) if not self.test(names)]
        shown = bad or sorted(whole.columns)
        return ", ".join(shown[0]) if shown else "no columns", bool(shown) and not bad


def judge(rules: Sequence[RunRule], whole: Aggregate) -> list[RunResult]:
    """Return the answer to every rule; one that raises has failed."""
    results = [
        RunResult("not_empty", None, "at least 1 row", f"{whole.n_rows} rows", whole.n_rows > 0, "critical"),
    ]
    for rule in rules:
        try:
            part = whole.parts.get(rule.needs) if rule.needs is not None else None
            observed, success = rule.answer(cast("Any", part), whole)
        except Exception as exc:  # noqa: BLE001 - a rule that cannot be asked is a rule that failed
            observed, success = f"not judged: {type(exc).__name__}", False
        column = rule.columns[0] if rule.columns else None
        results.append(RunResult(rule.id, column, rule.expected, observed, bool(success), rule.severity))
    return results


def _share(tally: Tally | None, share: float) -> tuple[str, bool]:
    if tally is None or not tally.n_considered:
        return "no rows to look at", True
    kept = (float(tally.n_considered) - float(tally.n_broken)) / float(tally.n_considered)
    return f"{tally.n_considered - tally.n_broken} of {tally.n_considered} rows ({kept:.6g})", kept >= share
