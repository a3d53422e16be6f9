"""What a report shows beside figures: a distribution against its reference, and an incident; plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from twinscore.page.words import bin_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

__all__ = ["Distribution", "ShownIncident"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """How the values of one column are spread in one window, beside the reference of its version."""

    feature: str
    """Name of the feature; empty for the scores."""
    names: tuple[str, ...]
    """What each cell is called: a range, a category, `missing`."""
    counts: tuple[float, ...]
    """Rows of the window in each cell."""
    reference: tuple[float, ...]
    """Rows of the reference in each cell, or their shares; empty when there is none."""
    ordered: bool = True
    """Whether the cells follow each other on a scale; False for categories."""
    version: str = ""
    path: Literal["online", "batch"] | str = "online"
    start: datetime | None = None
    """First instant of the window, UTC."""
    end: datetime | None = None
    """First instant after it."""

    @classmethod
    def of_bins(
        cls, feature: str, edges: Sequence[float], counts: Sequence[float], reference: Sequence[float], **more: object
    ) -> Distribution:
        """Return the distribution of a number: one cell below the first edge, one above the last.

        >>> Distribution.of_bins("age", [30, 60], [1, 2, 3], [2, 2, 2]).names
        ('up to 30', '30 to 60', 'above 60')
        """
        names = tuple(
            bin_name({"low": low, "high": high}) for low, high in zip([None, *edges], [*edges, None], strict=True)
        )
        return cls(feature=feature, names=names, counts=tuple(counts), reference=tuple(reference), **more)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownIncident:
    """One breach of a rule, as people are told of it."""

    rule: str
    """Name of the rule."""
    subject: str
    """The feature, group or column that broke it; empty for the model as a whole."""
    severity: Literal["info", "warning", "critical"]
    since: datetime
    """Start of the first window that broke the rule, UTC."""
    state: Literal["open", "closed"]
    says: str
    """One or two sentences: what is wrong, by which figures."""
    until: datetime | None = None
    """When it was closed."""
    metric: str = ""
    """What the rule is about; its chart is marked while the incident lasts."""
    path: str = ""
    version: str = ""
    segment: str = ""
    ticket: str = ""
    """Address or number of the ticket."""
    done: tuple[str, ...] = ()
    """What was done and is being done about it, one phrase each: `rollouts held`, `ticket opened`."""
