"""The Grafana dashboard of watched models as JSON values: rows of panels over what Prometheus scrapes; pure.

    python -m twinscore.monitoring.dashboard > deployments/grafana/twinscore.json

Figures of windows come from the control, live ones from the listeners; see docs/how-to/prometheus-and-grafana.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Panel", "dashboard"]

_SOURCE = {"type": "prometheus", "uid": "${source}"}
_ALL = 'model="$model",version=~"$version",path=~"$path",segment=""'
_LIVE = 'model="$model"'
_WIDTH = 24
_HEIGHT = 7


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture."""

    title: str
    unit: str
    """Grafana's: `percentunit`, `ms`, `s`, `reqps`, `short`."""
    queries: tuple[tuple[str, str], ...]
    """Expression and legend."""
    says: str = ""
    kind: str = "timeseries"
    limits: tuple[float, ...] = ()
    """Values from which on it is orange, then red."""
    width: int = 8


def _watch(name: str, legend: str, *, where: str = "", ends: bool = False) -> tuple[tuple[str, str], ...]:
    """Return the query of a figure, and of the ends of its interval."""
    extra = f",{where}" if where else ""
    made = [(f"twinscore_watch_{name}{{{_ALL}{extra}}}", legend)]
    if ends:
        made += [(f"twinscore_watch_{name}_{end}{{{_ALL}{extra}}}", f"{legend} ({end})") for end in ("low", "high")]
    return tuple(made)


def _stat(title: str, unit: str, query: str, *limits: float, says: str = "") -> Panel:
    return Panel(title, unit, ((query, ""),), says, "stat", limits, 4)


def _quantile(share: float) -> tuple[str, str]:
    rate = f"sum by (le) (rate(twinscore_request_seconds_bucket{{{_LIVE}}}[$__rate_interval]))"
    return f"histogram_quantile({share:g}, {rate})", f"p{100 * share:g}"


_BY_SUBJECT = "{{subject}} {{path}}"
_BY_VERSION = "{{version}} {{role}} {{path}}"
_WORST = f"topk(10, twinscore_watch_psi{{{_ALL}}})"
_ERRORS = (
    f'sum(rate(twinscore_responses_total{{{_LIVE},status=~"5.."}}[$__rate_interval])) '
    f"/ sum(rate(twinscore_responses_total{{{_LIVE}}}[$__rate_interval]))"
)
_REFUSALS = f'sum by (code) (rate(twinscore_responses_total{{{_LIVE},code!=""}}[$__rate_interval]))'
_WAIT = f"histogram_quantile(0.99, sum by (le) (rate(twinscore_audit_lag_seconds_bucket{{{_LIVE}}}[$__rate_interval])))"
ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("Is anything wrong?", (
        _stat("Open incidents", "short", f"sum(twinscore_watch_incidents_open{{{_LIVE}}})", 1, 1,
              says="Empty where no rules run."),
        _stat("Features drifted", "short", f"max(twinscore_watch_drifted_features{{{_ALL}}})", 1, 3),
        _stat("p99 now", "s", _quantile(0.99)[0], 0.5, 1),
        _stat("Errors now", "percentunit", _ERRORS, 0.005, 0.01),
        _stat("Coverage", "percentunit", f"min(twinscore_watch_coverage{{{_ALL}}})"),
        _stat("Age of the newest window", "s", f"time() - max(twinscore_watch_window_end_seconds{{{_LIVE}}})",
              7200, 86_400),
    )),
    ("Drift", (
        Panel("PSI, the ten worst features", "short", ((_WORST, _BY_SUBJECT),),
              "Below 0.1 is no shift to speak of, from 0.25 it is a large one.", limits=(0.1, 0.25), width=12),
        Panel("Features that drifted", "short", _watch("feature_drift", _BY_SUBJECT),
              "1 when the change is proved, large enough, and was there in several windows.", width=12),
        Panel("Jensen-Shannon distance, the ten worst", "short",
              ((f"topk(10, twinscore_watch_js_distance{{{_ALL}}})", _BY_SUBJECT),)),
        Panel("Missing cells less the reference's", "percentunit", _watch("missing_shift", _BY_SUBJECT)),
        Panel("New categories", "percentunit", _watch("new_category_share", _BY_SUBJECT)),
    )),
    ("Scores, decisions, uncertainty", (
        Panel("Mean score", "short", _watch("score_mean", _BY_VERSION)),
        Panel("PSI of the scores", "short", _watch("score_psi", _BY_VERSION), limits=(0.1, 0.25)),
        Panel("Decisions", "percentunit", _watch("decision_rate", _BY_SUBJECT)),
        Panel("Width of intervals", "short", _watch("interval_width", _BY_VERSION)),
        Panel("Ambiguous sets", "percentunit", _watch("ambiguous_share", _BY_VERSION)),
        Panel("Rows for review", "percentunit", _watch("review_rate", _BY_VERSION)),
    )),
    ("Performance", (
        Panel("AUC, measured and estimated", "short",
              (*_watch("auc", "measured {{version}}", ends=True), *_watch("estimated_auc", "estimated {{version}}"))),
        Panel("Log loss, Brier score", "short",
              (*_watch("log_loss", "log loss {{version}}"), *_watch("estimated_log_loss", "estimated {{version}}"),
               *_watch("brier", "Brier {{version}}"))),
        Panel("RMSE, MAE", "short",
              (*_watch("rmse", "RMSE {{version}}"), *_watch("mae", "MAE {{version}}"),
               *_watch("estimated_mae", "MAE estimated {{version}}"))),
        Panel("Coverage", "percentunit", _watch("coverage", _BY_VERSION, ends=True)),
        Panel("Outcomes that are known", "percentunit", _watch("labelled_share", _BY_VERSION)),
        Panel("Time until outcomes are known", "s",
              (*_watch("label_delay_s_p50", "half {{version}}"),
               *_watch("label_delay_s_p90", "nine in ten {{version}}"))),
        Panel("Recall by class", "percentunit", _watch("class_recall", _BY_SUBJECT)),
        Panel("Precision by class", "percentunit", _watch("class_precision", _BY_SUBJECT)),
        Panel("Attribution (NDCG)", "short", _watch("attribution_ndcg", _BY_VERSION), limits=()),
    )),
    ("Fairness", (
        Panel("False positive rate by group", "percentunit", _watch("fpr", "{{subject}}")),
        Panel("False negative rate by group", "percentunit", _watch("fnr", "{{subject}}")),
        Panel("Selection rate by group", "percentunit", _watch("selection_rate", "{{subject}}")),
        Panel("Gap of false positive rates", "percentunit", _watch("fpr_gap", "{{subject}}", ends=True)),
        Panel("Gap of false negative rates", "percentunit", _watch("fnr_gap", "{{subject}}", ends=True)),
        Panel("Gap of selection rates", "percentunit", _watch("selection_rate_gap", "{{subject}}", ends=True)),
    )),
    ("Service, live", (
        Panel("Answers per second", "reqps",
              ((f"sum by (status) (rate(twinscore_responses_total{{{_LIVE}}}[$__rate_interval]))", "{{status}}"),)),
        Panel("Latency", "s", (_quantile(0.5), _quantile(0.95), _quantile(0.99))),
        Panel("Refusals per second", "reqps",
              ((_REFUSALS, "{{code}}"),)),
        Panel("Requests waiting", "short", ((f"twinscore_waiting{{{_LIVE}}}", "{{replica}}"),)),
        Panel("Event loop late", "s", ((f"twinscore_loop_lag_seconds{{{_LIVE}}}", "{{replica}}"),)),
        Panel("Audit records: wait for the disk, p99", "s",
              ((_WAIT, "p99"),)),
    )),
    ("Service by window, parity", (
        Panel("p99 by window", "ms", _watch("latency_ms_p99", _BY_VERSION)),
        Panel("Errors and refusals", "percentunit",
              (*_watch("error_rate", "errors {{version}}"), *_watch("refusal_rate", "refused {{version}}"),
               *_watch("shed_rate", "turned away {{version}}"))),
        Panel("Busy, degraded, from the batch run", "percentunit",
              (*_watch("busy", "busy {{version}}"), *_watch("degraded_share", "degraded {{version}}"),
               *_watch("cached_share", "from the batch run {{version}}"))),
        Panel("Rows that the two paths score differently", "short",
              (*_watch("parity_differing", "differing {{version}}"), *_watch("parity_checked", "checked {{version}}")),
              limits=(1,), width=12),
        Panel("Joined features that differ", "short", _watch("parity_feature_differing", _BY_SUBJECT), width=12),
    )),
    ("Batch and staleness", (
        Panel("Duration of runs", "s", _watch("run_s", _BY_VERSION)),
        Panel("Runs that failed", "short", _watch("runs_failed", _BY_VERSION), limits=(1,)),
        Panel("In quarantine", "percentunit", _watch("quarantine_share", _BY_VERSION)),
        Panel("Age of the predictions", "s", _watch("prediction_age_s", _BY_VERSION)),
        Panel("Input that waits", "short", _watch("input_waiting_rows", _BY_VERSION)),
        Panel("Age of the model", "s", _watch("model_age_s", _BY_VERSION)),
    )),
    ("Platform", (
        Panel("Edge: answers per second", "reqps",
              (('sum by (code) (rate(haproxy_frontend_http_responses_total{proxy="edge"}[$__rate_interval]))',
                "{{code}}"),), width=6),
        Panel("Edge: replicas that answer", "short",
              (('haproxy_backend_active_servers{proxy=~"model-.*"}', "{{proxy}}"),), width=6),
        Panel("Ray: processor", "percent", (("ray_node_cpu_utilization", "{{instance}}"),), width=6),
        Panel("Ray: memory", "bytes", (("ray_node_mem_used", "used {{instance}}"),
                                       ("ray_node_mem_total", "total {{instance}}")), width=6),
    )),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"h": 1, "w": _WIDTH, "x": 0, "y": top}})  # fmt: skip
        top += 1
        left = 0
        height = 4 if all(one.kind == "stat" for one in row) else _HEIGHT
        for one in row:
            if left + one.width > _WIDTH:
                left, top = 0, top + height
            place = {"h": height, "w": one.width, "x": left, "y": top}
            panels.append(_panel(one, len(panels) + 1, place))
            left += one.width
        top += height
    return {
        "uid": "twinscore",
        "title": "twinscore: what is watched",
        "tags": ["twinscore"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "timezone": "utc",
        "refresh": "1m",
        "time": {"from": "now-7d", "to": "now"},
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "panels": panels,
    }


def _panel(one: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    colours = ("green", "orange", "red") if len(one.limits) != 1 else ("green", "red")
    steps: list[dict[str, Any]] = [{"color": colours[0], "value": None}]
    steps += [{"color": colour, "value": limit} for colour, limit in zip(colours[1:], one.limits, strict=False)]
    shown: dict[str, Any] = {"unit": one.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    if one.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
    else:
        style = "line" if one.limits else "off"
        shown["custom"] = {"lineWidth": 1, "spanNulls": False, "thresholdsStyle": {"mode": style}}
    return {
        "id": number,
        "type": one.kind,
        "title": one.title,
        "description": one.says,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": shown, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + at), "expr": expression, "legendFormat": legend, "datasource": _SOURCE}
            for at, (expression, legend) in enumerate(one.queries)
        ],
    }


def _variables() -> list[dict[str, Any]]:
    def choice(name: str, query: str, *, several: bool) -> dict[str, Any]:
        more = {"multi": True, "includeAll": True, "current": {"text": ["All"], "value": ["$__all"]}} if several else {}
        return {"name": name, "label": name, "type": "query", "datasource": _SOURCE, "refresh": 2, "sort": 1,
                "query": {"query": query, "refId": name}, "definition": query, **more}  # fmt: skip

    return [
        {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        choice("model", "label_values(twinscore_watch_window_end_seconds, model)", several=False),
        choice("version", 'label_values(twinscore_watch_rows{model="$model"}, version)', several=True),
        choice("path", 'label_values(twinscore_watch_rows{model="$model"}, path)', several=True),
    ]


if __name__ == "__main__":
    import sys

    sys.stdout.write(json.dumps(dashboard(), indent=1) + "\n")
