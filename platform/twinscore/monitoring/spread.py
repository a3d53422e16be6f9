"""From the counts of one window to distributions beside the reference, as a report shows them; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.monitoring.shown import Distribution

if TYPE_CHECKING:
    from twinscore.monitoring.plan import FeaturePlan, Plan
    from twinscore.monitoring.tally import WindowTally
    from twinscore.monitoring.tally_features import FeatureCounts
    from twinscore.monitoring.window_key import WindowKey

__all__ = ["distributions_of"]

_MISSING, _UNSEEN = "(missing)", "(new)"


def distributions_of(key: WindowKey, tally: WindowTally, plan: Plan) -> list[Distribution]:
    """Return how the scores and every feature of a window are spread.

    Args:
        key: which window.
        tally: its counts.
        plan: of the version that the counts were made with.
    """
    where: dict[str, Any] = {"version": key.version, "path": key.path, "start": key.start, "end": key.end}
    found = []
    if tally.score.bins:
        reference = plan.profile["score"].get("counts", ())
        found.append(Distribution.of_bins("", plan.score_edges, tally.score.bins, reference, **where))
    for feature in plan.features:
        counts = tally.features.counts.get(feature.name)
        if counts is not None and counts.rows:
            found.append(_feature(feature, counts, where))
    return found


def _feature(plan: FeaturePlan, counts: FeatureCounts, where: dict[str, Any]) -> Distribution:
    numeric = plan.kind == "numeric"
    made = Distribution.of_bins(plan.name, plan.edges, counts.bins, plan.counts) if numeric else None
    names, rows, reference = plan.categories if made is None else made.names, list(counts.bins), list(plan.counts)
    # What is nowhere to be seen is not a cell.
    for name, mine, theirs in ((_UNSEEN, counts.unseen, 0), (_MISSING, counts.missing, plan.missing)):
        if mine or theirs:
            names, rows, reference = (*names, name), [*rows, mine], [*reference, theirs]
    return Distribution(
        feature=plan.name, names=names, counts=tuple(rows), reference=tuple(reference), ordered=numeric, **where
    )
