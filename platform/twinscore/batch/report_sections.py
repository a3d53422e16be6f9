"""The parts of a report's page, each one a card: a heading, a picture, and the table that holds its figures; pure.

Whatever comes from data, contracts or models passes through `text` once; nothing else does.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from twinscore.batch.report_words import shift_words
from twinscore.page.cards import card, more, table, text
from twinscore.page.charts import bar, histogram
from twinscore.page.words import bin_name, count, cut, duration, percent, rate, size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["sections"]

SHOWN_DECISIONS = 20
_REASON = 400
_NOTE = (
    "Each bin holds about the same number of reference rows; where bars leave the line, scores moved. "
    "PSI below 0.1 is no shift to speak of, from 0.25 it is a large one."
)


def sections(report: Mapping[str, Any]) -> str:
    """Return all cards of a report, in the order in which people ask; those without figures are left out."""
    cards = (
        _decisions(report["decisions"]),
        _importance(report["importance"]),
        _quarantine(report["quarantine"], report["links"]),
        _review(report["review"], report["rows"]),
        _contract(report["contract"], report["links"]),
        _timings(report["timings"]),
    )
    middle = f'<div class="cards">{"".join(cards)}</div>'
    return "\n".join((_scores(report["scores"]), middle, _lineage(report["run"], report["lineage"], report["links"])))


def _scores(scores: Mapping[str, Any] | None) -> str:
    if scores is None or not scores["rows"]:
        return ""
    shift, compared = scores["shift"], scores["reference_rows"] is not None
    bins = [
        {**one, "name": f"{bin_name(one)}: {percent(one['share'])}"
         + (f", reference {percent(one['reference_share'])}" if compared else "")}
        for one in scores["bins"]
    ]  # fmt: skip
    said = "Share of the rows by score."
    if shift is not None:
        where = bin_name(scores["bins"][shift["largest_bin"]])
        said = (
            f"The scores are {shift_words(shift)}: PSI {shift['psi']:.3f} (chance alone gives up to "
            f"{shift['psi_by_chance']:.3f}). The largest difference is {100 * shift['largest_difference']:+.1f} "
            f"points, for scores {where}."
        )
    edges = [one["high"] for one in scores["bins"][:-1]]
    ticks = [edges[0], edges[len(edges) // 2], edges[-1]] if len(edges) > 2 else edges
    axis = "".join(f"<span>{tick:.3g}</span>" for tick in ticks)
    legend = '<span class="key"></span> this run'
    if compared:
        legend += ' &nbsp; <span class="key reference"></span> reference'
    heads = [("score", ""), ("rows", "n"), ("share", "n"), ("reference", "n")]
    rows = [
        (bin_name(one), count(one["rows"]), percent(one["share"]), percent(one["reference_share"]))
        for one in scores["bins"]
    ]
    listing = table("Rows by score", heads, rows)
    return card(
        "Scores",
        f'<p>{escape(said)}</p><p class="quiet">{legend}</p>{histogram(bins, said)}<div class="axis">{axis}</div>'
        f'<details><summary>Figures</summary><p class="quiet">{_NOTE if compared else ""}</p>{listing}</details>',
    )


def _decisions(decisions: Sequence[Mapping[str, Any]] | None) -> str:
    if not decisions:
        return ""
    rows = []
    for one in decisions[:SHOWN_DECISIONS]:
        low, high = one["reference_low"], one["reference_high"]
        known = low is not None
        between = percent(low) if not known or high - low < 5e-4 else f"{percent(low)} to {percent(high)}"
        drawn = bar(one["share"] or 0.0, reference=(low, high) if known else None)
        rows.append((text(one["decision"]) + drawn, count(one["rows"]), percent(one["share"]), between))
    heads = [("decision", ""), ("rows", "n"), ("share", "n"), ("reference", "n")]
    rest = more(len(decisions) - SHOWN_DECISIONS, "decisions")
    return card("Decisions", table("Rows by decision; the mark is the reference's share", heads, rows) + rest)


def _importance(importance: Mapping[str, Any] | None) -> str:
    if importance is None:
        return ""
    listed = importance["features"]
    most = max((one["mean_abs"] for one in listed), default=0.0) or 1.0
    rows = [
        (text(one["feature"]) + bar(one["mean_abs"] / most), f"{one['mean_abs']:.4g}", f"{one['mean']:+.3g}",
         percent(one["share"]))
        for one in listed
    ]  # fmt: skip
    heads = [("feature", ""), ("mean |SHAP|", "n"), ("mean", "n"), ("share", "n")]
    caption = f"What moved the scores, over {count(importance['rows'])} explained rows, in margins"
    return card("Importance", table(caption, heads, rows) + more(importance["more"], "features"))


def _quarantine(quarantine: Mapping[str, Any], links: Mapping[str, Any]) -> str:
    listed = quarantine["rules"]
    aside = _aside(quarantine)
    if not listed:
        return card("Quarantine", f'<p class="good">No row was refused.</p>{aside}')
    most = max(one["rows"] for one in listed) or 1
    rows = [
        (_rule(one["rule"]) + bar(one["rows"] / most, kind="bad"), count(one["rows"]),
         percent(one["share"]))
        for one in listed
    ]  # fmt: skip
    heads = [("rule", ""), ("rows", "n"), ("of all", "n")]
    where = f'<p><a href="{links["quarantine"]}">Refused rows</a></p>' if links["quarantine"] else ""
    listing = table("Refused rows by rule; a row may break several", heads, rows)
    return card("Quarantine", listing + more(quarantine["more"], "rules") + where + aside)


def _aside(quarantine: Mapping[str, Any]) -> str:
    """Return the files that were set aside, of which no row is in any count."""
    listed = quarantine.get("files")
    if not listed:
        return ""
    heads = [("file", ""), ("rows", "n"), ("reason", "")]
    rows = [(f"<code>{text(one['name'])}</code>", count(one["rows"]), text(one["reason"], _REASON)) for one in listed]
    listing = table("Files that were set aside; their rows are in no count", heads, rows)
    return listing + more(quarantine.get("more_files", 0), "files")


def _review(review: Mapping[str, Any], rows: Mapping[str, Any]) -> str:
    flagged = (
        f"{count(review['flagged'])} scored rows ({percent(rows['share_flagged'])}) have a warning of the contract."
    )
    body = f"<p>{flagged}</p>"
    if review["reasons"]:
        listed = [
            (text(one["reason"]) + bar(one["share"] or 0.0), count(one["rows"]), percent(one["share"]))
            for one in review["reasons"]
        ]
        heads = [("reason", ""), ("rows", "n"), ("share", "n")]
        body += table("Rows that a person should look at, by reason", heads, listed)
    return card("For review", body)


def _contract(contract: Mapping[str, Any], links: Mapping[str, Any]) -> str:
    kinds = {"failed": "bad", "inconclusive": "warn", "passed": "good"}
    said = ", ".join(f'<span class="{kinds[word]}">{contract[word]} {word}</span>' for word in kinds if contract[word])
    body = f"<p>Rules about the whole: {said or 'none was asked'}.</p>"
    if contract["results"]:
        heads = [("rule", ""), ("expected", ""), ("observed", ""), ("answer", "w")]
        rows = [
            (_rule(one["rule"]), text(one["expected"]), text(one["observed"]),
             f'<span class="{kinds[one["answer"]]}">{one["answer"]}</span>')
            for one in contract["results"]
        ]  # fmt: skip
        shown = " open" if contract["failed"] or contract["inconclusive"] else ""
        listing = table("Answers of the run-level rules", heads, rows) + more(contract["more"], "rules")
        body += f"<details{shown}><summary>Answers</summary>{listing}</details>"
    if links["data_docs_command"]:
        command = escape(links["data_docs_command"], quote=True)
        body += f"<details><summary>Data Docs of the contract</summary><pre><code>{command}</code></pre></details>"
    return card("Contract", body)


def _timings(timings: Mapping[str, Any]) -> str:
    body = ""
    for name, caption in (("steps", "Steps of the run"), ("worker_steps", "Work, added up over all workers")):
        listed = timings[name]
        if not listed:
            continue
        most = max(one["seconds"] for one in listed) or 1.0
        rows = [
            (text(one["step"]) + bar(one["seconds"] / most), duration(one["seconds"]), rate(one["rows_per_s"]))
            for one in listed
        ]
        body += table(caption, [("step", ""), ("time", "n"), ("rows/s", "n")], rows)
    return card("Time", body) if body else ""


def _lineage(run: Mapping[str, Any], lineage: Mapping[str, Any], links: Mapping[str, Any]) -> str:
    source, made = lineage["input"], lineage["output"]
    paths = source["path"] if isinstance(source["path"], list) else [source["path"]]
    told = text(", ".join(cut(path) for path in paths[:3])) if source["path"] else "unknown"
    facts = {
        "run": _code(run["run_id"]),
        "model": f"{text(run['model'])} version {text(run['version'])}",
        "asked for as": text(run["requested"]),
        "bundle": _code(lineage["bundle_digest"]),
        "contract": _code(lineage["contract_digest"]),
        "input": f"{told}: {_files(source['files'])}, {count(source['rows'])} rows, {size(source['bytes'])}",
        "snapshot": _code(source["snapshot"]),
        "output": f"{_files(made['files'])}, {count(made['rows'])} rows, {size(made['bytes'])}",
        "key": text(", ".join(lineage["key"])),
        "began": text(run["started_at"]),
        "ended": text(run["finished_at"]),
        "trained": text(lineage["trained_at"]),
        "code": text(", ".join(f"{name} {version}" for name, version in lineage["versions"].items())),
        "files": f'<a href="{links["manifest"]}">manifest</a>, <a href="{links["json"]}">this report as JSON</a>',
    }
    shown = "".join(f"<dt>{name}</dt><dd>{fact}</dd>" for name, fact in facts.items() if fact)
    return card("Where it comes from", f'<dl class="facts">{shown}</dl>')


def _rule(name: object) -> str:
    """Return a rule's name, which may be broken after each of its words."""
    return f"<code>{text(name).replace('_', '_<wbr>')}</code>"


def _code(value: object) -> str:
    return f"<code>{text(value)}</code>" if value else ""


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{count(number)} files"
