"""Scored rows of one version as arrays, ready to be counted; the same for the audit log and for committed runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Block", "Codes"]


@dataclass(frozen=True, slots=True)
class Codes:
    """A column of few values: (n_rows,) places in `names`, -1 where there is none."""

    codes: NDArray[np.int64]
    names: tuple[str, ...]

    def where(self, mask: NDArray[np.bool_]) -> Codes:
        """Return the rows of a mask: (n_rows,)."""
        return Codes(self.codes[mask], self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Rows of one version, role and path that were scored; refused rows are counted elsewhere.

    All arrays have n_rows. What is not known of a row is NaN, -1 in whole numbers.
    """

    features: NDArray[np.float32]
    """(n_rows, n_features) as the booster saw them, see FeatureSpec.encode."""
    absent: frozenset[str] = frozenset()
    """Features that are not known of any row, as of columns that the log hashes; their cells say nothing."""
    unseen: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Of categorical features: rows with a category that training never saw; the booster saw it as missing."""
    score: NDArray[np.float64]
    decision: Codes
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    set_size: NDArray[np.int64]
    """Classes in the prediction set."""
    review: NDArray[np.bool_]
    groups: Mapping[str, Codes] = field(default_factory=dict)
    """Group columns, for fairness; names are shown values, a missing one is `(missing)`."""
    label: NDArray[np.float64] | None = None
    """Outcome: the class's place in the model card's `classes`, or the number; None when no labels were joined."""
    covered: NDArray[np.int64] | None = None
    """1 where the interval or prediction set holds the outcome, 0 where not."""
    delay_s: NDArray[np.float64] | None = None
    """Seconds from the score to the moment at which the outcome was first known; None when that was not joined."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.score)

    def with_groups(self, groups: Mapping[str, Codes]) -> Block:
        """Return the same rows with other group columns."""
        return replace(self, groups=groups)

    def where(self, mask: NDArray[np.bool_]) -> Block:
        """Return the rows of a mask: (n_rows,)."""
        return replace(
            self,
            features=self.features[mask],
            unseen={name: rows[mask] for name, rows in self.unseen.items()},
            score=self.score[mask],
            decision=self.decision.where(mask),
            lower=self.lower[mask],
            upper=self.upper[mask],
            set_size=self.set_size[mask],
            review=self.review[mask],
            groups={name: codes.where(mask) for name, codes in self.groups.items()},
            label=None if self.label is None else self.label[mask],
            covered=None if self.covered is None else self.covered[mask],
            delay_s=None if self.delay_s is None else self.delay_s[mask],
        )
