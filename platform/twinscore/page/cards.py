"""The page of a report and what stands on it: cards and tables of text that may come from anywhere; pure.

A page is one HTML text; it needs no network and no script, and may load nothing.
"""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from twinscore.page.words import LONGEST, cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["card", "more", "page", "table", "text", "tiles"]


def page(
    *,
    title: str,
    heading: str,
    badge: str,
    summary: str,
    notice: str = "",
    tiles: str = "",
    sections: str = "",
    refresh_s: int = 0,
) -> str:
    """Return a whole page; every argument is HTML.

    Args:
        title: of the window.
        heading: first line, with `badge` beside it.
        summary: one or two sentences.
        notice: a paragraph of its own below them.
        tiles: the few figures that matter most, as `tiles` makes them.
        sections: cards.
        refresh_s: after how many seconds a browser asks for the page again; 0 never.
    """
    return _template().substitute(
        title=title, heading=heading, badge=badge, summary=summary, refused=notice, tiles=tiles, sections=sections,
        refresh=f'<meta http-equiv="refresh" content="{refresh_s}">\n' if refresh_s else "",
    )  # fmt: skip


def tiles(shown: Iterable[tuple[str, str, str]]) -> str:
    """Return figures side by side: name, value, and what stands below it."""
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd><dd>{beside}</dd></div>" for name, value, beside in shown)


def text(value: object, longest: int = LONGEST) -> str:
    """Return text of any origin as HTML shows it, cut when it is long."""
    return escape(cut(value, longest), quote=True)


def card(heading: str, body: str) -> str:
    """Return a card of HTML under a heading."""
    return f"<section><h2>{escape(heading)}</h2>{body}</section>"


def table(caption: str, heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; `heads` are names with the class of their column, the first cell heads its row."""
    head = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in heads)
    lines = []
    for cells in rows:
        first, *others = cells
        shown = "".join(f'<td class="{kind}">{cell}</td>' for cell, (_, kind) in zip(others, heads[1:], strict=True))
        lines.append(f'<tr><th scope="row">{first}</th>{shown}</tr>')
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def more(left: int, what: str) -> str:
    """Return the line that says how many are not shown; nothing when all are."""
    return f'<p class="quiet">and {left:,} more {what}</p>' if left > 0 else ""


@cache
def _template() -> Template:
    return Template(files("twinscore.page").joinpath("page.html").read_text(encoding="utf-8"))
