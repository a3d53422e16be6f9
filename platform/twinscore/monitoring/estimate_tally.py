"""What an estimate of performance without outcomes needs of a window's answers: counts of scores; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from twinscore.errors import SchemaMismatch
from twinscore.monitoring.classes import decided_class, positive_place
from twinscore.monitoring.outcomes import Kind, kind_of
from twinscore.monitoring.score_grid import ScoreGrid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.monitoring.block import Block
    from twinscore.monitoring.classes import Scored

__all__ = ["EstimateTally"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateTally:
    """Answers of one version, labelled or not."""

    kind: Kind
    edges: tuple[float, ...]
    """Inner edges of the bins, ascending; a bin is `(edge, next edge]`."""
    grid: ScoreGrid
    """Scores of rows not decided for the positive class (kind 0) and decided for it (kind 1). Of more than two classes
    the score is that of the decision, so all rows are of kind 1; of numbers there is nothing."""
    bins: tuple[int, ...]
    """Rows whose score is in each bin."""

    @classmethod
    def of(cls, block: Block, plan: Scored) -> Self:
        """Count a block."""
        kind, score = kind_of(plan), block.score
        known = ~np.isnan(score)
        grid = ScoreGrid.empty()
        if kind != "regression":
            decided, positive = decided_class(block, plan), positive_place(plan)
            known &= decided >= 0
            selected = np.ones(block.rows, bool) if positive is None else decided == positive
            grid = ScoreGrid.of(score[known], selected[known])
        edges = tuple(plan.score_edges)
        place = np.searchsorted(np.asarray(edges), score[known], side="left")
        return cls(kind=kind, edges=edges, grid=grid, bins=tuple(np.bincount(place, minlength=len(edges) + 1).tolist()))

    def merge(self, other: EstimateTally) -> EstimateTally:
        """Return the tally of the rows of both.

        Raises:
            SchemaMismatch: they are of other tasks or bins.
        """
        if (self.kind, self.edges) != (other.kind, other.edges):
            message = (
                f"Answers of a {self.kind} model in {len(self.bins)} bins cannot be added to those of a {other.kind}"
                f" model in {len(other.bins)}: they are of different versions."
            )
            raise SchemaMismatch(message, mine=self.kind, other=other.kind)
        bins = tuple([mine + its for mine, its in zip(self.bins, other.bins, strict=True)])
        return EstimateTally(kind=self.kind, edges=self.edges, grid=self.grid.merge(other.grid), bins=bins)

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "kind": self.kind,
            "edges": list(self.edges),
            "grid": self.grid.to_json(),
            "bins": list(self.bins),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `to_json` was made from.

        Raises:
            SchemaMismatch: it is something else.
        """
        try:
            return cls(
                kind=plain["kind"],
                edges=tuple(plain["edges"]),
                grid=ScoreGrid.from_json(plain["grid"]),
                bins=tuple(map(int, plain["bins"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            message = f"These are not counts of answers: {type(error).__name__} {error}."
            raise SchemaMismatch(message) from error
