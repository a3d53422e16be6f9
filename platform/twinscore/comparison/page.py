"""The comparison of two versions as one HTML text, with pictures; needs no network and no script; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.page.cards import card, page, table, text, tiles
from twinscore.page.charts import bar, grid, histogram, span
from twinscore.page.words import bin_name, count, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["comparison_page", "in_words"]

_NOTHING = "-"
_SHOWN = 20


def comparison_page(report: Mapping[str, Any]) -> str:
    """Return the page of a report that `compare` made."""
    live, candidate, facts = report["live"], report["candidate"], report["facts"]
    name = f"{text(facts.get('model') or 'model')}: version {text(candidate['version'])} beside {text(live['version'])}"
    left_out = [f"{text(what)}: {text(why)}" for what, why in (facts.get("left_out") or {}).items()]
    notice = f'<p class="quiet">Left out: {"; ".join(left_out)}.</p>' if left_out else ""
    cards = (
        _decisions(report["decisions"], report),
        _grid(report["grid"], live, candidate, report["ranks"]),
        _cost(report["latency"], report["cost"]),
        _largest(report["largest"]),
        _methods(report),
    )
    wide = (_difference(report["difference"]), _shift(report["shift"]))
    parts = (_parts(one, kind) for kind in ("segments", "groups") for one in report[kind])
    middle = f'<div class="cards">{"".join(cards)}</div>'
    return page(
        title=name,
        heading=name,
        badge=f'<span class="badge">{text(facts.get("source") or "pairs")}</span>',
        summary=text(in_words(report), 600),
        notice=notice,
        tiles=tiles(_tiles(report)),
        sections="\n".join((*wide, middle, *parts)),
    )


def in_words(report: Mapping[str, Any]) -> str:
    """Say in one or two sentences how far the versions differ."""
    rows = report["rows"]["compared"]
    if not rows:
        return "No row was scored by both versions, so there is nothing to compare."
    said = f"{count(rows)} rows were scored by both versions."
    decisions, size = report["decisions"], report["difference"]["size"]
    if decisions is not None:
        said += f" {_share(decisions['flips'])} of the decisions differ."
    return f"{said} Half of the scores are within {size['0.5']['value']:.3g}, 95 % within {size['0.95']['value']:.3g}."


def _tiles(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows, decisions, shift, cost = report["rows"], report["decisions"], report["shift"], report["cost"]
    ranks, difference = report["ranks"], report["difference"]
    shown = [("rows compared", count(rows["compared"]), f"{count(rows['units'])} units")]
    if decisions is not None:
        shown.append(("decisions that flip", percent(decisions["flips"]["value"]), _ends(decisions["flips"], percent)))
    if difference is not None:
        shown.append(("mean difference", _number(difference["mean"]["value"]), _ends(difference["mean"])))
    if shift is not None:
        shown.append(("PSI", f"{shift['psi']['value']:.3f}", _ends(shift["psi"])))
    shown.append(("Spearman", _number(ranks["spearman"]["value"]), _ends(ranks["spearman"])))
    if cost is not None:
        shown.append(("cost per row", f"{_number(cost['ratio']['value'])} x", _ends(cost["ratio"])))
    return shown


def _difference(difference: Mapping[str, Any] | None) -> str:
    if difference is None:
        return ""
    edges, counts = difference["histogram"]["edges"], difference["histogram"]["counts"]
    whole = sum(counts) or 1
    bins = [
        {"share": rows / whole, "reference_share": None, "name": f"{bin_name({'low': low, 'high': high})}: {rows:,}"}
        for rows, low, high in zip(counts, [None, *edges], [*edges, None], strict=True)
    ]
    heads = [("share below", ""), ("signed", "n"), ("95 % interval", "n")]
    rows = [(percent(float(at)), _number(one["value"]), _ends(one)) for at, one in difference["signed"].items()]
    sized = [(percent(float(at)), _number(one["value"]), _ends(one)) for at, one in difference["size"].items()]
    said = f"Candidate minus live; {_share(difference['equal'])} of the scores are equal."
    body = (
        f"<p>{text(said)}</p>{histogram(bins, said)}"
        f'<div class="axis"><span>{edges[0]:.3g}</span><span>{edges[len(edges) // 2]:.3g}</span>'
        f"<span>{edges[-1]:.3g}</span></div><details><summary>Figures</summary>"
        f"{table('Quantiles of the difference', heads, rows)}"
        f"{table('Quantiles of its size', [heads[0], ('size', 'n'), heads[2]], sized)}</details>"
    )
    return card("How far the scores are apart", body)


def _shift(shift: Mapping[str, Any] | None) -> str:
    if shift is None:
        return ""
    edges, live, candidate = shift["edges"], shift["live"], shift["candidate"]
    n_live, n_candidate = sum(live) or 1, sum(candidate) or 1
    bins = [
        {"share": after / n_candidate, "reference_share": before / n_live, "name": bin_name({"low": low, "high": high})}
        for before, after, low, high in zip(live, candidate, [None, *edges], [*edges, None], strict=True)
    ]
    said = f"PSI {shift['psi']['value']:.3f} ({_ends(shift['psi'])}), in the bins of the {shift['bins_from']}."
    legend = '<span class="key"></span> candidate &nbsp; <span class="key reference"></span> live'
    heads = [("score", ""), ("live", "n"), ("candidate", "n")]
    rows = [(one["name"], percent(one["reference_share"]), percent(one["share"])) for one in bins]
    return card(
        "Scores",
        f'<p>{text(said)}</p><p class="quiet">{legend}</p>{histogram(bins, said)}'
        f"<details><summary>Figures</summary>{table('Rows by score', heads, rows)}</details>",
    )


def _decisions(decisions: Mapping[str, Any] | None, report: Mapping[str, Any]) -> str:
    if decisions is None:
        return ""
    rows = [
        (f"{text(one['live'])} &rarr; {text(one['candidate'])}"
         + bar(one["share"]["value"] or 0.0, kind="run" if one["live"] == one["candidate"] else "bad"),
         count(one["rows"]), percent(one["share"]["value"]), _ends(one["share"], percent))
        for one in decisions["matrix"]
    ]  # fmt: skip
    heads = [("live &rarr; candidate", ""), ("rows", "n"), ("share", "n"), ("95 % interval", "n")]
    body = table("Rows by both decisions", heads, rows)
    thresholds = [report[side]["threshold"] for side in ("live", "candidate")]
    if None not in thresholds:
        body += f'<p class="quiet">Thresholds: live {thresholds[0]:.4g}, candidate {thresholds[1]:.4g}.</p>'
    if decisions["positive"] is not None:
        body += (
            f"<p>{text(decisions['positive'])}: live {percent(decisions['live_rate']['value'])}, candidate "
            f"{percent(decisions['candidate_rate']['value'])}, difference "
            f"{text(_points(decisions['rate_difference']))}.</p>"
        )
    return card("Decisions", body)


def _grid(
    found: Mapping[str, Any] | None, live: Mapping[str, Any], candidate: Mapping[str, Any], ranks: Mapping[str, Any]
) -> str:
    if found is None:
        return ""
    said = ", ".join(f"{name} {_number(one['value'])} ({_ends(one)})" for name, one in ranks.items())
    label = f"rows by the scores of live version {live['version']} (across) and candidate {candidate['version']} (up)"
    axis = f'<div class="axis"><span>{found["low"]:.3g}</span><span>{found["high"]:.3g}</span></div>'
    body = f'<p>{text(said)}</p>{grid(found["counts"], label)}{axis}<p class="quiet">{text(label)}</p>'
    return card("Order", body)


def _parts(found: Mapping[str, Any], kind: str) -> str:
    listed = found["parts"]
    flipped = [one["flips"] for one in listed if one.get("flips")]
    most = max((flips["high"] or flips["value"] for flips in flipped), default=0.0) or 1.0
    rows = []
    for one in listed[: _SHOWN + 2]:
        flips, difference = one.get("flips"), one.get("difference")
        drawn = "" if not flips else span(flips["value"] / most, flips["low"] or 0.0, flips["high"] or 0.0, most)
        rows.append(
            (text(one["value"]) + drawn, count(one["rows"]), percent(flips["value"]) if flips else _NOTHING,
             _ends(flips, percent) if flips else _NOTHING, _number(difference["value"]) if difference else _NOTHING,
             text(_points(one["rate_difference"])) if one.get("positive") else _NOTHING)
        )  # fmt: skip
    heads = [("value", ""), ("rows", "n"), ("flips", "n"), ("95 % interval", "n"), ("mean difference", "n"),
             ("rate difference", "n")]  # fmt: skip
    caption = "The mark is the interval of the flips; of twenty intervals, one misses"
    return card(f"By {found['column']}" + (" (group)" if kind == "groups" else ""), table(caption, heads, rows))


def _cost(latency: Mapping[str, Any] | None, cost: Mapping[str, Any] | None) -> str:
    heads = [("", ""), ("live", "n"), ("candidate", "n")]
    body = ""
    if latency is not None:
        rows = [
            (name, *(f"{_number(latency[side][name]['value'])} ms" for side in ("live", "candidate")))
            for name in latency["live"]
        ]
        body += table("Whole answers of the live version, calls of the shadow", heads, rows)
        body += f"<p>Median difference: {text(_with(latency['median_difference']))} ms.</p>"
    if cost is not None:
        rows = [("per row", *(f"{_number(cost[side]['value'])} µs" for side in ("live", "candidate")))]
        body += table("Time per row", heads, rows) + f"<p>Ratio: {text(_with(cost['ratio']))}.</p>"
    return card("Latency and cost", body) if body else ""


def _largest(listed: Sequence[Mapping[str, Any]]) -> str:
    if not listed:
        return ""
    rows = [
        (f"<code>{text(one.get('request_id') or '-')}</code> {text(one.get('row', ''))}",
         f"{one['live_score']:.4g}", f"{one['candidate_score']:.4g}",
         f"{text(one['live_decision'])} &rarr; {text(one['candidate_decision'])}")
        for one in listed
    ]  # fmt: skip
    heads = [("request, row", ""), ("live", "n"), ("candidate", "n"), ("decision", "w")]
    body = table("Furthest apart", heads, rows)
    return card("Rows to look at", f"<details><summary>{len(listed)} rows</summary>{body}</details>")


def _methods(report: Mapping[str, Any]) -> str:
    shown = {**report["intervals"]["methods"], "level": percent(report["intervals"]["level"])}
    shown |= {name: value for name, value in report["facts"].items() if isinstance(value, (str, int, float))}
    listed = "".join(f"<dt>{text(name)}</dt><dd>{text(value, 300)}</dd>" for name, value in shown.items())
    return card("Where it comes from", f'<dl class="facts">{listed}</dl>')


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.4g}"


def _ends(one: Mapping[str, Any], write: Any = _number) -> str:
    return _NOTHING if one["low"] is None or one["high"] is None else f"{write(one['low'])} to {write(one['high'])}"


def _with(one: Mapping[str, Any]) -> str:
    return f"{_number(one['value'])} ({_ends(one)})"


def _share(one: Mapping[str, Any]) -> str:
    return f"{percent(one['value'])} ({_ends(one, percent)})"


def _points(one: Mapping[str, Any]) -> str:
    ends = "" if one["low"] is None else f" ({100 * one['low']:+.2f} to {100 * one['high']:+.2f})"
    return f"{100 * one['value']:+.2f} points{ends}"
