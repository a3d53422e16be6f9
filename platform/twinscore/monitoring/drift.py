"""Figures of drift: one window held against the reference, with what earlier windows showed; pure.

Joined in one call: counts of the window and of the reference in, figures out. Nothing that cannot be told is said to be
no drift: its value is None and its note says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from twinscore.monitoring.drift_finding import findings_of
from twinscore.monitoring.drift_interval import share_difference
from twinscore.monitoring.drift_proof import same_share
from twinscore.monitoring.figure import Figure
from twinscore.monitoring.persistence import lasts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twinscore.monitoring.drift_counts import Reference, WindowCounts
    from twinscore.monitoring.drift_finding import Finding, Findings
    from twinscore.monitoring.spec import WatchedDrift

__all__ = ["drift_figures"]


def drift_figures(
    window: WindowCounts,
    reference: Reference,
    rule: WatchedDrift,
    *,
    where: Mapping[str, Any],
    earlier: Sequence[Findings] = (),
    found: Findings | None = None,
) -> list[Figure]:
    """Return the figures of drift of one window.

    Args:
        window: what it holds.
        reference: what it is held against.
        rule: when a change counts.
        where: the keys of every figure: model, version, role, path, segment, start and end.
        earlier: what `findings_of` said of the windows before, from the oldest to the newest; `rule.of` - 1 that could
            tell are enough.
    """
    now = found or findings_of(window, reference, rule)
    figures: list[Figure] = []
    drifted: list[bool | None] = []
    for name, finding in now.features.items():
        figures += [
            Figure(**where, metric=metric, subject=name, value=effect.value, low=effect.low, high=effect.high,
                   p_value=effect.p_value, rows=effect.rows, note=effect.note)
            for metric, effect in finding.effects.items()
        ]  # fmt: skip
        before = [one.features[name].changed if name in one.features else None for one in earlier]
        lasting, figure = _lasting("feature_drift", name, finding, before, rule, where)
        figures.append(figure)
        drifted.append(lasting)
    figures.append(_drifted(now, drifted, window.rows, where))
    if now.score is not None:
        before = [one.score.changed if one.score else None for one in earlier]
        figures += [
            Figure(**where, metric=f"score_{metric}", value=effect.value, low=effect.low, high=effect.high,
                   p_value=effect.p_value, rows=effect.rows, note=effect.note)
            for metric, effect in now.score.effects.items() if metric in ("psi", "ks")
        ]  # fmt: skip
        figures.append(_lasting("score_drift", "", now.score, before, rule, where)[1])
    return figures + _decisions(window, reference, rule, where)


def _lasting(
    metric: str,
    subject: str,
    finding: Finding,
    before: Sequence[bool | None],
    rule: WatchedDrift,
    where: Mapping[str, Any],
) -> tuple[bool | None, Figure]:
    seen = [*before, finding.changed]
    lasting = lasts(seen, rule.at_least, rule.of)
    told = [one for one in seen if one is not None][-rule.of :]
    note = finding.note or f"changed in {sum(told)} of the last {len(told)} windows that could tell"
    value = None if lasting is None else float(lasting)
    figure = Figure(
        **where, metric=metric, subject=subject, value=value, p_value=finding.p_value, rows=finding.rows, note=note
    )
    return lasting, figure


def _drifted(now: Findings, drifted: Sequence[bool | None], rows: int, where: Mapping[str, Any]) -> Figure:
    told = [one for one in drifted if one is not None]
    least = [one.p_value for one in now.features.values() if one.p_value is not None]
    note = "" if len(told) == len(drifted) else f"{len(drifted) - len(told)} of {len(drifted)} features could not tell"
    return Figure(
        **where,
        metric="drifted_features",
        value=float(sum(told)) if told else None,
        p_value=min(least, default=None),
        rows=rows,
        note=note or ("" if told else "no features"),
    )


def _decisions(
    window: WindowCounts, reference: Reference, rule: WatchedDrift, where: Mapping[str, Any]
) -> list[Figure]:
    rows, known = sum(window.decisions.values()), sum(reference.decisions.values())
    figures = []
    for name in dict.fromkeys([*reference.decisions, *window.decisions]):
        key = {**where, "metric": "decision_shift", "subject": name}
        if not known:
            figures.append(Figure(**key, value=None, rows=rows, note="the reference has no decisions"))
        elif rows < rule.fewest_rows:
            figures.append(Figure(**key, value=None, rows=rows, note=f"{rows} rows, fewer than {rule.fewest_rows}"))
        else:
            count, before = window.decisions.get(name, 0), reference.decisions.get(name, 0)
            low, high = share_difference(count, rows, before, known)
            p_value = float(same_share(np.array([count]), np.array([rows]), before, known)[0])
            value = count / rows - before / known
            figures.append(Figure(**key, value=value, low=low, high=high, p_value=p_value, rows=rows))
    return figures
