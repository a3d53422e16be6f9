"""Places of decisions and outcomes among the classes of a version; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinscore.monitoring.block import Block

__all__ = ["Scored", "decided_class", "outcome_class", "positive_place"]


class Scored(Protocol):
    """What the tallies of this room need to know of a version; a `Plan` is one."""

    @property
    def task(self) -> str:
        """`classification` or `regression`."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Class labels, empty for numbers."""
        ...

    @property
    def positive(self) -> str | None:
        """Of two classes, the one whose probability is the score."""
        ...

    @property
    def score_edges(self) -> tuple[float, ...]:
        """Ascending inner edges of bins of the score, from the reference profile."""
        ...


def positive_place(plan: Scored) -> int | None:
    """Return the positive class's place among the classes; None for numbers and for more than two classes."""
    if plan.task != "classification" or len(plan.classes) != 2:
        return None
    return plan.classes.index(plan.positive) if plan.positive in plan.classes else 1


def decided_class(block: Block, plan: Scored) -> NDArray[np.int64]:
    """Return the decided class's place in the plan's classes, (n_rows,); -1 where there is none."""
    places = {name: place for place, name in enumerate(plan.classes)}
    named = np.array([*(places.get(name, -1) for name in block.decision.names), -1], np.int64)
    return named[block.decision.codes]


def outcome_class(block: Block, plan: Scored) -> NDArray[np.int64]:
    """Return the outcome's place in the plan's classes, (n_rows,); -1 where it is not known."""
    if block.label is None:
        return np.full(block.rows, -1, np.int64)
    place = np.nan_to_num(block.label, nan=-1.0)
    return np.where((place >= 0) & (place < len(plan.classes)), place, -1).astype(np.int64)
