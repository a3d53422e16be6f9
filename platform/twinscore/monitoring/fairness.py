"""Whether groups are decided alike: rates of each group, gaps and a ratio between them, with their intervals; pure.

Definitions are fairlearn's: `selection_rate_gap` is its demographic parity difference, `tpr_gap` its equal opportunity
difference, the larger of `tpr_gap` and `fpr_gap` its equalized odds difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinscore.monitoring.intervals import Spread, ratio_of, widest_gap, wilson

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.group_tally import GroupCounts, GroupTally

__all__ = ["RATES", "Rate", "fairness"]

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of some of a group's rows."""

    hits: Callable[[GroupCounts], int]
    rows: Callable[[GroupCounts], int]
    of: str
    """Which rows, for people."""
    labels: bool = True
    """Whether outcomes are needed."""


RATES: Mapping[str, Rate] = {
    "selection_rate": Rate(lambda one: one.selected, lambda one: one.rows, "rows", labels=False),
    "tpr": Rate(lambda one: one.tp, lambda one: one.tp + one.fn, "positive outcomes"),
    "fpr": Rate(lambda one: one.fp, lambda one: one.fp + one.tn, "negative outcomes"),
    "fnr": Rate(lambda one: one.fn, lambda one: one.tp + one.fn, "positive outcomes"),
    "precision": Rate(lambda one: one.tp, lambda one: one.tp + one.fp, "positive decisions with an outcome"),
}
"""Every rate that is compared between groups."""


def fairness(
    tally: GroupTally, figure: Callable[..., Figure], *, fewest: int = 100, mature: bool = True
) -> list[Figure]:
    """Return the rates of each group, and the widest gap of each rate between the groups of each column.

    Args:
        tally: counts of one window.
        figure: makes a figure of that window from what is given here, such as a `partial` of Figure.
        fewest: a group with fewer rows (labelled ones, where labels count) has no rate and is in no gap.
        mature: whether the outcomes of the window are expected to be known; if not, what needs them is not told.
    """
    found: list[Figure] = []
    for column, values in sorted(tally.columns.items()):
        for name, rate in RATES.items():
            if rate.labels and not mature:
                continue
            if rate.labels and not any(counts.labelled for counts in values.values()):
                continue
            found.extend(_of_column(column, values, name, rate, figure, fewest))
    return found


def _of_column(
    column: str, values: Mapping[str, GroupCounts], name: str, rate: Rate, figure: Callable[..., Figure], fewest: int
) -> list[Figure]:
    found, kept, small = [], [], []
    for value, counts in sorted(values.items()):
        size, rows, hits = counts.labelled if rate.labels else counts.rows, rate.rows(counts), rate.hits(counts)
        subject = f"{column}={value}"
        if size < fewest:
            small.append(value)
            what = "labelled rows" if rate.labels else "rows"
            found.append(figure(metric=name, subject=subject, value=None, rows=rows, note=f"{size} of {fewest} {what}"))
        elif not rows:
            found.append(figure(metric=name, subject=subject, value=None, rows=0, note=f"no {rate.of}"))
        else:
            low, high = wilson(hits, rows)
            found.append(figure(metric=name, subject=subject, value=hits / rows, low=low, high=high, rows=rows))
            kept.append((value, hits, rows))
    left = f"; left out as too small: {', '.join(small[:_SHOWN])}" + (" ..." if len(small) > _SHOWN else "")
    left = left if small else ""
    total = sum(rows for _, _, rows in kept)
    names = [value for value, _, _ in kept]
    hits_of, rows_of = [hits for _, hits, _ in kept], [rows for _, _, rows in kept]
    if len(kept) < 2:
        note = f"fewer than two groups are large enough{left}"
        found.append(figure(metric=f"{name}_gap", subject=column, value=None, rows=total, note=note))
        if name == "selection_rate":
            found.append(figure(metric=f"{name}_ratio", subject=column, value=None, rows=total, note=note))
        return found
    gap = widest_gap(hits_of, rows_of)
    note = f"{names[gap.most]} less {names[gap.least]}, of {len(kept)} groups{left}"
    found.append(_between(figure, f"{name}_gap", column, gap, total, note))
    if name == "selection_rate":
        ratio = ratio_of(hits_of, rows_of)
        note = f"{names[gap.least]} over {names[gap.most]}, of {len(kept)} groups{left}"
        if ratio is None:
            found.append(figure(metric=f"{name}_ratio", subject=column, value=None, rows=total, note="nobody selected"))
        else:
            found.append(_between(figure, f"{name}_ratio", column, ratio, total, note))
    return found


def _between(figure: Callable[..., Figure], metric: str, column: str, spread: Spread, rows: int, note: str) -> Figure:
    return figure(
        metric=metric, subject=column, value=spread.value, low=spread.low, high=spread.high, rows=rows, note=note
    )
