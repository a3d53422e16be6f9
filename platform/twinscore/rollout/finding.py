"""What is known of one metric on both sides of a comparison; decides nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.rollout.evidence import ArmEvidence, PairEvidence
    from twinscore.rollout.gate import Gate

__all__ = ["Finding", "Sides", "any_proved", "every_proved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Who is compared, and for how long both have been asked."""

    candidate: ArmEvidence | None
    live: ArmEvidence | None
    pair: PairEvidence | None
    seconds: float

    def clump(self, gate: Gate, n: int) -> float:
        """Return how many neighbouring outcomes of the candidate count as one.

        As many as came within a burst, or all of them while the burst may not be over. Both sides are divided by it:
        what hits live as well cancels out, for both are asked at the same time.
        """
        return max(1.0, n * gate.burst / max(self.seconds, gate.burst)) if gate.burst else 1.0

    def clumps(self) -> tuple[float, float]:
        """Return how many rows of the candidate, and of the live version, tell as much as one row of its own.

        Rows of one entity hang together. Where it is not known of a side, as in a bake, it is taken to be as on the
        other one; where it is known of none, as in a shadow stage with the same rows on both sides, rows count as rows.
        """
        known = [None if arm is None else arm.groups.design_effect for arm in (self.candidate, self.live)]
        return known[0] or known[1] or 1.0, known[1] or known[0] or 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The figures of one metric, and what is proved of the gate's limits."""

    value: float | None = None
    live_value: float | None = None
    low: float | None = None
    high: float | None = None
    samples: int = 0
    live_samples: int | None = None
    """None where the live version is not looked at."""
    doubt: float = 0.0
    """So much of the value may be the choice of entities: one standard error; 0 where more rows would tell more."""
    beyond: bool = False
    """It is proved that a limit is passed."""
    within: bool = False
    """It is proved that none is."""


def any_proved(evidence: Sequence[float], alpha: float) -> bool:
    """Tell whether one of several claims is refuted, with chance `alpha` of a mistake in all of them together."""
    return any(one >= math.log(len(evidence) / alpha) for one in evidence)


def every_proved(evidence: Sequence[float], alpha: float) -> bool:
    """Tell whether all of several claims are refuted, each with chance `alpha` of a mistake."""
    return bool(evidence) and min(evidence) >= math.log(1.0 / alpha)
