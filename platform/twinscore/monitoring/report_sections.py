"""The other parts of a report: incidents, scores and decisions, service, staleness, runs, parity; pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from twinscore.monitoring.metric import METRICS
from twinscore.monitoring.report_charts import Pick, latest, over_time
from twinscore.monitoring.report_drift import score_shape
from twinscore.monitoring.report_series import main_scopes, newest, one_series, series_of, subjects_of
from twinscore.monitoring.report_words import moment, value
from twinscore.page.cards import card, more, table, text
from twinscore.page.words import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "attribution_card", "incident_card", "others_card", "parity_card", "runs_card", "scores_card", "service_cards",
    "source_card",
]  # fmt: skip

_ADDRESS = re.compile(r"https?://[^\s\"'<>]+")
_OPEN_SHOWN, _CLOSED_SHOWN = 30, 20
_PARTS_SHOWN = 24
_DECISIONS = 5
_BADGES = {"critical": "bad", "warning": "warn", "info": ""}
_RUNS = (
    ("Duration of runs", "run_s", "run"),
    ("Runs that failed", "runs_failed", ""),
    ("In quarantine", "quarantine_share", "rows refused"),
    ("Age of the predictions", "prediction_age_s", "newest prediction"),
    ("Input that waits", "input_waiting_rows", "rows not scored yet"),
    ("Age of the model", "model_age_s", "since it was made"),
)
_PARTS = (
    ("drifted_features", "drifted"), ("score_psi", "score PSI"), ("latency_ms_p99", "p99"), ("error_rate", "errors"),
    ("refusal_rate", "refused"), ("auc", "AUC"), ("fpr_gap", "FPR gap"),
)  # fmt: skip


def incident_card(report: Mapping[str, Any]) -> str:
    """Return what is wrong now, since when, and what is being done; and what was."""
    known = report["incidents"]
    open_ = [one for one in known if one["state"] == "open"]
    closed = [one for one in known if one["state"] != "open"]
    if not known:
        return ""
    body = "".join(_incident(one) for one in open_[:_OPEN_SHOWN]) or '<p class="good">No incident is open.</p>'
    body += more(len(open_) - _OPEN_SHOWN, "open incidents")
    if closed:
        shown = "".join(_incident(one) for one in closed[:_CLOSED_SHOWN])
        left = more(len(closed) - _CLOSED_SHOWN, "closed incidents")
        body += f"<details><summary>{count(len(closed))} closed</summary>{shown}{left}</details>"
    return card("Incidents", body)


def _incident(one: Mapping[str, Any]) -> str:
    about = f" of {text(one['subject'], 80)}" if one["subject"] else ""
    where = ", ".join(
        text(said, 80) for said in (one["path"], one["version"] and f"version {one['version']}", one["segment"]) if said
    )
    when = f"since {moment(one['since'])} UTC" if one["until"] is None else (
        f"{moment(one['since'])} to {moment(one['until'])} UTC"
    )  # fmt: skip
    done = "".join(f"<li>{text(what, 200)}</li>" for what in one["done"][:10])
    ticket = _ticket(one["ticket"])
    return (
        f'<article class="incident {_BADGES.get(one["severity"], "")}"><h3>{text(one["rule"], 80)}{about} '
        f'<span class="badge {_BADGES.get(one["severity"], "")}">{text(one["severity"], 20)}</span></h3>'
        f'<p class="quiet">{when}{"; " + where if where else ""}{"; ticket " + ticket if ticket else ""}</p>'
        f"<p>{text(one['says'], 400)}</p>{f'<ul>{done}</ul>' if done else ''}</article>"
    )


def _ticket(ticket: str) -> str:
    """Return a link to what is an address of the web, and text for anything else."""
    if _ADDRESS.fullmatch(ticket):
        return f'<a href="{text(ticket, 500)}" rel="noreferrer">{text(ticket.rstrip("/").rpartition("/")[2], 60)}</a>'
    return text(ticket, 80)


def scores_card(report: Mapping[str, Any], scope: Mapping[str, Any], place: str) -> str:
    """Return how scores and decisions went over time."""
    body = over_time(report, scope, [Pick("score_mean", "", "mean score")])
    shape = score_shape(report, scope)
    body += f"<h3>Distribution</h3>{shape}" if shape else ""
    shift = over_time(report, scope, [Pick("score_psi", "", "PSI of the scores")], zero=True)
    body += f"<h3>Shift</h3>{shift}" if shift else ""
    names = subjects_of(scope, "decision_rate")
    # Of two decisions one is the other's mirror image.
    drawn = _rarer(scope, names) if len(names) == 2 else _busiest(scope, names)
    decisions = over_time(report, scope, [Pick("decision_rate", name, name) for name in drawn])
    if decisions:
        body += f"<h3>Decisions</h3>{decisions}"
        body += "" if len(names) == 2 else more(len(names) - len(drawn), "decisions")
    return card(f"Scores and decisions{place}", body) if body else ""


def service_cards(report: Mapping[str, Any], scope: Mapping[str, Any], place: str) -> list[str]:
    """Return latency, then errors and load."""
    latency = over_time(
        report, scope,
        [Pick("latency_ms_p99", "", "p99"), Pick("latency_ms_p95", "", "p95"), Pick("latency_ms_p50", "", "p50")],
        zero=True,
    )  # fmt: skip
    errors = over_time(
        report, scope,
        [Pick("error_rate", "", "errors (5xx)"), Pick("refusal_rate", "", "refused rows"),
         Pick("shed_rate", "", "turned away")],
        zero=True,
    )  # fmt: skip
    load = over_time(report, scope, [Pick("requests", "", "requests per window")], zero=True)
    busy = over_time(
        report, scope,
        [Pick("busy", "", "busiest replica"), Pick("degraded_share", "", "degraded answers"),
         Pick("cached_share", "", "from the batch run")],
        zero=True,
    )  # fmt: skip
    other = "".join(f"<h3>{name}</h3>{body}" for name, body in (("Requests", load), ("Shares", busy)) if body)
    made = (("Latency", latency), ("Errors and refusals", errors), ("Load", other))
    return [card(f"{name}{place}", body) for name, body in made if body]


def attribution_card(report: Mapping[str, Any], scope: Mapping[str, Any], place: str) -> str:
    """Return whether the same features matter as before."""
    body = over_time(report, scope, [Pick("attribution_ndcg", "", "NDCG of the importance ranks")])
    if not body:
        return ""
    note = "<p>1 means that the features matter in the same order as in the reference.</p>"
    return card(f"What moves the scores{place}", note + body)


def parity_card(scope: Mapping[str, Any], place: str) -> str:
    """Return whether both paths give the same scores."""
    checked = _total(scope, "parity_checked")
    if checked is None:
        return ""
    differing = _total(scope, "parity_differing") or 0
    kind = "bad" if differing else "good"
    said = f"{count(differing)} of {count(checked)} rows that both paths scored differ"
    bits = max((one for one in (_series(scope, "parity_bits") or []) if one is not None), default=None)
    said += f", by at most {count(bits)} units in the last place." if differing and bits is not None else "."
    moved = [
        (text(one["subject"], 80), count(rows))
        for one in series_of(scope, "parity_feature_differing")
        if (rows := sum(each or 0 for each in one["values"]))
    ]
    body = f'<p class="{kind}">{said}</p>'
    if moved:
        body += table("Joined features that differ in value or age", [("feature", ""), ("rows", "n")], moved[:20])
        body += more(len(moved) - 20, "features")
    return card(f"One score, two paths{place}", body)


def runs_card(report: Mapping[str, Any], scope: Mapping[str, Any], place: str) -> str:
    """Return how batch runs went, and how old what is known is."""
    drawn = [
        (
            name,
            _failed(scope)
            if metric == "runs_failed"
            else over_time(report, scope, [Pick(metric, "", said)], zero=True),
        )
        for name, metric, said in _RUNS
    ]
    made = "".join(f"<h3>{name}</h3>{body}" for name, body in drawn if body)
    name = "Batch runs and staleness" if _series(scope, "run_s") else "Staleness"
    return card(f"{name}{place}", made) if made else ""


def _failed(scope: Mapping[str, Any]) -> str:
    failed = _total(scope, "runs_failed")
    if failed is None:
        return ""
    return f'<p class="{"bad" if failed else "good"}">{count(failed)} in {count(len(scope["windows"]))} windows.</p>'


def others_card(report: Mapping[str, Any]) -> str:
    """Return the newest figures of other versions and of parts of the traffic, one row each."""
    main = [id(one) for one in main_scopes(report)]
    scopes = [one for one in report["scopes"] if id(one) not in main and one["windows"]]
    columns = [(metric, name) for metric, name in _PARTS if any(_series(one, metric) for one in scopes)]
    if not scopes or not columns:
        return ""
    scopes.sort(key=lambda one: -(latest(one, "drifted_features")[0] or 0.0))
    rows = [
        (_scope_name(one), *(value(metric, _widest(one, metric)) for metric, _ in columns))
        for one in scopes[:_PARTS_SHOWN]
    ]
    heads = [("who answered, which rows", ""), *((name, "n") for _, name in columns)]
    listing = table("Newest figures", heads, rows)
    return card("Other versions and parts of the traffic", listing + more(len(scopes) - _PARTS_SHOWN, "parts"))


def source_card(report: Mapping[str, Any]) -> str:
    """Return what the report was made of."""
    facts = [("model", report["model"]), ("made", f"{moment(report['made_at'])} UTC")]
    facts += [("figures", count(report["figures"]))]
    facts += [(one["path"], _covers(one)) for one in main_scopes(report) if one["windows"]]
    known = [f"{name} {value(name, one)}" for name, one in report["limits"].items() if name in METRICS]
    facts += [("limits", ", ".join(known))]
    listed = "".join(f"<dt>{text(name)}</dt><dd>{text(said, 400)}</dd>" for name, said in facts if said)
    return card("Where it comes from", f'<dl class="facts">{listed}</dl>')


def _covers(scope: Mapping[str, Any]) -> str:
    windows = scope["windows"]
    left = f", {count(scope['left_out'])} older ones left out" if scope["left_out"] else ""
    between = f"{moment(windows[0]['start'])} to {moment(windows[-1]['end'])} UTC"
    return f"{count(len(windows))} windows from {between}{left}; version {', '.join(scope['versions'][-5:])}"


def _scope_name(scope: Mapping[str, Any]) -> str:
    version = scope["versions"][-1] if scope["versions"] else ""
    parts: Iterable[str] = (scope["path"], scope["role"] if scope["role"] != scope["path"] else "", scope["segment"])
    said = ", ".join(text(one, 60) for one in parts if one)
    return f'{said} <span class="quiet">version {text(version, 20)}</span>'


def _series(scope: Mapping[str, Any], metric: str) -> list[float | None] | None:
    found = one_series(scope, metric) or next(iter(series_of(scope, metric)), None)
    return None if found is None else found["values"]


def _widest(scope: Mapping[str, Any], metric: str) -> float | None:
    """Return the newest value; of a metric by column the largest."""
    known = [one["values"][at] for one in series_of(scope, metric) if (at := newest(one)) is not None]
    return max(known, default=None)


def _total(scope: Mapping[str, Any], metric: str) -> float | None:
    known = [one for one in _series(scope, metric) or () if one is not None]
    return sum(known) if known else None


def _busiest(scope: Mapping[str, Any], names: list[str]) -> list[str]:
    """Return the decisions that are most frequent now, by name."""
    most = sorted(names, key=lambda name: -(latest(scope, "decision_rate", name)[0] or 0.0))
    return sorted(most[:_DECISIONS])


def _rarer(scope: Mapping[str, Any], names: list[str]) -> list[str]:
    return [min(names, key=lambda name: latest(scope, "decision_rate", name)[0] or 0.0)]
