"""What is counted of one version's rows: features, their bin edges, classes; made from its bundle, once; pure.

The edges are those of the reference profile, so that counts of any window, part or machine can be added up and held
against the reference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.bundle.files import Bundle

__all__ = ["FeaturePlan", "Plan", "plan_of"]


@dataclass(frozen=True, slots=True)
class FeaturePlan:
    """One feature as the reference has it."""

    name: str
    kind: Literal["numeric", "categorical"]
    edges: tuple[float, ...]
    """Ascending inner edges of a number; bins are `(edge, next edge]`, open at both ends."""
    categories: tuple[str, ...]
    """Categories that training saw; a place is a code."""
    counts: tuple[int, ...]
    """Reference rows in each bin, or of each category."""
    missing: int
    """Reference rows without a value."""

    @property
    def bins(self) -> int:
        """Number of bins or categories."""
        return len(self.categories) if self.kind == "categorical" else len(self.edges) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How rows of one version are counted; plain values, so that it travels to workers."""

    bundle_digest: str
    features: tuple[FeaturePlan, ...]
    """In the booster's order, that of `Block.features`."""
    score_edges: tuple[float, ...]
    task: Literal["classification", "regression"]
    classes: tuple[str, ...]
    """Empty for numbers."""
    positive: str | None
    """The class that a score of two classes is the probability of."""
    created_at: str = ""
    """When the version was made, ISO 8601; empty where its card does not say."""
    profile: Mapping[str, Any] = field(hash=False, compare=False)
    """The whole reference profile, see `bundle.profile.build_profile`."""

    @property
    def reference_rows(self) -> int:
        """Rows of the reference."""
        return int(self.profile["rows"])

    def feature(self, name: str) -> FeaturePlan:
        """Return the feature of that name.

        Raises:
            KeyError: there is none.
        """
        for one in self.features:
            if one.name == name:
                return one
        raise KeyError(name)


def plan_of(bundle: Bundle) -> Plan:
    """Return what is counted of the rows that a bundle scored."""
    profile, card = bundle.profile, bundle.card
    features = []
    for feature in bundle.spec.features:
        known = profile["features"][feature.name]
        features.append(
            FeaturePlan(
                name=feature.name,
                kind=feature.kind,
                edges=tuple(known.get("edges", ())),
                categories=tuple(known.get("categories", ())),
                counts=tuple(known["counts"]),
                missing=int(known["missing"]),
            )
        )
    return Plan(
        bundle_digest=bundle.digest,
        features=tuple(features),
        score_edges=tuple(profile["score"]["edges"]),
        task=card.task,
        classes=tuple(card.classes),
        positive=card.positive,
        created_at=card.created_at,
        profile=profile,
    )
