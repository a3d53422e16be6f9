"""All figures of one window of one version, from its tally: one maker after the other; pure."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from twinscore.monitoring.attribution_drift import AttributionTally, attribution_drift
from twinscore.monitoring.class_performance import class_performance
from twinscore.monitoring.class_tally import ClassTally
from twinscore.monitoring.estimate import estimates
from twinscore.monitoring.estimate_tally import EstimateTally
from twinscore.monitoring.fairness import fairness
from twinscore.monitoring.figure import Figure
from twinscore.monitoring.figures_runs import model_age, runs
from twinscore.monitoring.figures_scores import scores
from twinscore.monitoring.figures_service import service
from twinscore.monitoring.group_tally import GroupTally
from twinscore.monitoring.label_delay import DelayTally, label_delays
from twinscore.monitoring.learnt import learnt
from twinscore.monitoring.outcomes import OutcomeTally
from twinscore.monitoring.performance import performance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.monitoring.known_version import KnownVersion
    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.monitoring.tally import WindowTally
    from twinscore.monitoring.window_drift import DriftInTime
    from twinscore.monitoring.window_key import WindowKey

__all__ = ["FORMAT", "window_figures"]

FORMAT = 3
"""Raised when the same counts give other figures, so that those of past windows are made again."""


def window_figures(
    key: WindowKey,
    tally: WindowTally,
    known: KnownVersion | None,
    spec: MonitorSpec,
    *,
    drift: DriftInTime,
    earlier: Mapping[WindowKey, WindowTally] | None = None,
    past: OutcomeTally | None = None,
    mature: bool = True,
) -> list[Figure]:
    """Return what one window says.

    A segment is held against the same segment of the reference, and where the reference profile keeps none of it there
    is no drift to tell.

    Args:
        key: which window.
        tally: counts of all its sources.
        known: the version; None when nobody could tell which answered, or its bundle is gone.
        spec: what is watched.
        drift: what was found of windows so far.
        earlier: the windows of the same series before, from the oldest to the newest.
        past: outcomes that estimates start from, see `window_past`.
        mature: whether its outcomes are expected to be known.
    """
    where: dict[str, Any] = {
        "model": key.model, "version": key.version, "role": key.role, "path": key.path, "segment": key.segment,
        "start": key.start, "end": key.end,
    }  # fmt: skip
    figure, before = partial(Figure, **where), earlier or {}
    found = [*service(tally.service, figure), *runs(tally.runs, figure), *scores(tally, figure)]
    outcomes, groups, estimate, explained, delays, classes = (tally.parts.get(name) for name in _PARTS)
    if known is not None and tally.rows:
        reference = known.reference_in(key.segment) if key.segment else known.reference
        if reference is None:
            found.append(figure(metric="drifted_features", value=None, rows=tally.rows, note=_NO_REFERENCE))
        else:
            found += drift.figures(key, tally, before, plan=known.plan, reference=reference, where=where)
        if isinstance(explained, AttributionTally) and not key.segment:
            found += attribution_drift(explained, known.attribution, figure)
    if known is not None and isinstance(estimate, EstimateTally) and tally.rows:
        start = learnt(known.plan, known.bundle, past)
        found += estimates(estimate, figure, correction=start.correction, nanny=start.nanny)
    if known is not None and key.role == "live" and not key.segment:
        found += model_age(known.plan, key.end, figure)
    if isinstance(outcomes, OutcomeTally) and spec.labels is not None and outcomes.rows:
        found += performance(outcomes, figure, mature=mature)
        waits = delays if isinstance(delays, DelayTally) else DelayTally()
        found += label_delays(waits, figure, rows=outcomes.rows, timed=spec.labels.at is not None, mature=mature)
        if isinstance(classes, ClassTally) and known is not None and known.plan.classes:
            found += class_performance(classes, figure, classes=len(known.plan.classes), mature=mature)
    if isinstance(groups, GroupTally) and not key.segment:
        found += fairness(groups, figure, fewest=spec.fewest_in_group, mature=mature)
    notes = "; ".join(sorted(tally.notes))
    return [replace(one, note=one.note or notes) for one in found] if notes else found


_NO_REFERENCE = "the reference profile does not keep how this segment was spread"
_PARTS = ("outcomes", "groups", "estimate", "attribution", "delays", "classes")
