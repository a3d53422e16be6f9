"""Drift of a version in time: each window held against the reference, with what the windows before it showed; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.monitoring.drift import drift_figures
from twinscore.monitoring.drift_counts import Reference, WindowCounts, counted
from twinscore.monitoring.drift_finding import findings_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twinscore.monitoring.drift_finding import Findings
    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.plan import Plan
    from twinscore.monitoring.spec import WatchedDrift
    from twinscore.monitoring.tally import WindowTally

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
    """What windows showed, found once for each tally although several windows look back at it.

    Args:
        rule: when a change counts.
    """

    def __init__(self, rule: WatchedDrift) -> None:
        self._rule = rule
        self._found: dict[int, tuple[WindowTally, Findings]] = {}

    def figures(
        self,
        tally: WindowTally,
        earlier: Sequence[WindowTally],
        *,
        plan: Plan,
        reference: Reference,
        where: Mapping[str, Any],
    ) -> list[Figure]:
        """Return the figures of drift of one window.

        Args:
            tally: of the window.
            earlier: of windows of the same version, role and path before it, from the oldest to the newest.
            plan: of the version.
            reference: its counts.
            where: the keys of every figure.
        """
        before = [self._findings(one, plan, reference) for one in earlier]
        return drift_figures(window_counts(tally, plan), reference, self._rule, where=where, earlier=before)

    def _findings(self, tally: WindowTally, plan: Plan, reference: Reference) -> Findings:
        # The tally is kept beside what was found, so that its id stays its own.
        known = self._found.get(id(tally))
        if known is None:
            known = tally, findings_of(window_counts(tally, plan), reference, self._rule)
            self._found[id(tally)] = known
        return known[1]
