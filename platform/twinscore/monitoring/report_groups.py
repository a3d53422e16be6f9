"""The parts of a report about outcomes: performance with labels and estimates, coverage, fairness by group; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.monitoring.metric import METRICS
from twinscore.monitoring.report_charts import Pick, latest, over_time
from twinscore.monitoring.report_series import newest, series_of, subjects_of
from twinscore.monitoring.report_words import value, window_name
from twinscore.page.cards import card, more, table, text
from twinscore.page.lines import dot
from twinscore.page.words import count

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["coverage_card", "fairness_cards", "performance_card"]

_PERFORMANCE = (
    ("auc", "AUC"), ("accuracy", "Accuracy"), ("log_loss", "Log loss"), ("brier", "Brier score"), ("rmse", "RMSE"),
    ("mae", "MAE"), ("r2", "R²"), ("balanced_accuracy", "Balanced accuracy"), ("macro_f1", "Macro F1"),
    ("decision_auc", "AUC of being right"), ("decision_log_loss", "Log loss of being right"),
    ("decision_brier", "Brier score of being right"), ("calibration_error", "Calibration error"),
    ("decision_calibration_error", "Calibration error by class decided for"),
)  # fmt: skip
_RATES = (
    ("fpr", "fpr_gap"), ("fnr", "fnr_gap"), ("tpr", "tpr_gap"), ("selection_rate", "selection_rate_gap"),
    ("precision", "precision_gap"),
)  # fmt: skip
_DOUBTS = (
    ("interval_width", "Width", "mean width of the intervals"),
    ("ambiguous_share", "Ambiguous", "not exactly one class in the set"),
    ("review_rate", "For review", "rows that ask for a person"),
)
_FIRST_GROUPS = 12
_OPEN = 2
"""Charts of performance, and rates of a column, that are shown at once; the others are a click away."""


def performance_card(report: Mapping[str, Any], scope: Mapping[str, Any], place: str) -> str:
    """Return what the model is worth: measured where outcomes are known, estimated where they are not."""
    charts = []
    for metric, name in _PERFORMANCE:
        picks = [Pick(metric, "", f"{name}, measured", dots=True), Pick(f"estimated_{metric}", "", "estimated")]
        drawn = over_time(report, scope, [one for one in picks if one.metric in METRICS])
        if drawn:
            charts.append(f"<h3>{name}</h3>{drawn}")
    if not charts:
        return ""
    known, when = latest(scope, "labelled_share")
    said = "" if known is None else f" Outcomes are known for {value('labelled_share', known)} of the newest rows"
    said += f" ({when})." if when else "." if said else ""
    said += _waits(scope)
    note = (
        "<p>Points are measured with outcomes; the line is estimated from the scores alone, and holds while the scores "
        f"are calibrated.{said}</p>"
    )
    rest = charts[_OPEN:]
    hidden = f"<details><summary>{len(rest)} more</summary>{''.join(rest)}</details>" if rest else ""
    return card(f"Performance{place}", note + "".join(charts[:_OPEN]) + _classes(scope) + hidden)


def _classes(scope: Mapping[str, Any]) -> str:
    """Return the table of recall and precision by class, the worst recognised first; nothing without outcomes."""
    found: dict[str, dict[str, tuple[str, int, float]]] = {}
    moments = []
    for metric in ("class_recall", "class_precision"):
        for one in series_of(scope, metric):
            at = newest(one)
            if at is None:
                continue
            low, high = one["low"][at], one["high"][at]
            between = "" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})"
            shown = f"{value(metric, one['values'][at])}{between}"
            found.setdefault(one["subject"], {})[metric] = shown, one["rows"][at], one["values"][at]
            moments.append(at)
    if not found:
        return ""
    nothing = "-", 0, 2.0
    worst = sorted(found, key=lambda name: (found[name].get("class_recall", nothing)[2], name))
    rows = []
    for name in worst[:_FIRST_GROUPS]:
        recall, precision = (found[name].get(metric, nothing) for metric in ("class_recall", "class_precision"))
        rows.append((text(name, 60), recall[0], count(recall[1]), precision[0], count(precision[1])))
    heads = [("class", ""), ("recognised", "n"), ("outcomes", "n"), ("right when decided", "n"), ("decisions", "n")]
    caption = f"{window_name(scope['windows'][max(moments)])} UTC"
    return f"<h3>By class</h3>{table(caption, heads, rows)}{more(len(found) - _FIRST_GROUPS, 'classes')}"


def _waits(scope: Mapping[str, Any]) -> str:
    """Say how long outcomes took; empty where that is not known."""
    half, when = latest(scope, "label_delay_s_p50")
    most, _ = latest(scope, "label_delay_s_p90")
    if half is None or most is None:
        return ""
    told = (
        f" Half of the outcomes were known within {value('label_delay_s_p50', half)} of the score, nine in ten within"
    )
    return f"{told} {value('label_delay_s_p90', most)}{f' ({when})' if when else ''}."


def coverage_card(report: Mapping[str, Any], scope: Mapping[str, Any], place: str) -> str:
    """Return how often outcomes were inside their intervals, against the promise, and how wide these are."""
    covered = over_time(report, scope, [Pick("coverage", "", "outcomes inside")])
    promised = report["limits"].get("coverage")
    body = ""
    if covered:
        held, when = latest(scope, "coverage")
        said = f"{value('coverage', held)} of the outcomes were inside their interval or set"
        said += f" ({when})" if when else ""
        said += "." if promised is None else f"; {value('coverage', promised)} was promised."
        body = f"<p>{said}</p>{covered}"
    for metric, name, said in _DOUBTS:
        drawn = over_time(report, scope, [Pick(metric, "", said)])
        body += f"<h3>{name}</h3>{drawn}" if drawn else ""
    return card(f"Uncertainty{place}", body) if body else ""


def fairness_cards(report: Mapping[str, Any], scope: Mapping[str, Any], place: str) -> list[str]:
    """Return one card for each column of groups: rates by group with intervals, and the gaps over time."""
    columns = sorted({
        *(one["subject"] for _, gap in _RATES for one in series_of(scope, gap)),
        *(name.partition("=")[0] for rate, _ in _RATES for name in subjects_of(scope, rate)),
    })  # fmt: skip
    return [made for column in columns if (made := _fairness(report, scope, column, place))]


def _fairness(report: Mapping[str, Any], scope: Mapping[str, Any], column: str, place: str) -> str:
    parts = []
    for rate, gap in _RATES:
        body = _groups(scope, rate, column)
        drawn = over_time(report, scope, [Pick(gap, column, "gap")], zero=True)
        if body or drawn:
            parts.append(f"<h3>{METRICS[rate].says.capitalize()}</h3>{body}{drawn}")
    ratio, when = latest(scope, "selection_rate_ratio", column)
    said = ""
    if ratio is not None:
        said = f"<p>The lowest selection rate is {value('selection_rate_ratio', ratio)} of the highest"
        said += f" ({when}).</p>" if when else ".</p>"
    if not parts:
        return ""
    rest = parts[_OPEN:]
    hidden = f"<details><summary>{len(rest)} more rates</summary>{''.join(rest)}</details>" if rest else ""
    return card(f"Fairness by {column[:60]}{place}", said + "".join(parts[:_OPEN]) + hidden)


def _groups(scope: Mapping[str, Any], rate: str, column: str) -> str:
    """Return the table of a rate by group, each from its newest window with a value."""
    found = [one for one in series_of(scope, rate) if one["subject"].partition("=")[0] == column]
    known = [(one, at) for one in found if (at := newest(one)) is not None]
    if not known:
        return ""
    most = max(one["high"][at] or one["values"][at] for one, at in known) or 1.0
    rows = []
    for one, at in sorted(known, key=lambda pair: -pair[0]["values"][pair[1]])[:_FIRST_GROUPS]:
        low, high = one["low"][at], one["high"][at]
        drawn = dot(one["values"][at], low, high, most)
        between = "-" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f} %"
        rows.append((text(one["subject"].partition("=")[2], 60) + drawn, value(rate, one["values"][at]), between,
                     count(one["rows"][at])))  # fmt: skip
    newest_at = max(at for _, at in known)
    heads = [("group", ""), ("rate", "n"), ("95 % interval", "n"), ("rows", "n")]
    caption = f"{window_name(scope['windows'][newest_at])} UTC"
    silent = [f"{one['subject'].partition('=')[2]} ({_why(one)})" for one in found if newest(one) is None]
    left = "".join(f'<p class="quiet">No figure: {text(", ".join(silent), 200)}</p>' if silent else "")
    return table(caption, heads, rows) + more(len(known) - _FIRST_GROUPS, "groups") + left


def _why(series: Mapping[str, Any]) -> str:
    notes = series["notes"]
    return str(notes[max(notes, key=int)]) if notes else "no rows"
