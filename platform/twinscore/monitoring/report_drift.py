"""The part of a report about drift: a strip per feature, worst first, and how those that moved are spread; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.monitoring.report_charts import Pick, axis_of, over_time, spans_of
from twinscore.monitoring.report_series import newest, one_series, series_of
from twinscore.monitoring.report_words import moment, number, window_name
from twinscore.page.cards import card, more, table, text
from twinscore.page.charts import bar, histogram
from twinscore.page.lines import HOTTEST, strip
from twinscore.page.words import count, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["drift_card", "feature_cards", "score_shape", "worst_first"]

_SHOWN, _FEWEST = 20, 10
"""Features in the strip: those that moved at all, so many at most; calm ones fill up to so many."""
_CLOSE = 6
"""Features that are shown from close by."""
_CELLS = 12
_STEPS = {"psi": (0.02, 0.05, 0.1, 0.25, 0.5), "js_distance": (0.05, 0.08, 0.11, 0.17, 0.25)}
"""Effects at which a strip gets darker: PSI below 0.1 is no shift to speak of, from 0.25 it is a large one."""


def worst_first(scope: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the effects of a scope's features, those that drifted now first, then the largest newest effect."""
    effects = series_of(scope, "psi") or series_of(scope, "js_distance")
    moved = _moved(scope)

    def weight(one: Mapping[str, Any]) -> tuple[bool, float, float, str]:
        now = _newest_of(one) or 0.0
        ever = max((each for each in one["values"] if each is not None), default=0.0)
        return one["subject"] not in moved, -now, -ever, one["subject"]

    return sorted(effects, key=weight)


def drift_card(report: Mapping[str, Any], scope: Mapping[str, Any], title: str) -> str:
    """Return the card with a strip per feature; nothing when no effect is known."""
    effects = worst_first(scope)
    if not effects:
        return ""
    metric = effects[0]["metric"]
    warm = sum((_newest_of(one) or 0.0) >= _STEPS[metric][2] for one in effects)
    shown = effects[: min(max(warm, len(_moved(scope)), _FEWEST), _SHOWN)]
    rows = [_row(scope, one) for one in shown]
    moved = len(_moved(scope))
    windows = scope["windows"]
    said = (
        f"{count(moved)} of {count(len(effects))} features drifted in the newest window, "
        f"{window_name(windows[-1])} UTC."
    )
    axis = "".join(f"<span>{one}</span>" for one in axis_of(scope))
    heads = [(f'feature<div class="axis">{axis}</div>', ""), (f"{_EFFECTS[metric]} now", "n")]
    left = more(len(effects) - len(shown), "features, all of them calmer")
    body = f'<p>{said}</p>{_legend(metric)}{table("Worst first", heads, rows)}{left}<p class="quiet">{_NOTE}</p>'
    return card(title, body)


_EFFECTS = {"psi": "PSI", "js_distance": "Jensen-Shannon"}
_NOTE = (
    "A feature drifted when the change is proved, large enough to matter, and was there in several windows; "
    "a single dark cell is not drift yet."
)


def feature_cards(report: Mapping[str, Any], scope: Mapping[str, Any], place: str) -> list[str]:
    """Return a card for each feature that drifted now: its effect over time, and its distribution."""
    names = _moved(scope)
    moved = [one for one in worst_first(scope) if one["subject"] in names] if names else []
    cards = []
    for one in moved[:_CLOSE]:
        name = one["subject"]
        since = _since(scope, name)
        said = f"<p>{_EFFECTS[one['metric']]} {number(_newest_of(one))}"
        said += f", drifted since {moment(since)} UTC.</p>" if since else ".</p>"
        chart = over_time(report, scope, [Pick(one["metric"], name, _EFFECTS[one["metric"]])], zero=True)
        found = _distribution(report, scope, name)
        cards.append(card(f"{_short(name)}{place}", said + chart + ("" if found is None else _spread(found))))
    if len(moved) > _CLOSE:
        cards.append(card(f"More that drifted{place}", more(len(moved) - _CLOSE, "features drifted")))
    return cards


def score_shape(report: Mapping[str, Any], scope: Mapping[str, Any]) -> str:
    """Return the distribution of the scores beside the reference; nothing when it is not known."""
    found = _distribution(report, scope, "")
    return "" if found is None else _spread(found)


def _row(scope: Mapping[str, Any], effect: Mapping[str, Any]) -> tuple[str, str]:
    metric, name = effect["metric"], effect["subject"]
    steps = _STEPS[metric]
    levels = [None if one is None else sum(one >= step for step in steps) for one in effect["values"]]
    flags = one_series(scope, "feature_drift", name)
    proved = [bool(one) for one in flags["values"]] if flags is not None else []
    titles = [
        f"{window_name(window)}: {number(one)}{', drifted' if at < len(proved) and proved[at] else ''}"
        for at, (window, one) in enumerate(zip(scope["windows"], effect["values"], strict=True))
    ]
    since = _since(scope, name)
    label = f"{name}: {_EFFECTS[metric]} of {len(levels)} windows"
    drawn = strip(levels, spans_of(scope), titles, label, proved=proved)
    shown = "" if since is None else f' <small class="bad">since {moment(since)}</small>'
    return f"{text(name, 80)}{shown}{drawn}", number(_newest_of(effect))


def _legend(metric: str) -> str:
    steps = _STEPS[metric]
    names = [f"below {steps[0]:g}", *(f"{step:g}" for step in steps)]
    cells = "".join(
        f'<span class="w"><span class="key h{at}"></span> {name}</span> '
        for at, name in enumerate(names[: HOTTEST + 1])
    )
    mark = '<span class="w"><span class="key proved"></span> drifted</span>'
    return f'<p class="legend">{_EFFECTS[metric]} {cells}{mark}</p>'


def _newest_of(series: Mapping[str, Any]) -> float | None:
    at = newest(series)
    return None if at is None else series["values"][at]


def _moved(scope: Mapping[str, Any]) -> set[str]:
    """Return the features that drifted in the newest window."""
    return {one["subject"] for one in series_of(scope, "feature_drift") if one["values"] and one["values"][-1]}


def _since(scope: Mapping[str, Any], name: str) -> str | None:
    """Return the start of the first window of the drift that lasts; a window without a figure does not end it."""
    flags = one_series(scope, "feature_drift", name)
    found = None
    for window, one in zip(
        reversed(scope["windows"]), reversed([] if flags is None else flags["values"]), strict=False
    ):
        if one is not None and not one:
            break
        found = window["start"] if one else found
    return found


def _distribution(report: Mapping[str, Any], scope: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    found = [one for one in report["distributions"] if one["feature"] == name and one["path"] == scope["path"]]
    return max(found, key=lambda one: one["end"] or "", default=None)


def _spread(found: Mapping[str, Any]) -> str:
    """Return the picture of a distribution, and its table."""
    counts, reference = found["counts"], found["reference"]
    whole, of_reference = sum(counts) or 1, sum(reference) or 1
    shares = [
        {"name": name, "rows": rows, "share": rows / whole,
         "reference_share": reference[at] / of_reference if at < len(reference) else None}
        for at, (name, rows) in enumerate(zip(found["names"], counts, strict=True))
    ]  # fmt: skip
    heads = [("value", ""), ("rows", "n"), ("share", "n"), ("reference", "n")]
    if not found["ordered"]:
        return _categories(shares, heads)
    said = f"Share of the rows by {found['feature'] or 'score'}, beside the reference."
    legend = '<span class="w"><span class="key"></span> newest window</span>'
    if reference:
        legend += ' <span class="w"><span class="key reference"></span> reference</span>'
    bins = [{**one, "name": _bin_title(one)} for one in shares]
    axis = "".join(f"<span>{text(one['name'], 16)}</span>" for one in (shares[0], shares[len(shares) // 2], shares[-1]))
    rows = [_cells(one, text(one["name"], 40)) for one in shares]
    return (
        f'<p class="legend">{legend}</p>{histogram(bins, said)}<div class="axis">{axis}</div>'
        f"<details><summary>Figures</summary>{table(said, heads, rows)}</details>"
    )


def _categories(shares: list[dict[str, Any]], heads: Sequence[tuple[str, str]]) -> str:
    by_change = sorted(shares, key=lambda one: -abs(one["share"] - (one["reference_share"] or 0.0)))
    most = max(max(one["share"], one["reference_share"] or 0.0) for one in shares) or 1.0
    rows = []
    for one in by_change[:_CELLS]:
        held = one["reference_share"]
        mark = None if held is None else (held / most, held / most)
        rows.append(_cells(one, text(one["name"], 60) + bar(one["share"] / most, reference=mark)))
    caption = "Newest window, largest change first; the mark is the reference's share"
    return table(caption, heads, rows) + more(len(shares) - _CELLS, "values")


def _cells(one: Mapping[str, Any], first: str) -> tuple[str, str, str, str]:
    return first, count(one["rows"]), percent(one["share"]), percent(one["reference_share"])


def _bin_title(one: Mapping[str, Any]) -> str:
    held = one["reference_share"]
    return f"{one['name']}: {percent(one['share'])}" + ("" if held is None else f", reference {percent(held)}")


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:59]}…"
