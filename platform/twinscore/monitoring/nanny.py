"""How large a number's error is expected to be, from its score alone: direct loss estimation; pure.

NannyML trains a second model, the nanny, that predicts the loss (2022, "How it works: performance estimation"). Here
the nanny is a table: the mean loss in each bin of the score, as known outcomes had it. A table needs no training,
merges as counts do, and says how sure it is; what it cannot see is an error that grows while the scores stay as they
were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from twinscore.errors import SchemaMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from twinscore.contract.moments import Moments
    from twinscore.monitoring.estimate_tally import EstimateTally
    from twinscore.monitoring.outcomes import OutcomeTally

    Floats = NDArray[np.float64]

__all__ = ["LossTable", "Nanny"]

_FEWEST_PER_BIN = 30
"""A bin with fewer outcomes takes the mean of all."""
_LAPLACE = 5.0
"""Variance of the squared error over the square of its mean, were errors Laplace's; for bundles, which keep no more."""


@dataclass(frozen=True, slots=True)
class LossTable:
    """One loss in each bin of the score; all (n_bins,)."""

    mean: tuple[float, ...]
    variance: tuple[float, ...]
    """Of one row's loss."""
    rows: tuple[float, ...]
    """How many rows the mean is of."""

    @classmethod
    def of(cls, bins: Sequence[Moments], whole: Moments) -> Self:
        """Take the moments of each bin, or those of all where a bin has too few."""
        used = [one if one.n >= _FEWEST_PER_BIN else whole for one in bins]
        return cls(
            tuple([one.mean for one in used]),
            tuple([one.deviation**2 for one in used]),
            tuple([float(one.n) for one in used]),
        )

    def expected(self, counts: Sequence[int]) -> tuple[float, float]:
        """Return the mean loss of rows that fall into the bins like this, and its standard error as a forecast."""
        rows = np.asarray(counts, np.float64)
        share, variance = rows / rows.sum(), np.asarray(self.variance)
        spread = variance * (share / rows.sum() + np.square(share) / np.asarray(self.rows))
        return float(share @ np.asarray(self.mean)), math.sqrt(float(spread.sum()))


@dataclass(frozen=True, slots=True)
class Nanny:
    """What absolute and squared errors are expected to be."""

    edges: tuple[float, ...]
    """Inner edges of the bins of the score."""
    by_absolute: LossTable
    by_squared: LossTable
    rows: int
    """Rows whose errors it knows."""

    @classmethod
    def learnt(cls, outcomes: OutcomeTally) -> Self | None:
        """Learn from the outcomes of past windows; None where they are too few, or not numbers."""
        if outcomes.kind != "regression" or outcomes.absolute.n < _FEWEST_PER_BIN:
            return None
        return cls(
            outcomes.edges,
            LossTable.of([one.amount for one in outcomes.bins], outcomes.absolute),
            LossTable.of([one.squared for one in outcomes.bins], outcomes.squared),
            outcomes.absolute.n,
        )

    @classmethod
    def of_reference(
        cls,
        edges: Sequence[float],
        counts: Sequence[int],
        half_widths: Floats,
        *,
        mae: float,
        rmse: float,
        rows: int,
    ) -> Self | None:
        """Learn from what a bundle keeps: errors are taken to grow with the half width of the interval.

        Args:
            edges, counts: bins of the score and their reference rows, from the profile.
            half_widths: of the interval in the middle of each bin, (n_bins,).
            mae, rmse: on the rows held out from training, from the model card.
            rows: how many these were.

        Returns:
            None where the bundle does not say enough.
        """
        share = np.asarray(counts, np.float64)
        if not rows or not share.sum() or not all(map(math.isfinite, (mae, rmse))):
            return None
        share /= share.sum()
        width = half_widths if np.isfinite(half_widths).all() and half_widths.max() > 0 else np.ones(len(share))
        absolute = mae * width / float(share @ width)
        squared = rmse**2 * np.square(width) / float(share @ np.square(width))
        each = tuple(np.maximum(share * rows, 1.0).tolist())
        spread = np.maximum(squared - np.square(absolute), 0.0)
        return cls(
            tuple(edges),
            LossTable(tuple(absolute.tolist()), tuple(spread.tolist()), each),
            LossTable(tuple(squared.tolist()), tuple((_LAPLACE * np.square(squared)).tolist()), each),
            rows,
        )

    def absolute(self, tally: EstimateTally) -> tuple[float, float]:
        """Return the expected mean absolute error of a window, and its standard error."""
        return self.by_absolute.expected(self._counts(tally))

    def squared(self, tally: EstimateTally) -> tuple[float, float]:
        """Return the expected mean squared error of a window, and its standard error."""
        return self.by_squared.expected(self._counts(tally))

    def _counts(self, tally: EstimateTally) -> Sequence[int]:
        if self.edges != tally.edges:
            message = "What is known of errors is in other bins of the score than the answers: of another version."
            raise SchemaMismatch(message, bins=len(tally.bins))
        return tally.bins
