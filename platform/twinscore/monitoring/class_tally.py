"""How decisions and outcomes fell on each class, and how sure the decisions for each were; mergeable counts, pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from twinscore.contract.moments import Moments
from twinscore.errors import SchemaMismatch
from twinscore.monitoring.classes import decided_class, outcome_class, positive_place
from twinscore.monitoring.outcomes import ScoreBin, binned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.monitoring.block import Block
    from twinscore.monitoring.classes import Scored

__all__ = ["MOST_CLASSES", "ClassCounts", "ClassTally"]

MOST_CLASSES = 100
"""With more classes the sureness of each is not kept: there would be too many bins, with too few rows."""
_EMPTY = ScoreBin()


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Labelled rows with a decision that have to do with one class."""

    decided: int = 0
    """Decided for the class."""
    outcomes: int = 0
    """Whose outcome is the class."""
    right: int = 0
    """Both."""
    bins: Mapping[int, ScoreBin] = field(default_factory=dict)
    """Of more than two classes: those decided for it by the bin of P(decision); a hit was right. Empty ones are left
    out."""

    def merge(self, other: ClassCounts) -> ClassCounts:
        """Return the counts of both parts."""
        places = sorted({*self.bins, *other.bins})
        return ClassCounts(
            self.decided + other.decided,
            self.outcomes + other.outcomes,
            self.right + other.right,
            {at: self.bins.get(at, _EMPTY).merge(other.bins.get(at, _EMPTY)) for at in places},
        )


@dataclass(frozen=True, slots=True)
class ClassTally:
    """Counts per class; classes that nothing was decided for and that did not happen are left out."""

    classes: Mapping[str, ClassCounts] = field(default_factory=dict)

    @classmethod
    def of(cls, block: Block, plan: Scored) -> Self:
        """Count the rows of a block that have a decision and an outcome."""
        if plan.task != "classification" or block.label is None or not block.rows:
            return cls()
        decided, outcome = decided_class(block, plan), outcome_class(block, plan)
        known = (decided >= 0) & (outcome >= 0) & ~np.isnan(block.score)
        decided, outcome, score = decided[known], outcome[known], block.score[known]
        right, most = decided == outcome, len(plan.classes)
        counts = [np.bincount(one, minlength=most).tolist() for one in (decided, outcome, decided[right])]
        kept = positive_place(plan) is None and most <= MOST_CLASSES
        found = {}
        for place, name in enumerate(plan.classes):
            chosen, happened, both = (one[place] for one in counts)
            if not chosen and not happened:
                continue
            bins: dict[int, ScoreBin] = {}
            if kept and chosen:
                mine = decided == place
                made = binned(score[mine], plan.score_edges, score[mine], hits=right[mine])
                bins = {at: one for at, one in enumerate(made) if one.amount.n}
            found[name] = ClassCounts(chosen, happened, both, bins)
        return cls(dict(sorted(found.items())))

    def merge(self, other: ClassTally) -> ClassTally:
        """Return the tally of the rows of both."""
        names, nothing = sorted({*self.classes, *other.classes}), ClassCounts()
        return ClassTally(
            {name: self.classes.get(name, nothing).merge(other.classes.get(name, nothing)) for name in names}
        )

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold: class to decided, outcomes, right, and bins with their hits and scores."""
        return {
            name: [one.decided, one.outcomes, one.right, {
                str(at): [found.hits, found.amount.to_json()] for at, found in sorted(one.bins.items())
            }]
            for name, one in sorted(self.classes.items())
        }  # fmt: skip

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `to_json` was made from.

        Raises:
            SchemaMismatch: it is something else.
        """
        try:
            return cls({
                name: ClassCounts(int(decided), int(outcomes), int(right), {
                    int(at): ScoreBin(int(hits), Moments.from_json(amount)) for at, (hits, amount) in bins.items()
                })
                for name, (decided, outcomes, right, bins) in sorted(plain.items())
            })  # fmt: skip
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = f"These are not counts of classes: {type(error).__name__} {error}."
            raise SchemaMismatch(message) from error
