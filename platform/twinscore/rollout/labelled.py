"""What outcomes said of a version's answers: counts that add up over time; knows nothing of where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twinscore.rollout.counts import Moments

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Labelled"]


@dataclass(frozen=True, slots=True)
class Labelled:
    """What outcomes said of a version's answers."""

    n: int = 0
    loss: Moments = field(default_factory=Moments)
    """Of one answer."""
    groups: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By `column=value`: answers, and how many of them had the deciding class."""

    def merged(self, other: Labelled) -> Labelled:
        """Add other outcomes."""
        return self._with(other, 1)

    def minus(self, earlier: Labelled) -> Labelled:
        """Take earlier outcomes away."""
        return self._with(earlier, -1)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reads them back to an equal value."""
        return {"n": self.n, "loss": self.loss.to_json(), "groups": {name: list(v) for name, v in self.groups.items()}}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Labelled:
        """Read what `to_json` returned."""
        groups = {name: (int(n), int(selected)) for name, (n, selected) in document["groups"].items()}
        return cls(document["n"], Moments.from_json(document["loss"]), groups)

    def _with(self, other: Labelled, sign: int) -> Labelled:
        groups = dict(self.groups)
        for name, (n, selected) in other.groups.items():
            mine = groups.get(name, (0, 0))
            groups[name] = (mine[0] + sign * n, mine[1] + sign * selected)
        loss = self.loss.merged(other.loss) if sign > 0 else self.loss.minus(other.loss)
        return Labelled(self.n + sign * other.n, loss, {name: found for name, found in groups.items() if any(found)})
