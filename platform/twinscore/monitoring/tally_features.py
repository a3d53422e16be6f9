"""How the features of some rows are spread over the reference's bins and categories; mergeable counts, pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from twinscore.errors import SchemaMismatch
from twinscore.monitoring.exact import CellCounter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.monitoring.block import Block
    from twinscore.monitoring.plan import FeaturePlan, Plan

__all__ = ["FeatureCounts", "FeatureTally"]


@dataclass(frozen=True, slots=True)
class FeatureCounts:
    """One feature of some rows."""

    bins: tuple[int, ...]
    """Rows in each bin of the plan, or of each category."""
    missing: int
    """Rows without a value."""
    unseen: int
    """Rows with a category that training never saw; 0 for a number."""

    @property
    def rows(self) -> int:
        """Rows of which the feature is known, missing ones among them."""
        return sum(self.bins) + self.missing + self.unseen

    def merge(self, other: FeatureCounts) -> FeatureCounts:
        """Return the counts of the rows of both; the bins must be as many."""
        bins = tuple(mine + theirs for mine, theirs in zip(self.bins, other.bins, strict=True))
        return FeatureCounts(bins, self.missing + other.missing, self.unseen + other.unseen)


@dataclass(frozen=True, slots=True)
class FeatureTally:
    """Counts of every feature that is known of at least some rows."""

    counts: Mapping[str, FeatureCounts] = field(default_factory=dict)

    @classmethod
    def of(cls, block: Block, plan: Plan) -> Self:
        """Count the features of rows."""
        if not block.rows:
            return cls()
        counted = _counter(plan.features).count(block.features)
        found = {}
        for feature, (bins, empty) in zip(plan.features, counted, strict=True):
            if feature.name in block.absent:
                continue
            rows = block.unseen.get(feature.name)
            unseen = 0 if rows is None else int(np.count_nonzero(rows))
            found[feature.name] = FeatureCounts(bins, empty - unseen, unseen)
        return cls(found)

    def merge(self, other: Self, /) -> Self:
        """Return the tally of the rows of both.

        Raises:
            SchemaMismatch: a feature has other bins.
        """
        merged = dict(self.counts)
        for name, counts in other.counts.items():
            mine = merged.get(name)
            if mine is not None and len(mine.bins) != len(counts.bins):
                message = (
                    f"Counts of {name!r} in {len(mine.bins)} bins cannot be added to counts in {len(counts.bins)}: "
                    "they are of different versions."
                )
                raise SchemaMismatch(message, feature=name)
            merged[name] = counts if mine is None else mine.merge(counts)
        return type(self)(dict(sorted(merged.items())))

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {name: [list(one.bins), one.missing, one.unseen] for name, one in sorted(self.counts.items())}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], /) -> Self:
        """Return what `to_json` was made from."""
        return cls({name: FeatureCounts(tuple(bins), *rest) for name, (bins, *rest) in plain.items()})


@lru_cache(maxsize=32)
def _counter(features: tuple[FeaturePlan, ...]) -> CellCounter:
    return CellCounter(features)
