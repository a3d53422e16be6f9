"""The report of a run as one HTML text that a person understands at a glance; needs no network and no script; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.batch.report_sections import sections
from twinscore.batch.report_words import summary
from twinscore.page.cards import page, text, tiles
from twinscore.page.words import count, duration, percent, rate

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["report_page"]

_REFUSAL = 2_000
_BADGES = {
    "COMMITTED": ("good", "committed"),
    "EMPTY": ("warn", "empty"),
    "REFUSED": ("bad", "refused"),
}


def report_page(report: Mapping[str, Any]) -> str:
    """Return the page of a report that `report_of` made: below 100 kB, whatever the number of features and rules."""
    run = report["run"]
    kind, word = _BADGES.get(str(run["verdict"]), ("warn", text(run["verdict"] or "unknown")))
    name = f"{text(run['model'])} version {text(run['version'])}"
    refused = f'<p class="bad">{text(run["refused"], _REFUSAL)}</p>' if run["refused"] else ""
    return page(
        title=f"{name}: run {text(run['run_id'])}",
        heading=name,
        badge=f'<span class="badge {kind}">{word}</span>',
        summary=text(summary(report)),
        notice=refused,
        tiles=_tiles(report),
        sections=sections(report),
    )


def _tiles(report: Mapping[str, Any]) -> str:
    rows, timings = report["rows"], report["timings"]
    shift = (report["scores"] or {}).get("shift")
    taken = f"of {count(rows['in'])}" + (f"; {count(rows['filtered'])} filtered out" if rows["filtered"] else "")
    failed, passed = report["contract"]["failed"], report["contract"]["passed"]
    shown = [
        ("rows scored", count(rows["scored"]), taken),
        ("in quarantine", count(rows["quarantined"]), percent(rows["share_quarantined"])),
        ("with a warning", count(rows["flagged"]), percent(rows["share_flagged"])),
        ("score shift (PSI)", f"{shift['psi']:.3f}", f"{shift['size']} shift".replace("none", "no")) if shift
        else ("score shift (PSI)", "-", "nothing to compare"),
        ("rules of the whole", f"{passed} kept", f"{failed} broken"),
        ("rows per second", rate(timings["rows_per_s"]), f"in {duration(timings['total_s'])}"),
    ]  # fmt: skip
    return tiles(shown)
