"""How long outcomes took to become known, from the score to the moment at which they were first told; pure.

The figures are of the outcomes that are known. A window is told of once its rows are old enough for an outcome, so
waits up to the maturity are all in; those beyond it come in as late outcomes do, and their window is told of again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from twinscore.errors import SchemaMismatch
from twinscore.monitoring.durations import Durations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twinscore.monitoring.block import Block
    from twinscore.monitoring.classes import Scored
    from twinscore.monitoring.figure import Figure

__all__ = ["DelayTally", "label_delays"]

_QUANTILES = {"label_delay_s_p50": 0.5, "label_delay_s_p90": 0.9}


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayTally:
    """Labelled rows of which it is known when their outcome was."""

    waits: Durations = field(default_factory=Durations)
    """Whole seconds from the score to the outcome; one that was known before the score counts as 0."""
    early: int = 0
    """Outcomes that were known before the row was scored."""

    @classmethod
    def of(cls, block: Block, plan: Scored) -> Self:
        """Count a block."""
        del plan
        if block.delay_s is None or block.label is None:
            return cls()
        known = block.delay_s[~np.isnan(block.delay_s) & ~np.isnan(block.label)]
        return cls(waits=Durations.of(np.floor(known).astype(np.int64)), early=int(np.count_nonzero(known < 0)))

    def merge(self, other: DelayTally) -> DelayTally:
        """Return the tally of the rows of both."""
        return DelayTally(waits=self.waits.merge(other.waits), early=self.early + other.early)

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {"waits": self.waits.to_json(), "early": self.early}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `to_json` was made from.

        Raises:
            SchemaMismatch: it is something else.
        """
        try:
            return cls(waits=Durations.from_json(plain["waits"]), early=int(plain["early"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = f"These are not counts of waits for outcomes: {type(error).__name__} {error}."
            raise SchemaMismatch(message) from error


def label_delays(
    tally: DelayTally, figure: Callable[..., Figure], *, rows: int, timed: bool, mature: bool = True
) -> list[Figure]:
    """Return how long the outcomes of one window took, with 95 % intervals of the quantiles.

    Args:
        tally: counts of the window.
        figure: makes a figure of that window from what is given here, such as a `partial` of Figure.
        rows: scored rows of the window, with and without an outcome.
        timed: whether the labels say when each outcome was known.
        mature: whether the window's outcomes are expected to be known; if not, only quick ones are, and nothing is
            said.
    """
    why = ""
    if not timed:
        why = "name in monitor.labels.at the column that says when each outcome was known"
    elif not mature:
        why = "the window's outcomes are not expected yet"
    elif not tally.waits.n:
        why = "of no outcome it is known when it was told"
    if why:
        return [figure(metric=metric, value=None, note=why) for metric in _QUANTILES]
    many, notes = tally.waits.n, []
    if many < rows:
        notes.append(f"of {many} of {rows} rows; the others' outcomes are not known yet, or not when they were")
    if tally.early:
        notes.append(f"{tally.early} outcomes were known before the row was scored")
    found = []
    for metric, share in _QUANTILES.items():
        low, value, high = tally.waits.interval(share)
        found.append(figure(metric=metric, value=value, low=low, high=high, rows=many, note="; ".join(notes)))
    return found
