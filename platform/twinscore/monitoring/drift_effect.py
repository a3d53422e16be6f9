"""How far counts moved from a reference's, as numbers that do not depend on how many rows there are; pure.

PSI is `bundle.shift.psi`. Counts are (n_cells,) in the same cells; nothing here says whether a change is chance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["cramers_v", "js_distance", "ks_distance", "psi_of_shift", "rank_of_shift"]


def js_distance(counts: NDArray[np.int64], reference: NDArray[np.int64]) -> float:
    """Return the Jensen-Shannon distance, base 2: the root of the divergence (Lin, 1991), from 0 to 1.

    Raises:
        ValueError: one of them holds no row.
    """
    a, r = _shares(counts), _shares(reference)
    middle = (a + r) / 2
    return math.sqrt(max(0.0, (_relative(a, middle) + _relative(r, middle)) / 2))


def ks_distance(counts: NDArray[np.int64], reference: NDArray[np.int64]) -> float:
    """Return the largest difference of the two distribution functions at the bin edges, from 0 to 1.

    Between edges the difference of the raw values may be larger, by at most the larger share of the two in a bin.

    Raises:
        ValueError: one of them holds no row.
    """
    apart = np.abs(np.cumsum(_shares(counts)) - np.cumsum(_shares(reference)))
    return float(apart[:-1].max(initial=0.0))


def cramers_v(counts: NDArray[np.int64], reference: NDArray[np.int64]) -> float:
    """Return Cramér's V (Cramér, 1946) of the cell and of being in the window, from 0 to 1.

    Window and reference weigh the same, so that the figure does not depend on their sizes.

    Raises:
        ValueError: one of them holds no row.
    """
    a, r = _shares(counts), _shares(reference)
    some = (a + r) > 0
    return math.sqrt(min(1.0, float(np.sum((a - r)[some] ** 2 / (a + r)[some])) / 2))


def psi_of_shift(deviations: float) -> float:
    """Return the PSI of a normal number that moved by so many standard deviations, without bins: their square."""
    return deviations**2


def rank_of_shift(deviations: float) -> float:
    """Return 2 P(later > earlier) - 1 of a normal number that moved by so many standard deviations.

    >>> round(rank_of_shift(0.2), 4)
    0.1125
    """
    return math.erf(deviations / 2)


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    total = counts.sum()
    if not total:
        message = "Shares of no rows are not defined; ask only for windows that have some."
        raise ValueError(message)
    return np.asarray(counts / total, dtype=np.float64)


def _relative(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the Kullback-Leibler divergence in bits; b is above 0 wherever a is."""
    some = a > 0
    return float(np.sum(a[some] * np.log2(a[some] / b[some])))
