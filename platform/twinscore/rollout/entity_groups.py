"""How rows of one entity hang together, from sums over groups of entities; knows no hash and no gate.

A version's entities are divided into `GROUPS` by a hash, and of each group the rows and the places of their scores are
added up. Rows of one entity have much the same score, so the groups differ by more than chance alone would make them;
by how much more is the design effect: so many rows tell as much as one row of its own. It is that of random groups
(Hansen, Hurwitz and Madow 1953), linearised for the mean of groups of unequal size; counts divided by it may be judged
as if rows were independent (Rao and Scott 1992).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GROUPS", "LEAST_GROUPS", "EntityGroups"]

GROUPS = 64
LEAST_GROUPS = 16
"""With rows, before anything is said of how they differ."""


@dataclass(frozen=True, slots=True)
class EntityGroups:
    """Sums over the groups; whole numbers, so they add up the same in any order."""

    n: tuple[int, ...] = (0,) * GROUPS
    """Scored rows of each group."""
    total: tuple[int, ...] = (0,) * GROUPS
    """Places of their scores among the bins, added up."""
    squares: int = 0
    """Squares of all places, added up."""

    @property
    def rows(self) -> int:
        """How many rows were counted."""
        return sum(self.n)

    @property
    def design_effect(self) -> float | None:
        """How many rows tell as much as one of its own, at least 1; None where too few groups have rows.

        Two rows of each entity with one score, and as many entities in each group:

        >>> alike = EntityGroups(n=(2,) * 64, total=(0, 2) * 32, squares=64)
        >>> round(alike.design_effect, 2)
        2.03
        """
        rows, groups = self.rows, sum(map(bool, self.n))
        if groups < LEAST_GROUPS:
            return None
        mean = sum(self.total) / rows
        alone = (self.squares / rows - mean * mean) / rows
        if alone <= 0.0:
            return 1.0
        away = sum((total - mean * n) ** 2 for n, total in zip(self.n, self.total, strict=True))
        return max(1.0, groups / (groups - 1) * away / (rows * rows) / alone)

    def merged(self, other: EntityGroups) -> EntityGroups:
        """Add other rows."""
        return self._with(other, 1)

    def minus(self, earlier: EntityGroups) -> EntityGroups:
        """Take earlier rows away."""
        return self._with(earlier, -1)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reads them back to an equal value."""
        return {"n": list(self.n), "total": list(self.total), "squares": self.squares}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> EntityGroups:
        """Read what `to_json` returned."""
        return cls(tuple(document["n"]), tuple(document["total"]), document["squares"])

    def _with(self, other: EntityGroups, sign: int) -> EntityGroups:
        n = tuple([mine + sign * its for mine, its in zip(self.n, other.n, strict=True)])
        total = tuple([mine + sign * its for mine, its in zip(self.total, other.total, strict=True)])
        return EntityGroups(n, total, self.squares + sign * other.squares)
