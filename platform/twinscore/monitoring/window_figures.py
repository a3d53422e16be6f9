"""All figures of one window of one version, from its tally: one maker after the other; pure."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from twinscore.monitoring.fairness import fairness
from twinscore.monitoring.figure import Figure
from twinscore.monitoring.figures_runs import model_age, runs
from twinscore.monitoring.figures_scores import scores
from twinscore.monitoring.figures_service import service
from twinscore.monitoring.group_tally import GroupTally
from twinscore.monitoring.outcomes import OutcomeTally
from twinscore.monitoring.performance import performance

if TYPE_CHECKING:
    from twinscore.monitoring.plan import Plan
    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.monitoring.tally import WindowTally
    from twinscore.monitoring.window_key import WindowKey

__all__ = ["FORMAT", "window_figures"]

FORMAT = 1
"""Raised when the same counts give other figures, so that those of past windows are made again."""


def window_figures(
    key: WindowKey, tally: WindowTally, plan: Plan | None, spec: MonitorSpec, *, mature: bool = True
) -> list[Figure]:
    """Return what one window says.

    Args:
        key: which window.
        tally: counts of all its sources.
        plan: of the version; None when nobody could tell which answered, or its bundle is gone.
        spec: what is watched.
        mature: whether its outcomes are expected to be known.
    """
    figure = partial(
        Figure, model=key.model, version=key.version, role=key.role, path=key.path, segment=key.segment,
        start=key.start, end=key.end,
    )  # fmt: skip
    found = [*service(tally.service, figure), *runs(tally.runs, figure), *scores(tally, figure)]
    if plan is not None and key.role == "live" and not key.segment:
        found += model_age(plan, key.end, figure)
    outcomes, groups = tally.parts.get("outcomes"), tally.parts.get("groups")
    if isinstance(outcomes, OutcomeTally) and spec.labels is not None and outcomes.rows:
        found += performance(outcomes, figure, mature=mature)
    if isinstance(groups, GroupTally) and not key.segment:
        found += fairness(groups, figure, fewest=spec.fewest_in_group, mature=mature)
    notes = "; ".join(sorted(tally.notes))
    return [replace(one, note=one.note or notes) for one in found] if notes else found
