"""How the decisions of a version fell on the groups of each group column, and how right they were; pure."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from twinscore.errors import SchemaMismatch
from twinscore.monitoring.classes import decided_class, outcome_class, positive_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.monitoring.block import Block
    from twinscore.monitoring.classes import Scored

__all__ = ["GroupCounts", "GroupTally"]


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """Decided rows of one group; the last four are its labelled rows."""

    rows: int = 0
    selected: int = 0
    """Decided for the positive class."""
    tp: int = 0
    fp: int = 0
    tn: int = 0
    fn: int = 0

    @property
    def labelled(self) -> int:
        """Rows whose outcome is known."""
        return self.tp + self.fp + self.tn + self.fn

    def merge(self, other: GroupCounts) -> GroupCounts:
        """Return the counts of both parts."""
        return GroupCounts(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class GroupTally:
    """Counts per group column and value; empty for numbers and for more than two classes, which select nobody."""

    columns: Mapping[str, Mapping[str, GroupCounts]] = field(default_factory=dict)

    @classmethod
    def of(cls, block: Block, plan: Scored) -> Self:
        """Count the rows of a block that have a decision."""
        positive = positive_place(plan)
        if positive is None or not block.rows:
            return cls()
        decided = decided_class(block, plan)
        outcome = outcome_class(block, plan)
        selected, known = decided == positive, outcome >= 0
        # What a row adds: 0 no more than itself, 1 to 4 tp, fp, tn, fn.
        kind = np.where(known, np.where(selected, np.where(outcome == positive, 1, 2), 3 + (outcome == positive)), 0)
        counted = decided >= 0
        columns: dict[str, dict[str, GroupCounts]] = {}
        for name, column in block.groups.items():
            taken = counted & (column.codes >= 0)
            place = (column.codes[taken] * 2 + selected[taken]) * 5 + kind[taken]
            table = np.bincount(place, minlength=len(column.names) * 10).reshape(len(column.names), 2, 5)
            columns[name] = {
                value: GroupCounts(int(counts.sum()), int(counts[1].sum()), *counts.sum(axis=0)[1:].tolist())
                for value, counts in zip(column.names, table, strict=True)
                if counts.any()
            }
        return cls({name: values for name, values in columns.items() if values})

    def merge(self, other: GroupTally) -> GroupTally:
        """Return the tally of the rows of both."""
        columns = {name: dict(values) for name, values in self.columns.items()}
        for name, values in other.columns.items():
            mine = columns.setdefault(name, {})
            for value, counts in values.items():
                mine[value] = mine.get(value, GroupCounts()).merge(counts)
        return GroupTally(columns)

    def selections(self) -> dict[str, tuple[int, int]]:
        """Return by `column=value` how many rows were decided and how many of them for the positive class.

        That is what the gate `group_gap` of a promotion asks for.
        """
        return {
            f"{name}={value}": (counts.rows, counts.selected)
            for name, values in sorted(self.columns.items())
            for value, counts in sorted(values.items())
        }

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold: column to value to rows, selected, tp, fp, tn, fn."""
        return {
            name: {value: list(astuple(counts)) for value, counts in sorted(values.items())}
            for name, values in sorted(self.columns.items())
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `to_json` was made from.

        Raises:
            SchemaMismatch: it is something else.
        """
        try:
            return cls(
                {
                    name: {value: GroupCounts(*map(int, counts)) for value, counts in values.items()}
                    for name, values in plain.items()
                }
            )
        except (AttributeError, TypeError, ValueError) as error:
            message = f"These are not counts of groups: {type(error).__name__} {error}."
            raise SchemaMismatch(message) from error
