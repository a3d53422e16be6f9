"""What every count of a window can do: be made of rows, be added up in any order, be kept as JSON; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.monitoring.block import Block
    from twinscore.monitoring.plan import Plan

__all__ = ["Mergeable", "Tally"]


class Mergeable(Protocol):
    """Counts of some rows of one version.

    Merging is commutative and associative to the bit: any split of the rows, merged in any order, is what one pass over
    all rows gives. So what is added up must be whole numbers or exact sums, such as `contract.moments.Moments`.
    """

    def merge(self, other: Self, /) -> Self:
        """Return the tally of the rows of both.

        Raises:
            SchemaMismatch: they were made with different plans.
        """
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold, without infinities and NaN."""
        ...

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], /) -> Self:
        """Return what `to_json` was made from, to the bit."""
        ...


class Tally(Mergeable, Protocol):
    """Counts that need nothing but the rows and their plan."""

    @classmethod
    def of(cls, block: Block, plan: Plan) -> Self:
        """Count rows; a block without rows gives the tally that changes nothing when it is merged."""
        ...
