"""Batch runs of a window: how many, how long, how much was refused; mergeable counts and exact sums, pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from twinscore.contract.moments import Extremes, Moments
from twinscore.monitoring.exact import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RunTally"]

_NONE = Extremes(None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTally:
    """Runs that ended in a window."""

    committed: int = 0
    refused: int = 0
    """Ended without becoming visible, because too much was refused."""
    rows_in: int = 0
    """Rows that runs took in, committed or not."""
    rows_quarantined: int = 0
    """Those of them that the contract refused."""
    seconds: Moments = NOTHING
    """From first look to commit."""
    longest: Extremes = _NONE
    """Of `seconds`."""

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Self:
        """Count one run by its manifest."""
        took = manifest.get("seconds", {}).get("total")
        return cls(
            committed=int("refused" not in manifest),
            refused=int("refused" in manifest),
            rows_in=int(manifest.get("rows_in", 0)),
            rows_quarantined=int(manifest.get("rows_quarantined", 0)),
            seconds=NOTHING if took is None else Moments.of(np.array([took], np.float64)),
            longest=_NONE if took is None else Extremes(float(took), float(took)),
        )

    def merge(self, other: Self, /) -> Self:
        """Return the tally of the runs of both."""
        return type(self)(
            committed=self.committed + other.committed,
            refused=self.refused + other.refused,
            rows_in=self.rows_in + other.rows_in,
            rows_quarantined=self.rows_quarantined + other.rows_quarantined,
            seconds=self.seconds.merge(other.seconds),
            longest=self.longest.merge(other.longest),
        )

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "committed": self.committed,
            "refused": self.refused,
            "rows_in": self.rows_in,
            "rows_quarantined": self.rows_quarantined,
            "seconds": self.seconds.to_json(),
            "longest": self.longest.to_json(),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], /) -> Self:
        """Return what `to_json` was made from."""
        sums = {"seconds": Moments.from_json(plain["seconds"]), "longest": Extremes.from_json(plain["longest"])}
        return cls(**{**plain, **sums})
