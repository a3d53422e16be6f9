"""How scores, decisions and doubts of some rows are spread; mergeable counts and exact sums, pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from twinscore.bundle.profile import bin_counts
from twinscore.contract.moments import Moments
from twinscore.errors import SchemaMismatch
from twinscore.monitoring.exact import NOTHING, moments_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.monitoring.block import Block
    from twinscore.monitoring.plan import Plan

__all__ = ["DecisionTally", "ScoreTally", "UncertaintyTally"]


@dataclass(frozen=True, slots=True)
class ScoreTally:
    """Scores in the reference's bins, and their exact moments."""

    bins: tuple[int, ...] = ()
    """Rows in each bin of `Plan.score_edges`; empty while there are no rows."""
    moments: Moments = NOTHING

    @classmethod
    def of(cls, block: Block, plan: Plan) -> Self:
        """Count the scores of rows; NaN is no score."""
        known = block.score[~np.isnan(block.score)]
        if not len(known):
            return cls()
        return cls(tuple(bin_counts(known, np.array(plan.score_edges)).tolist()), moments_of(known))

    def merge(self, other: Self, /) -> Self:
        """Return the tally of the rows of both.

        Raises:
            SchemaMismatch: they have other bins.
        """
        if self.bins and other.bins and len(self.bins) != len(other.bins):
            message = f"Scores in {len(self.bins)} bins cannot be added to scores in {len(other.bins)}."
            raise SchemaMismatch(message)
        bins = tuple(map(sum, zip(self.bins, other.bins, strict=True))) if self.bins and other.bins else None
        return type(self)(bins or self.bins or other.bins, self.moments.merge(other.moments))

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {"bins": list(self.bins), "moments": self.moments.to_json()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], /) -> Self:
        """Return what `to_json` was made from."""
        return cls(tuple(plain["bins"]), Moments.from_json(plain["moments"]))


@dataclass(frozen=True, slots=True)
class DecisionTally:
    """How often each class was decided; nothing for numbers."""

    counts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, block: Block, plan: Plan) -> Self:
        """Count the decisions of rows."""
        del plan
        codes = block.decision.codes
        counts = np.bincount(codes[codes >= 0], minlength=len(block.decision.names)).tolist()
        return cls({name: count for name, count in sorted(zip(block.decision.names, counts, strict=True)) if count})

    @property
    def rows(self) -> int:
        """Rows with a decision."""
        return sum(self.counts.values())

    def merge(self, other: Self, /) -> Self:
        """Return the tally of the rows of both."""
        return type(self)(dict(sorted((Counter(self.counts) + Counter(other.counts)).items())))

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return dict(sorted(self.counts.items()))

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], /) -> Self:
        """Return what `to_json` was made from."""
        return cls(dict(plain))


@dataclass(frozen=True, slots=True)
class UncertaintyTally:
    """Widths of intervals, sizes of prediction sets, and rows that ask for a person."""

    rows: int = 0
    width: Moments = NOTHING
    """Of the intervals that are there."""
    set_sizes: Mapping[int, int] = field(default_factory=dict)
    """Classes in the prediction set to rows; rows without a set are left out."""
    review: int = 0

    @classmethod
    def of(cls, block: Block, plan: Plan) -> Self:
        """Count the doubts about rows."""
        del plan
        width = block.upper - block.lower
        sizes = block.set_size[block.set_size >= 0]
        counts = np.bincount(sizes).tolist() if len(sizes) else []
        return cls(
            rows=block.rows,
            width=moments_of(width[~np.isnan(width)]),
            set_sizes={size: count for size, count in enumerate(counts) if count},
            review=int(np.count_nonzero(block.review)),
        )

    @property
    def ambiguous(self) -> int:
        """Rows whose set does not hold exactly one class."""
        return self.sets - self.set_sizes.get(1, 0)

    @property
    def sets(self) -> int:
        """Rows with a prediction set."""
        return sum(self.set_sizes.values())

    def merge(self, other: Self, /) -> Self:
        """Return the tally of the rows of both."""
        sizes = Counter(self.set_sizes) + Counter(other.set_sizes)
        return type(self)(
            self.rows + other.rows,
            self.width.merge(other.width),
            dict(sorted(sizes.items())),
            self.review + other.review,
        )

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "rows": self.rows,
            "width": self.width.to_json(),
            "set_sizes": {str(size): count for size, count in sorted(self.set_sizes.items())},
            "review": self.review,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], /) -> Self:
        """Return what `to_json` was made from."""
        sizes = {int(size): count for size, count in plain["set_sizes"].items()}
        return cls(plain["rows"], Moments.from_json(plain["width"]), dict(sorted(sizes.items())), plain["review"])
