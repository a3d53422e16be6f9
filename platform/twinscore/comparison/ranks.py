"""Whether two versions order rows alike: Spearman's and Kendall's rank correlation, in n log n steps; pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from twinscore.comparison.estimate import Clusters, Estimate

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["MOST_ROWS", "kendall", "rank_correlation", "spearman"]

MOST_ROWS = 20_000
"""Rows that rank correlations are taken of; of more, a seeded sample: each is computed forty times for its interval."""
_LARGEST = 1.0 - 1e-12


def spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return Spearman's rho of two columns, (n_rows,) each: the correlation of mean ranks; NaN when one is constant.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 9.0]))
    1.0
    """
    return _correlation(_ranks(one), _ranks(other))


def kendall(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return Kendall's tau-b of two columns, (n_rows,) each (Kendall, 1945; Knight, 1966); NaN when one is constant.

    >>> round(kendall(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])), 4)
    0.6667
    """
    n_rows = len(one)
    a, b = _dense(one), _dense(other)
    order = np.lexsort((b, a))
    a, b = a[order], b[order]
    pairs = n_rows * (n_rows - 1) // 2
    tied_a, tied_b = _tied(a), _tied(b)
    tied_both = _tied(_dense(a.astype(np.int64) * (n_rows + 1) + b))
    root = math.sqrt((pairs - tied_a) * (pairs - tied_b))
    if root == 0.0:
        return math.nan
    return (pairs - tied_a - tied_b + tied_both - 2 * _inversions(b)) / root


def rank_correlation(
    measure: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    clusters: Clusters,
) -> Estimate:
    """Return a rank correlation with its interval, which is made on Fisher's scale and never leaves -1 to 1."""
    if len(one) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(len(one), MOST_ROWS, replace=False))
        one, other, clusters = one[rows], other[rows], clusters.taking(rows)
    value = measure(one, other) if len(one) > 1 else math.nan
    if not math.isfinite(value):
        return Estimate(math.nan)
    without = []
    for group in clusters.groups():
        kept = clusters.group != group
        without.append(_stretched(measure(one[kept], other[kept])) if kept.sum() > 1 else math.nan)
    found = clusters.within(_stretched(value), without)
    if found.low is None or found.high is None:
        return Estimate(value)
    return Estimate(value, min(value, math.tanh(found.low)), max(value, math.tanh(found.high)))


def _stretched(value: float) -> float:
    return math.atanh(min(max(value, -_LARGEST), _LARGEST)) if math.isfinite(value) else math.nan


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    a, b = one - one.mean(), other - other.mean()
    root = math.sqrt(float(a @ a) * float(b @ b))
    return min(1.0, max(-1.0, float(a @ b) / root)) if root > 0.0 else math.nan


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value from 1; equal values share their mean rank."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return ranks


def _dense(values: NDArray[np.generic]) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = np.unique(values, return_inverse=True)[1].astype(np.int64)
    return codes


def _tied(codes: NDArray[np.int64]) -> int:
    """Return how many pairs of rows have the same code."""
    counts = np.bincount(codes)
    return int((counts * (counts - 1) // 2).sum())


def _inversions(codes: NDArray[np.int64]) -> int:
    """Return how many pairs stand in the wrong order: merge sort, all blocks of a level at once."""
    n_rows = len(codes)
    span = int(codes.max(initial=0)) + 1
    places = np.arange(n_rows)
    total, width = 0, 1
    while width < n_rows:
        pair = places // (2 * width)
        right = (places // width) % 2 == 1
        keyed = pair * span + codes  # ascends within each half, and from one pair of halves to the next
        left_keys = keyed[~right]
        ends = np.searchsorted(left_keys, (pair[right] + 1) * span)  # of the left half of the same pair
        total += int((ends - np.searchsorted(left_keys, keyed[right], side="right")).sum())
        codes = codes[np.argsort(keyed, kind="stable")]
        width *= 2
    return total
