"""Counts that drift is told from: a window's and the reference's, in the reference profile's fixed bins; pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Counted", "Kind", "Reference", "WindowCounts", "counted", "reference_of", "segment_reference"]

Kind = Literal["numeric", "categorical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Rows of one feature, or of the scores."""

    kind: Kind
    counts: NDArray[np.int64]
    """(n_bins,): rows in each bin of a number, or of each known category."""
    missing: int = 0
    """Rows without a value."""
    new: int = 0
    """Rows with a category that training never saw; not among the missing ones."""

    @property
    def cells(self) -> NDArray[np.int64]:
        """(n_cells,): rows in each bin; of a category also those of new ones, last."""
        return np.append(self.counts, self.new) if self.kind == "categorical" else self.counts

    @property
    def present(self) -> int:
        """Rows with a value."""
        return int(self.counts.sum()) + self.new

    @property
    def rows(self) -> int:
        """All rows."""
        return self.present + self.missing


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowCounts:
    """What one window holds."""

    features: Mapping[str, Counted]
    score: Counted | None = None
    decisions: Mapping[str, int] = field(default_factory=dict)
    """Rows of each decision; empty for a model without decisions."""
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What windows are held against; equal to another when the digest is."""

    digest: str
    """Of the profile: what is calibrated for a reference is kept by it."""
    features: Mapping[str, Counted] = field(compare=False)
    score: Counted | None = field(default=None, compare=False)
    decisions: Mapping[str, int] = field(default_factory=dict, compare=False)


def counted(kind: Kind, counts: Sequence[int] | NDArray[np.int64], missing: int = 0, new: int = 0) -> Counted:
    """Return counts of any whole numbers as they are compared here."""
    return Counted(kind=kind, counts=np.asarray(counts, dtype=np.int64), missing=int(missing), new=int(new))


def reference_of(profile: Mapping[str, Any]) -> Reference:
    """Return the counts of a bundle's reference profile, see `bundle.profile.build_profile`."""
    features = {
        name: counted("categorical" if one["kind"] == "categorical" else "numeric", one["counts"], one["missing"])
        for name, one in profile["features"].items()
    }
    score = profile.get("score")
    text = json.dumps(profile, sort_keys=True, default=str)
    return Reference(
        digest=hashlib.sha256(text.encode()).hexdigest(),
        features=features,
        score=None if score is None else counted("numeric", score["counts"]),
        decisions={str(name): int(count) for name, count in profile.get("decisions", {}).items()},
    )


def segment_reference(profile: Mapping[str, Any], segment: str) -> Reference | None:
    """Return the counts of one segment, `column=value`, of a reference profile; None where it keeps none of it."""
    column, _, value = segment.partition("=")
    known = profile.get("segments", {}).get(column, {}).get(value)
    if known is None:
        return None
    features = {name: {**known["features"][name], "kind": one["kind"]} for name, one in profile["features"].items()}
    score = {"counts": known["score"]}
    return reference_of({"features": features, "score": score, "decisions": known.get("decisions", {})})
