"""How far a distribution moved from a reference's: PSI, what chance explains of it, the largest difference; pure.

Both are counts in the same bins, so runs of any size compare with each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LARGE", "LEAST_SHARE", "SOME", "Shift", "psi", "psi_by_chance", "shares", "shift_of"]

LEAST_SHARE = 1e-4
"""An empty bin counts as this share, because the logarithm of nothing is not a number."""
SOME, LARGE = 0.1, 0.25
"""PSI from which people speak of some and of a large shift (Siddiqi, 2006, "Credit Risk Scorecards")."""
Size = Literal["none", "small", "some", "large"]
_Z95 = 1.6448536269514722


@dataclass(frozen=True, slots=True)
class Shift:
    """How far counts moved from a reference's."""

    psi: float
    by_chance: float
    """PSI that two samples of these sizes stay below in 95 of 100 cases when nothing moved."""
    largest: float
    """Largest difference of a bin's shares, with its sign: above 0 the run has more."""
    largest_bin: int
    size: Size
    """`none` within what chance explains, `small` below 0.1, `some` below 0.25, else `large`."""


def shares(counts: Sequence[int]) -> list[float]:
    """Return each count's share of their sum; zeros when the sum is 0."""
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def psi(counts: Sequence[int], reference: Sequence[int]) -> float:
    """Return the population stability index: the sum over bins of (a - r) ln(a / r), in shares a and r.

    No share is taken below LEAST_SHARE. No term is negative, and equal shares give exactly 0.
    """
    a = np.maximum(np.asarray(shares(counts)), LEAST_SHARE)
    r = np.maximum(np.asarray(shares(reference)), LEAST_SHARE)
    return float(np.sum((a - r) * np.log(a / r)))


def psi_by_chance(rows: int, reference_rows: int, bins: int) -> float:
    """Return the PSI that chance alone stays below in 95 of 100 cases.

    Without a shift, PSI / (1/n + 1/m) is about chi-squared with bins - 1 degrees of freedom (Yurdakul, 2018,
    "Statistical Properties of Population Stability Index"); the quantile is Wilson and Hilferty's (1931).
    """
    freedom = bins - 1
    if freedom < 1 or rows < 1 or reference_rows < 1:
        return 0.0
    spread = 2.0 / (9.0 * freedom)
    quantile: float = freedom * (1.0 - spread + _Z95 * math.sqrt(spread)) ** 3
    return quantile * (1.0 / rows + 1.0 / reference_rows)


def shift_of(counts: Sequence[int], reference: Sequence[int]) -> Shift | None:
    """Compare counts with a reference's: (n_bins,) each; None when either holds no row or the bins differ."""
    if len(counts) != len(reference) or not sum(counts) or not sum(reference):
        return None
    found = psi(counts, reference)
    chance = psi_by_chance(sum(counts), sum(reference), len(counts))
    differences = [a - r for a, r in zip(shares(counts), shares(reference), strict=True)]
    where = max(range(len(differences)), key=lambda at: abs(differences[at]))
    size: Size = "none"
    if found > chance:
        size = "large" if found >= LARGE else "some" if found >= SOME else "small"
    return Shift(found, chance, differences[where], where, size)
