"""What a run was, in a sentence, for the page and the terminal; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.page.words import count, percent

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["shift_words", "summary"]

_SHIFTS = {
    "none": "spread as in the reference",
    "small": "spread nearly as in the reference",
    "some": "somewhat differently spread than in the reference",
    "large": "very differently spread than in the reference",
}


def shift_words(shift: Mapping[str, Any] | None) -> str:
    """Say in words how far the scores moved; empty when there is nothing to compare with."""
    return _SHIFTS[shift["size"]] if shift else ""


def summary(report: Mapping[str, Any]) -> str:
    """Say in one or two sentences what became of the run."""
    rows, run = report["rows"], report["run"]
    if rows["in"] == 0:
        return "No row passed the filter." if run["verdict"] == "EMPTY" else "No row was taken in."
    said = f"{count(rows['scored'])} of {count(rows['in'])} rows were scored"
    if rows["quarantined"]:
        said += f"; {count(rows['quarantined'])} are in quarantine ({percent(rows['share_quarantined'])})"
    files = rows.get("files_quarantined", 0)
    if files:
        said += f"; {count(files)} {'file was' if files == 1 else 'files were'} set aside"
    if run["verdict"] == "REFUSED":
        return f"{said}. The run was refused: its predictions were dropped."
    words = shift_words((report["scores"] or {}).get("shift"))
    return f"{said}. Scores are {words}." if words else f"{said}."
