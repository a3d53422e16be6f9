"""Whether the features that matter are those that mattered when the model was made; pure.

The figure is Clarify's (Amazon SageMaker, "Feature attribution drift"): NDCG of the ranking by live importance, where
what a feature is worth is its reference importance (Järvelin and Kekäläinen, 2002); 1 is the same ranking, and below
0.9 Clarify reports a violation. Importance is the mean absolute SHAP value of the margin. Equal live importances share
their places, as scikit-learn has it.

Its p-value is simulated: were nothing changed, how often would two samples of these sizes rank so differently?
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from twinscore.contract.moments import Moments
from twinscore.errors import SchemaMismatch
from twinscore.monitoring.classes import decided_class
from twinscore.scoring.attribution import attribution_of
from twinscore.scoring.link import link_of
from twinscore.scoring.table import predict_margins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from twinscore.bundle.files import Bundle
    from twinscore.monitoring.block import Block
    from twinscore.monitoring.classes import Scored
    from twinscore.monitoring.figure import Figure

    Floats = NDArray[np.float64]

__all__ = ["AttributionTally", "attribution_drift", "ndcg", "reference_attribution", "sampled_rows"]

FEWEST = 30
"""Explained rows that a ranking needs."""
_DRAWS = 999
_SEED = 20_260_301


@dataclass(frozen=True, slots=True)
class AttributionTally:
    """Sizes of the contributions of explained rows, per feature, in exact sums: they merge to the same bits anyhow.

    A `scoring.attribution_summary` says more of a group of rows, in floating-point sums that depend on the order.
    """

    features: tuple[str, ...] = ()
    sizes: tuple[Moments, ...] = ()
    """Of the absolute contributions of each feature."""

    @classmethod
    def of_contributions(cls, contributions: NDArray[np.floating[Any]], features: Sequence[str]) -> Self:
        """Sum up contributions of one output, (n_rows, n_features).

        Raises:
            SchemaMismatch: there are not as many columns as names.
        """
        if contributions.ndim != 2 or contributions.shape[1] != len(features):
            message = f"Contributions of shape {contributions.shape} do not fit {len(features)} features, one a column."
            raise SchemaMismatch(message, expected=len(features), found=list(contributions.shape))
        sizes = np.ascontiguousarray(np.abs(contributions.astype(np.float64)).T)
        return cls(tuple(features), tuple([Moments.of(column) for column in sizes]))

    @classmethod
    def of(cls, block: Block, plan: Scored, bundle: Bundle, *, share: float = 1.0) -> Self:
        """Explain a share of the rows of a block, the same ones in any split, and sum up.

        Of more than two classes the decided one is explained; rows without a decision are left out.
        """
        chosen = sampled_rows(block.features, share)
        decided = np.zeros(block.rows, np.int64)
        attribution = attribution_of(bundle)
        if attribution.n_outputs > 1:
            decided = decided_class(block, plan)
            chosen &= decided >= 0
        return cls.of_contributions(
            attribution.contributions(block.features[chosen], output=decided[chosen]), bundle.spec.names
        )

    @property
    def rows(self) -> int:
        """How many rows were explained."""
        return self.sizes[0].n if self.sizes else 0

    @property
    def importance(self) -> Floats:
        """Mean size of each feature's contribution, (n_features,)."""
        return np.array([one.mean for one in self.sizes])

    def merge(self, other: AttributionTally) -> AttributionTally:
        """Return the tally of the rows of both; one without features changes nothing.

        Raises:
            SchemaMismatch: they are about different features, or in another order.
        """
        if not self.features or not other.features:
            return self if self.features else other
        if self.features != other.features:
            differing = sorted(set(self.features) ^ set(other.features)) or ["their order"]
            message = f"Contributions of different features cannot be added; they differ in {', '.join(differing[:5])}."
            raise SchemaMismatch(message, differing=differing[:5])
        sizes = tuple([mine.merge(its) for mine, its in zip(self.sizes, other.sizes, strict=True)])
        return AttributionTally(self.features, sizes)

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {"features": list(self.features), "sizes": [one.to_json() for one in self.sizes]}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `to_json` was made from.

        Raises:
            SchemaMismatch: it is something else.
        """
        try:
            found = cls(tuple(plain["features"]), tuple([Moments.from_json(one) for one in plain["sizes"]]))
        except (KeyError, TypeError, ValueError) as error:
            message = f"These are not sums of contributions: {type(error).__name__} {error}."
            raise SchemaMismatch(message) from error
        if len(found.features) != len(found.sizes):
            message = f"These are not sums of contributions: {len(found.sizes)} for {len(found.features)} features."
            raise SchemaMismatch(message, expected=len(found.features))
        return found


def sampled_rows(encoded: NDArray[np.float32], share: float) -> NDArray[np.bool_]:
    """Return which rows, (n_rows, n_features), belong to a sample of that share.

    A hash of the row itself decides, so that the sample is the same in any split and order; equal rows go together.
    """
    if share >= 1.0:
        return np.ones(len(encoded), bool)
    bits = np.ascontiguousarray(encoded, np.float32).view(np.uint32).astype(np.uint64)
    mixed = np.full(len(encoded), 0x9E3779B97F4A7C15, np.uint64)
    for column in bits.T:
        mixed = (mixed ^ column) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(29)
    chosen: NDArray[np.bool_] = (mixed * np.uint64(0x94D049BB133111EB)) >> np.uint64(11) < int(share * 2**53)
    return chosen


def reference_attribution(bundle: Bundle) -> AttributionTally:
    """Explain the golden rows of a bundle: what mattered when the model was made.

    They are some hundred rows of the data that the model was made of, drawn at random, and for each feature its
    extremes, some missing values and one row of each text; the profile keeps no importance, and XGBoost's gain is
    another quantity than SHAP values. Windows that are known to be sound are the better reference where there are some.
    """
    encoded = bundle.spec.encode(bundle.checker.conform(bundle.golden, source="golden rows"))
    decided = np.zeros(len(encoded), np.int64)
    attribution = attribution_of(bundle)
    if attribution.n_outputs > 1:
        decided = np.argmax(link_of(bundle.card.objective)(predict_margins(encoded, bundle)), axis=1)
    return AttributionTally.of_contributions(attribution.contributions(encoded, output=decided), bundle.spec.names)


def ndcg(reference: Floats, live: Floats) -> float | None:
    """Return how well the ranking by `live` puts what has worth in `reference` first, (n_features,); None of no worth.

    >>> ndcg(np.array([3.0, 2.0, 1.0]), np.array([0.3, 0.2, 0.1]))
    1.0
    """
    discount = 1.0 / np.log2(np.arange(len(reference)) + 2.0)
    best = float(np.sort(reference)[::-1] @ discount)
    if not best > 0.0:
        return None
    _, rank, counts = np.unique(-live, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    each = np.array([discount[end - count : end].mean() for end, count in zip(ends, counts, strict=True)])
    return min(1.0, float(reference @ each[rank]) / best)


def attribution_drift(
    tally: AttributionTally, reference: AttributionTally, figure: Callable[..., Figure]
) -> list[Figure]:
    """Return how alike the ranking of a window is to the reference's.

    Args:
        tally: explained rows of the window.
        reference: see `reference_attribution`, or the tally of windows that are known to be sound.
        figure: makes a figure of that window from what is given here, such as a `partial` of Figure.

    Raises:
        SchemaMismatch: they are about different features.
    """
    tally.merge(reference)  # refuses different features
    for name, one in (("window", tally), ("reference", reference)):
        if one.rows < FEWEST:
            note = f"the {name} has {one.rows} explained rows, {FEWEST} are needed"
            return [figure(metric="attribution_ndcg", value=None, rows=tally.rows, note=note)]
    value = ndcg(reference.importance, tally.importance)
    if value is None:
        return [figure(metric="attribution_ndcg", value=None, rows=tally.rows, note="no feature contributes anything")]
    note = _moved(reference, tally)
    return [
        figure(
            metric="attribution_ndcg",
            value=value,
            p_value=_p_value(value, tally, reference),
            rows=tally.rows,
            note=note,
        )
    ]


def _p_value(value: float, tally: AttributionTally, reference: AttributionTally) -> float:
    """Return how often two samples of one population, of these sizes, rank at least as differently."""
    pooled = [mine.merge(its) for mine, its in zip(tally.sizes, reference.sizes, strict=True)]
    mean, spread = np.array([one.mean for one in pooled]), np.array([one.deviation for one in pooled])
    rng, shape = np.random.default_rng(_SEED), (_DRAWS, len(mean))
    worth = np.maximum(mean + spread / math.sqrt(reference.rows) * rng.standard_normal(shape), 0.0)
    live = mean + spread / math.sqrt(tally.rows) * rng.standard_normal(shape)
    discount = 1.0 / np.log2(np.arange(shape[1]) + 2.0)
    gained = np.take_along_axis(worth, np.argsort(-live, axis=1, kind="stable"), axis=1) @ discount
    best = -np.sort(-worth, axis=1) @ discount
    drawn = np.divide(gained, best, out=np.ones(_DRAWS), where=best > 0.0)
    return float(1 + (drawn <= value + 1e-12).sum()) / (_DRAWS + 1)


def _moved(reference: AttributionTally, tally: AttributionTally) -> str:
    """Say which feature's place in the ranking changed most."""
    before, now = (np.argsort(np.argsort(-one.importance, kind="stable")) for one in (reference, tally))
    worth = np.abs(1.0 / np.log2(now + 2.0) - 1.0 / np.log2(before + 2.0)) * reference.importance
    most = int(np.argmax(worth))
    if before[most] == now[most]:
        return "the ranking is the same"
    return f"{tally.features[most]} from place {before[most] + 1} to {now[most] + 1}"
