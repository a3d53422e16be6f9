"""Drift of a version in time: each window held against the reference, with what the windows before it showed; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.monitoring.drift import drift_figures
from twinscore.monitoring.drift_counts import Reference, WindowCounts, counted
from twinscore.monitoring.drift_finding import findings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.monitoring.drift_finding import Findings
    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.plan import Plan
    from twinscore.monitoring.spec import WatchedDrift
    from twinscore.monitoring.tally import WindowTally
    from twinscore.monitoring.window_key import WindowKey

__all__ = ["DriftInTime", "looked_back", "window_counts"]

_LOOK_BACK = 3
"""Windows that are looked at for each that must have told, because some may not tell."""


def looked_back(rule: WatchedDrift) -> int:
    """Return how many windows before one bear on what it says."""
    return _LOOK_BACK * (rule.of - 1)


def window_counts(tally: WindowTally, plan: Plan) -> WindowCounts:
    """Return what drift is told from; features that were not counted are left out."""
    kinds = {one.name: one.kind for one in plan.features}
    features = {
        name: counted(kinds[name], one.bins, one.missing, one.unseen)
        for name, one in tally.features.counts.items()
        if name in kinds
    }
    score = counted("numeric", tally.score.bins) if tally.score.bins else None
    return WindowCounts(features=features, score=score, decisions=tally.decisions.counts, rows=tally.rows)


class DriftInTime:
    """What windows showed, found once for each although several look back at it.

    Args:
        rule: when a change counts.
    """

    def __init__(self, rule: WatchedDrift) -> None:
        self._rule = rule
        self._found: dict[WindowKey, Findings] = {}

    def figures(
        self,
        key: WindowKey,
        tally: WindowTally,
        earlier: Mapping[WindowKey, WindowTally],
        *,
        plan: Plan,
        reference: Reference,
        where: Mapping[str, Any],
    ) -> list[Figure]:
        """Return the figures of drift of one window.

        Args:
            key: which window.
            tally: of it.
            earlier: windows of the same version, role and path before it, from the oldest to the newest.
            plan: of the version.
            reference: its counts.
            where: the keys of every figure.
        """
        window = window_counts(tally, plan)
        before = [self._findings(one, window_counts(counts, plan), reference) for one, counts in earlier.items()]
        found = self._findings(key, window, reference)
        return drift_figures(window, reference, self._rule, where=where, earlier=before, found=found)

    def _findings(self, key: WindowKey, window: WindowCounts, reference: Reference) -> Findings:
        if key not in self._found:
            self._found[key] = findings_of(window, reference, self._rule)
        return self._found[key]
