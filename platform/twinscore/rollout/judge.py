"""Hold a candidate to its gates: fail what is proved worse, pass what looks right on enough, wait for everything else.

Every verdict holds at every look, so one may look every few seconds and act at once on what one sees.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from twinscore.rollout.compare_counts import compare_distance, compare_pairs, compare_quantile, compare_rate
from twinscore.rollout.compare_sizes import compare_figure, compare_gap, compare_mean, compare_trend
from twinscore.rollout.finding import Sides
from twinscore.rollout.gate import GateVerdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from twinscore.rollout.evidence import ArmEvidence, Evidence
    from twinscore.rollout.finding import Finding
    from twinscore.rollout.gate import Gate, Kind, Outcome

__all__ = ["alpha_parts", "judge"]

_COMPARE: dict[Kind, Callable[[Gate, Sides, float], Finding]] = {
    "rate": compare_rate, "paired": compare_pairs, "quantile": compare_quantile, "distance": compare_distance,
    "mean": compare_mean, "gap": compare_gap, "gauge": compare_figure, "trend": compare_trend, "count": compare_figure,
}  # fmt: skip


def judge(
    gates: Sequence[Gate],
    evidence: Evidence | None,
    candidate: str,
    live: str,
    *,
    since: datetime,
    alpha: float = 0.01,
    stages: int = 1,
    before: Evidence | None = None,
) -> tuple[GateVerdict, ...]:
    """Return a verdict on each gate.

    Both versions must have been asked at the same time and in steady shares: give what was counted since the stage
    began, or what a busier hour did to one of them looks like its own doing.

    Args:
        gates: all gates of the policy, for they share alpha.
        evidence: what was counted since `since`; None when nobody could be asked.
        candidate: the version to judge, in whichever role it was asked most.
        live: the version to compare it with.
        since: when counting began.
        alpha: chance that a version as good as the live one fails any deciding gate at any look of the whole rollout.
        stages: how many stages are judged, each on its own evidence; each has its part of alpha.
        before: evidence of the stages before; used for the version that was live when, in a bake, it is asked no more.
    """
    sides = _sides(evidence, candidate, live, since, before)
    stale = () if evidence is None else evidence.stale
    found = []
    for gate, part in zip(gates, alpha_parts(gates, alpha / stages), strict=True):
        finding = _COMPARE[gate.measure.kind](gate, sides, part)
        untimed = _untimed(gate, finding, sides.live)
        given = _given(gate, finding, sides) and (gate.max is not None or not untimed)
        outcome, why = _outcome(gate, finding, stale, live, given=given, alone=untimed)
        found.append(
            GateVerdict(
                gate=gate.name, outcome=outcome, words=_words(gate, finding, live, why),
                value=_finite(finding.value), live_value=_finite(finding.live_value), low=finding.low,
                high=finding.high, samples=finding.samples, dry_run=gate.dry_run or not given,
            )
        )  # fmt: skip
    return tuple(found)


def _sides(evidence: Evidence | None, candidate: str, live: str, since: datetime, before: Evidence | None) -> Sides:
    if evidence is None:
        return Sides(candidate=None, live=None, pair=None, seconds=0.0)
    beside = [found.arm(live, "live") for found in (evidence, before) if found is not None and live != candidate]
    return Sides(
        candidate=_busiest([arm for arm in evidence.arms if arm.version == candidate]),
        live=_busiest([arm for arm in beside if arm is not None]),
        pair=evidence.pair(candidate),
        seconds=(evidence.at - since).total_seconds(),
    )


def _busiest(arms: Sequence[ArmEvidence]) -> ArmEvidence | None:
    return max(arms, key=lambda arm: arm.calls, default=None)


def alpha_parts(gates: Sequence[Gate], alpha: float) -> list[float]:
    """Divide alpha: what some gates ask for, the rest in equal parts; a dry run has as much, and takes it from nobody.

    Where the gates ask for more than there is, all get less in proportion.
    """
    deciding = [gate for gate in gates if not gate.dry_run]
    asked = sum(gate.alpha_share or 0.0 for gate in deciding)
    others = sum(1 for gate in deciding if gate.alpha_share is None)
    whole = max(1.0, asked) if not others else max(1.0, asked + 0.1)
    rest = (whole - asked) / max(1, others)
    return [alpha * (gate.alpha_share or rest or 1.0) / whole for gate in gates]


def _given(gate: Gate, finding: Finding, sides: Sides) -> bool:
    """Tell whether a gate that is only for some models says anything of this one."""
    mine, live = sides.candidate, sides.live
    if gate.when_given and gate.measure.kind == "paired" and mine is not None and mine.role != "shadow":
        return False  # a shadow's last answers come when its stage is over; nobody will ever add to them
    if not gate.when_given or finding.samples or finding.live_samples:
        return True
    if mine is None or live is None or not mine.rows or not live.rows:
        return True
    return gate.measure.kind == "paired" and mine.role == "shadow" and bool(live.decisions)


def _untimed(gate: Gate, finding: Finding, live: ArmEvidence | None) -> bool:
    """Tell whether the live version answers without any answer that has a time: from a cache, or in bulk alone."""
    if gate.measure.kind != "quantile" or finding.live_samples or live is None:
        return False
    return live.rows - live.refused_rows >= gate.least


def _outcome(
    gate: Gate, finding: Finding, stale: Sequence[str], live: str, *, given: bool, alone: bool
) -> tuple[Outcome, str]:
    """Return the outcome, and why it is not another one; `alone` it is not held against the live version."""
    measure = gate.measure
    if finding.beyond:
        return "fail", "proved" if measure.kind not in ("gauge", "count") else ""
    if not given:
        who = f"version {live} has no" if alone else "neither version has"
        return "inconclusive", f"{who} such figures, so it decides nothing"
    if finding.samples < gate.least:
        return (
            "inconclusive",
            f"waits for {gate.least:,} {measure.of}" if measure.of != "arms" else "waits for a figure",
        )
    if gate.beside and not alone and _lacks_live(gate, finding):
        return "inconclusive", f"version {live} has no figure to compare with"
    if _finite(finding.value) is None:
        return "inconclusive", "the figure is no number, or not comparable"
    if stale:
        return "inconclusive", f"waits for replicas that did not answer: {', '.join(stale[:3])}"
    if not _looks_right(gate, finding):
        return "inconclusive", "looks beyond its limit, not proved yet"
    if gate.proven and not finding.within:
        return "inconclusive", "within its limit, not proved yet"
    return "pass", ""


def _lacks_live(gate: Gate, finding: Finding) -> bool:
    if gate.measure.kind == "distance":
        return not finding.live_samples
    return _finite(finding.live_value) is None


def _looks_right(gate: Gate, finding: Finding) -> bool:
    value, top = finding.value, _top(gate, finding)
    return (
        value is not None and (top is None or value - finding.doubt <= top) and (gate.min is None or value >= gate.min)
    )


def _top(gate: Gate, finding: Finding) -> float | None:
    """Return the most that the figure may be."""
    tops = [] if gate.max is None else [gate.max]
    live_value = 0.0 if gate.measure.kind == "distance" else finding.live_value
    if gate.beside and live_value is not None:
        tops.append(gate.line(live_value))
    return min(tops, default=None)


def _words(gate: Gate, finding: Finding, live: str, why: str) -> str:
    measure = gate.measure
    said = [f"{measure.words} {_show(gate, finding.value)}"]
    if finding.live_samples is not None and measure.kind != "distance":
        said.append(f"{_show(gate, finding.live_value)} for version {live}")
    top = _top(gate, finding)
    if finding.doubt:
        said.append(f"of which {_show(gate, finding.doubt)} may be the choice of entities")
    if top is not None:
        said.append(f"at most {_show(gate, top)} allowed")
    if gate.min is not None:
        said.append(f"at least {_show(gate, gate.min)}")
    if measure.of != "arms":
        said.append(f"{finding.samples:,} {measure.of}")
    return f"{', '.join(said)}{': ' if why else ''}{why}"


def _show(gate: Gate, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "not known"
    kind, unit = gate.measure.kind, gate.measure.unit
    if kind in ("rate", "paired", "distance", "gap"):
        return f"{100 * value:.3g} %"
    return f"{value:.4g} {unit}".rstrip()


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
