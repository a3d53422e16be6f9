"""The figures of a watched model in which something happens: seeded, and quick to make; for reports, rules and boards.

A loan model over a fortnight, online in windows of six hours and in batch by day. From day 5 two features drift, one of
them strongly; on day 8 the slowest answers take longer than agreed; from day 9 one group is refused more often than
another; half of day 11 has no figures, because nothing was watching; outcomes are known after three days.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from twinscore.monitoring.figure import Figure
from twinscore.monitoring.shown import Distribution, ShownIncident

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LIMITS", "START", "Watched", "watched_story"]

START = datetime(2026, 5, 1, tzinfo=UTC)
LIMITS = {"latency_ms_p99": 50.0, "coverage": 0.9, "fpr_gap": 0.1, "psi": 0.25, "error_rate": 0.01}
"""What was promised, or what rules hold the figures against."""
_STEP = timedelta(hours=6)
_FEATURES = ("income", "region", "age", "loan_amount", "term_months", "employment_years", "purpose", "debt_ratio")
_MATURE_DAYS = 3


@dataclass(frozen=True, slots=True)
class Watched:
    """A story: everything that a report is made of."""

    figures: list[Figure]
    distributions: list[Distribution]
    incidents: list[ShownIncident]
    now: datetime


def watched_story(*, days: int = 14, features: int = len(_FEATURES), seed: int = 7, model: str = "loans") -> Watched:
    """Return the story.

    Args:
        days: how long it is; from 14 on everything has happened.
        features: how many the model has.
        seed: of the noise.
        model: name of the model.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    names = [_FEATURES[at] if at < len(_FEATURES) else f"feature_{at:03}" for at in range(features)]
    figures: list[Figure] = []
    for at in range(4 * days):
        start = START + at * _STEP
        if at // 4 == 11 and at % 4 >= 2:
            continue
        one = Figure(model=model, version="3", start=start, end=start + _STEP, metric="", value=None)
        figures += _drift(one, names, at / 4, rng)
        figures += _service(one, at / 4, rng)
        figures += _outcomes(one, at / 4, days, rng)
    for day in range(days):
        start = START + timedelta(days=day)
        one = Figure(model=model, version="3", role="batch", path="batch", start=start, end=start + timedelta(days=1),
                     metric="", value=None)  # fmt: skip
        figures += _drift(one, names, day, rng)
        figures += _batch(one, day, rng)
    newest = START + (4 * days - 1) * _STEP
    canary = Figure(model=model, version="4", role="canary", start=newest, end=newest + _STEP, metric="", value=None)
    figures += _service(canary, 2, rng)
    for grade, shift in (("A", 0.0), ("D", 0.2)):
        part = Figure(model=model, version="3", segment=f"grade={grade}", start=newest, end=newest + _STEP, metric="",
                      value=None)  # fmt: skip
        figures += _drift(part, names, 6 + shift, rng)
    end = newest + _STEP
    return Watched(figures, _distributions(newest, end, rng), _incidents(days), end + timedelta(minutes=12))


def _drift(one: Figure, names: list[str], day: float, rng: np.random.Generator) -> list[Figure]:
    rows = int(rng.integers(4_000, 6_000))
    found = []
    for at, name in enumerate(names):
        strength = {0: 0.06, 1: 0.033}.get(at, 0.0) * max(0.0, min(day - 4.75, 6.0))
        psi = strength + float(rng.gamma(2.0, 0.004))
        drifted = psi > 0.1 and day >= 5.5
        found += [
            _of(one, "psi", psi, name, rows=rows, low=psi * 0.8, high=psi * 1.25, p_value=1e-9 if drifted else 0.4),
            _of(one, "js_distance", (psi / 8) ** 0.5, name, rows=rows),
            _of(one, "missing_shift", float(rng.normal(0, 0.002)), name, rows=rows),
            _of(one, "feature_drift", float(drifted), name, rows=rows),
        ]
    moved = sum(1 for figure in found if figure.metric == "feature_drift" and figure.value)
    slide = 0.004 * max(0.0, day - 5)
    rate = 0.31 + slide + float(rng.normal(0, 0.006))
    return [
        *found,
        _of(one, "drifted_features", float(moved), rows=rows),
        _of(one, "score_psi", slide + float(rng.gamma(2.0, 0.003)), rows=rows),
        _of(one, "score_mean", 0.27 + slide / 2 + float(rng.normal(0, 0.003)), rows=rows),
        _of(one, "decision_rate", rate, "refuse", rows=rows, low=rate - 0.013, high=rate + 0.013),
        _of(one, "decision_rate", 1 - rate, "grant", rows=rows, low=1 - rate - 0.013, high=1 - rate + 0.013),
        _of(one, "decision_shift", rate - 0.31, "refuse", rows=rows),
        _of(one, "interval_width", 0.18 + slide / 3 + float(rng.normal(0, 0.002)), rows=rows),
        _of(one, "ambiguous_share", 0.06 + slide / 3 + float(rng.normal(0, 0.002)), rows=rows),
        _of(one, "review_rate", 0.02 + float(rng.normal(0, 0.001)), rows=rows),
        _of(one, "attribution_ndcg", 0.985 - slide + float(rng.normal(0, 0.003)), rows=500),
    ]


def _service(one: Figure, day: float, rng: np.random.Generator) -> list[Figure]:
    slow = 42.0 if 8 <= day < 8.75 else 0.0
    p50 = 3.1 + float(rng.normal(0, 0.15))
    requests = int(5_000 + 2_500 * (1 if day % 1 in (0.25, 0.5) else -0.4) + rng.integers(-200, 200))
    return [
        _of(one, "requests", float(requests), rows=requests),
        _of(one, "latency_ms_p50", p50 + slow / 20, rows=requests),
        _of(one, "latency_ms_p95", 3.2 * p50 + slow / 2, rows=requests),
        _of(one, "latency_ms_p99", 7.5 * p50 + slow + float(rng.normal(0, 1.5)), rows=requests),
        _of(one, "error_rate", float(rng.gamma(1.2, 0.0002)) + slow / 8_000, rows=requests),
        _of(one, "refusal_rate", 0.004 + float(rng.normal(0, 0.0005)), rows=requests),
        _of(one, "shed_rate", slow / 4_000, rows=requests),
        _of(one, "busy", 0.34 + slow / 80 + float(rng.normal(0, 0.02)), rows=requests),
        _of(one, "degraded_share", 0.06 if slow else 0.0, rows=requests),
        _of(one, "cached_share", 0.21 + float(rng.normal(0, 0.01)), rows=requests),
        _of(one, "parity_checked", 200.0, rows=200),
        _of(one, "parity_differing", 0.0, rows=200),
        _of(one, "parity_bits", 0.0, rows=200),
        _of(one, "model_age_s", 86_400 * (9 + day), rows=requests),
    ]


def _outcomes(one: Figure, day: float, days: int, rng: np.random.Generator) -> list[Figure]:
    worse = 0.004 * max(0.0, day - 5)
    estimated = 0.842 - 0.7 * worse + float(rng.normal(0, 0.002))
    found = [
        _of(one, "estimated_auc", estimated, rows=5_000, low=estimated - 0.014, high=estimated + 0.014),
        _of(one, "estimated_log_loss", 0.41 + worse, rows=5_000, low=0.4 + worse, high=0.42 + worse),
        _of(one, "labelled_share", max(0.0, min(1.0, (days - day) / _MATURE_DAYS - 0.4)), rows=5_000),
    ]
    if day <= days - _MATURE_DAYS:
        half = 86_400 * (1.4 + 0.02 * day)
        found += [
            _of(one, "label_delay_s_p50", half, rows=4_600),
            _of(one, "label_delay_s_p90", 2.1 * half, rows=4_600),
        ]
    gap = 0.03 + (0.11 if day >= 9 else 0.0) + float(rng.normal(0, 0.006))
    for group, base in (("sex=female", 0.12 + gap), ("sex=male", 0.12), ("sex=other", None)):
        note = "" if base is not None else "41 rows, fewer than 100"
        rows = 41 if base is None else 2_300
        for metric, factor in (("selection_rate", 2.4), ("fpr", 1.0), ("tpr", 5.5), ("fnr", 0.9), ("precision", 5.0)):
            value = None if base is None else min(0.97, factor * base + float(rng.normal(0, 0.004)))
            ends: dict[str, Any] = {} if value is None else {"low": value - 0.022, "high": min(1.0, value + 0.022)}
            found.append(_of(one, metric, value, group, rows=rows, note=note, **ends))
    for metric, factor in (("selection_rate_gap", 2.4), ("fpr_gap", 1.0), ("tpr_gap", 1.4), ("fnr_gap", 0.9)):
        low = max(0.0, factor * gap - 0.03)
        found.append(_of(one, metric, factor * gap, "sex", rows=4_600, low=low, high=factor * gap + 0.03))
    found.append(_of(one, "selection_rate_ratio", 0.12 / (0.12 + gap), "sex", rows=4_600))
    if day > days - _MATURE_DAYS:
        known = [replace(figure, value=None, low=None, high=None, note="outcomes are not known yet")
                 for figure in found if figure.metric in ("fpr", "tpr", "fnr", "precision", "fpr_gap", "tpr_gap",
                                                          "fnr_gap")]  # fmt: skip
        kept = [figure for figure in found if figure.metric not in {late.metric for late in known}]
        return [*kept, *known, *(_of(one, metric, None, note="outcomes are not known yet") for metric in _LABELLED)]
    auc = 0.843 - worse + float(rng.normal(0, 0.004))
    covered = 0.912 - 1.2 * worse + float(rng.normal(0, 0.004))
    return [
        *found,
        _of(one, "auc", auc, rows=4_600, low=auc - 0.011, high=auc + 0.011),
        _of(one, "log_loss", 0.412 + worse, rows=4_600, low=0.398 + worse, high=0.426 + worse),
        _of(one, "brier", 0.131 + worse / 3, rows=4_600, low=0.127 + worse / 3, high=0.135 + worse / 3),
        *(
            _of(
                one,
                f"class_{metric}",
                share - worse,
                name,
                rows=rows,
                low=share - worse - 0.02,
                high=share - worse + 0.02,
            )
            for name, rows, recall, precision in (("grant", 3_300, 0.87, 0.83), ("refuse", 1_300, 0.58, 0.66))
            for metric, share in (("recall", recall), ("precision", precision))
        ),
        _of(one, "calibration_error", 0.012 + worse / 2, rows=4_600),
        _of(one, "coverage", covered, rows=4_600, low=covered - 0.008, high=covered + 0.008),
    ]


_LABELLED = ("auc", "log_loss", "brier", "calibration_error", "coverage")


def _batch(one: Figure, day: int, rng: np.random.Generator) -> list[Figure]:
    failed = float(day == 6)
    return [
        _of(one, "run_s", 190 + 6 * day + float(rng.normal(0, 5)), rows=1_000_000),
        _of(one, "runs_failed", failed, rows=1),
        _of(one, "quarantine_share", 0.002 + float(rng.gamma(1.2, 0.0004)), rows=1_000_000),
        _of(one, "prediction_age_s", 3_600 * (4 + 20 * failed + float(rng.uniform(0, 2))), rows=1),
        _of(one, "input_waiting_rows", 900_000 * failed, rows=1),
    ]


def _distributions(start: datetime, end: datetime, rng: np.random.Generator) -> list[Distribution]:
    edges = [18_000, 24_000, 29_000, 34_000, 40_000, 47_000, 56_000, 70_000, 95_000]
    counts = [180, 260, 340, 410, 470, 540, 620, 690, 740, 760]
    scores = [round(0.1 * at, 1) for at in range(1, 10)]
    where: dict[str, Any] = {"version": "3", "start": start, "end": end}
    return [
        Distribution.of_bins("income", edges, counts, [500] * 10, **where),
        Distribution(
            feature="region", names=("north", "south", "east", "west", "islands", "(new)"), ordered=False,
            counts=(1_900, 900, 1_200, 640, 120, 240), reference=(1_400, 1_420, 1_200, 760, 220, 0), **where,
        ),
        Distribution.of_bins("age", [25, 32, 40, 48, 57], [810, 790, 870, 830, 840, 860], [833] * 6, **where),
        Distribution.of_bins(
            "", scores, [int(one) for one in 900 * (1 - _places(scores)) + rng.integers(0, 40, 10)],
            [int(one) for one in 1_000 * (1 - _places(scores))], **where,
        ),
    ]  # fmt: skip


def _places(edges: list[float]) -> np.ndarray:
    """Return the places of bins of scores, 0 to 1."""
    import numpy as np

    return np.linspace(0.05, 0.95, len(edges) + 1)


def _incidents(days: int) -> list[ShownIncident]:
    known = [
        ShownIncident(
            rule="feature-drift", subject="income", severity="warning", since=START + timedelta(days=5.5), state="open",
            says="PSI 0.36 (0.29 to 0.45) in the newest window; the rule allows 0.25 in 3 of 4 windows.", metric="psi",
            path="online", version="3", ticket="https://tickets.example.org/browse/RISK-412",
            done=("a ticket is open", "automated rollouts are held until someone releases them"),
        ),
        ShownIncident(
            rule="fpr-gap", subject="sex", severity="critical", since=START + timedelta(days=9), state="open",
            says="False positive rates of the groups are 14 points apart, at least 11; the rule allows 10.",
            metric="fpr_gap", path="online", version="3", ticket="#88",
            done=("40 cases of the affected groups wait for a person", "automated rollouts are held"),
        ),
        ShownIncident(
            rule="slow-answers", subject="", severity="critical", since=START + timedelta(days=8), state="closed",
            until=START + timedelta(days=8.75), says="p99 was 65 ms; the SLA is 50 ms.", metric="latency_ms_p99",
            path="online", version="3",
            done=("two replicas more", "6 % of the answers were degraded for five hours"),
        ),
    ]  # fmt: skip
    return [one for one in known if one.since + timedelta(days=1) < START + timedelta(days=days)]


def _of(one: Figure, metric: str, value: float | None, subject: str = "", **more: Any) -> Figure:
    return replace(one, metric=metric, subject=subject, value=value, **more)
