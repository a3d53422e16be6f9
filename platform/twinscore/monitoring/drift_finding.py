"""What one window says of drift: each feature's effects and tests, corrected for their number; pure.

A feature is found to have changed in a window when its corrected p-value is within the calibrated level; tests whose
effect is below the floor have no say in it. Whether it lasts is for `persistence`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from twinscore.bundle.shift import psi
from twinscore.monitoring.drift_effect import cramers_v, js_distance, ks_distance
from twinscore.monitoring.drift_interval import distances_between, ks_between, share_difference
from twinscore.monitoring.drift_level import adjusted, level_of
from twinscore.monitoring.drift_proof import Floor, Proof, prove, same_share
from twinscore.monitoring.intervals import wilson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.monitoring.drift_counts import Counted, Reference, WindowCounts
    from twinscore.monitoring.spec import WatchedDrift

__all__ = ["Effect", "Finding", "Findings", "changes_of", "findings_of", "proof_of"]


@dataclass(frozen=True, slots=True)
class Effect:
    """How far something moved; None with a reason where it cannot be told."""

    value: float | None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    rows: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One feature, or the scores, in one window."""

    effects: Mapping[str, Effect]
    """By metric: psi, js_distance, ks or cramers_v, missing_shift, new_category_share."""
    p_value: float | None
    """Corrected; of the tests whose effect is large enough."""
    changed: bool | None
    """None when the window cannot tell."""
    rows: int
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All of one window."""

    features: Mapping[str, Finding]
    score: Finding | None
    level: float | None
    """That corrected p-values of features are held against; None when none came near, so that none was needed."""

    @property
    def alarm(self) -> bool | None:
        """Whether anything changed in this window alone; None when no feature could tell."""
        told = [one.changed for one in self.features.values() if one.changed is not None]
        return any(told) if told else None


def findings_of(window: WindowCounts, reference: Reference, rule: WatchedDrift) -> Findings:
    """Hold a window against the reference. Features that only one of them has cannot be told."""
    features, level = _told(window.features, reference.features, reference, rule, scores=False)
    score = None
    if window.score is not None and reference.score is not None:
        alone, _ = _told({"": window.score}, {"": reference.score}, reference, rule, scores=True)
        score = alone[""]
    return Findings(features=features, score=score, level=level)


def proof_of(counted: Counted, known: Counted) -> Proof:
    """Test one feature of one window."""
    return prove(counted.cells[None, :], np.array([counted.missing]), known)


def changes_of(counted: Counted, known: Counted, proof: Proof, fewest: int = 1) -> dict[str, Effect]:
    """Return every effect of one feature by its metric, with its interval and the p-value of its own test.

    Both have rows; with fewer than `fewest` that have a value, nothing is said of their distribution.
    """
    p_value = {name: float(values[0]) for name, values in proof.p_values.items()}
    shape = _shape(counted, known, p_value["shape"], max(fewest, 1))
    missing = counted.missing / counted.rows - known.missing / known.rows
    ends = share_difference(counted.missing, counted.rows, known.missing, known.rows)
    shape["missing_shift"] = Effect(missing, *ends, p_value["missing"], counted.rows)
    if counted.kind == "categorical":
        new = Effect(None, note="no row has a value")
        if counted.present:
            ends = wilson(counted.new, counted.present)
            first = np.array([counted.new]), np.array([counted.present])
            seen = float(same_share(*first, known.new, known.present)[0])
            new = Effect(counted.new / counted.present, *ends, seen, counted.present)
        shape["new_category_share"] = new
    return shape


def _told(
    window: Mapping[str, Counted],
    known: Mapping[str, Counted],
    reference: Reference,
    rule: WatchedDrift,
    *,
    scores: bool,
) -> tuple[dict[str, Finding], float | None]:
    floor = Floor(rule.effect, rule.share)
    reasons = {name: _untold(window.get(name), known.get(name), rule) for name in {**known, **window}}
    able = [name for name, reason in reasons.items() if not reason]
    proofs = {name: proof_of(window[name], known[name]) for name in able}
    raw = [float(proof.p_value(floor)[0]) for proof in proofs.values()]
    corrected = dict(zip(able, adjusted(np.array(raw)).tolist(), strict=True))
    level = None
    if min(corrected.values(), default=1.0) <= rule.alarms:
        most = max(window[name].rows for name in able)
        level = level_of(reference, most, alarms=rule.alarms, floor=floor, scores=scores)
    found: dict[str, Finding] = {}
    for name, reason in reasons.items():
        rows = window[name].rows if name in window else 0
        if reason:
            effects = _nothing(known.get(name), window.get(name), reason, rows)
            found[name] = Finding(effects=effects, p_value=None, changed=None, rows=rows, note=reason)
        else:
            effects = changes_of(window[name], known[name], proofs[name], rule.fewest_rows)
            changed = level is not None and corrected[name] <= level
            found[name] = Finding(effects=effects, p_value=corrected[name], changed=changed, rows=rows)
    return found, level


def _untold(held: Counted | None, known: Counted | None, rule: WatchedDrift) -> str:
    """Return why nothing can be said of a feature; empty when something can."""
    if known is None or not known.rows:
        return "the reference has no rows of it"
    if held is None:
        return "not counted in this window"
    if held.kind != known.kind or len(held.counts) != len(known.counts):
        return "counted in other bins than the reference's"
    if held.rows < rule.fewest_rows:
        return f"{held.rows} rows, fewer than {rule.fewest_rows}"
    return ""


def _shape(counted: Counted, known: Counted, p_value: float, fewest: int) -> dict[str, Effect]:
    names = ("psi", "js_distance", "ks" if counted.kind == "numeric" else "cramers_v")
    if counted.present < fewest or not known.present:
        few = f"{counted.present} rows have a value, {known.present} of the reference"
        return dict.fromkeys(names, Effect(None, rows=counted.present, note=few))
    a, r, rows = counted.cells, known.cells, counted.present
    if counted.kind == "categorical" and not counted.new:
        a, r = counted.counts, known.counts
    between = distances_between(a, r)
    index, js, v = between or ((None, None),) * 3
    why = "" if between else "no interval: some cells have fewer than 5 rows"
    effects = {
        "psi": Effect(psi(a.tolist(), r.tolist()), index[0], index[1], p_value, rows, why),
        "js_distance": Effect(js_distance(a, r), js[0], js[1], p_value, rows, why),
    }
    if counted.kind == "numeric":
        from scipy import special

        apart = ks_distance(a, r)
        by_chance = float(special.kolmogorov(apart / (1 / rows + 1 / known.present) ** 0.5))
        effects["ks"] = Effect(apart, *ks_between(apart, rows, known.present), by_chance, rows)
    else:
        effects["cramers_v"] = Effect(cramers_v(a, r), v[0], v[1], p_value, rows, why)
    return effects


def _nothing(known: Counted | None, held: Counted | None, reason: str, rows: int) -> dict[str, Effect]:
    kinds = {one.kind for one in (known, held) if one is not None}
    of_kind = (
        ("cramers_v", "missing_shift", "new_category_share") if kinds == {"categorical"} else ("ks", "missing_shift")
    )
    return dict.fromkeys(("psi", "js_distance", *of_kind), Effect(None, rows=rows, note=reason))
