"""How good answers were class by class, from decisions and outcomes alone, each with its 95 % interval; pure.

Precision and recall of each class are shares, with Wilson's interval. The balanced accuracy is the mean of the recalls
(Brodersen et al., 2010, "The balanced accuracy and its posterior distribution"); its interval puts theirs together
(Zou and Donner, 2008, "Construction of confidence limits about effect measures", eq. 3, for a mean of independent
parts). Macro F1 is the mean of the classes' F1, of those that were decided for or happened, as scikit-learn has it.

The calibration of decisions is told class by class decided for and bin by bin of P(decision): within each, the share
that was right is held against the mean probability (Gupta and Ramdas, 2022, "Top-label calibration and
multiclass-to-binary reductions", definition 1). Taken over all classes together, one that is too sure may hide behind
one that is not sure enough.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from twinscore.monitoring.calibration_error import calibration_error
from twinscore.monitoring.class_tally import MOST_CLASSES
from twinscore.monitoring.intervals import wilson

if TYPE_CHECKING:
    from collections.abc import Callable

    from twinscore.monitoring.class_tally import ClassTally
    from twinscore.monitoring.figure import Figure

__all__ = ["class_performance"]

_NO_OUTCOME = "no outcome is known"


def class_performance(
    tally: ClassTally, figure: Callable[..., Figure], *, classes: int, mature: bool = True
) -> list[Figure]:
    """Return how good the answers of one window were class by class; nothing of a window that is too young.

    Args:
        tally: counts of the window.
        figure: makes a figure of that window from what is given here, such as a `partial` of Figure.
        classes: how many classes the version has.
        mature: whether the window's outcomes are expected to be known.
    """
    if not mature:
        return []
    found = [_balanced(tally, figure), _macro_f1(tally, figure)]
    if classes > 2:
        found.append(_calibration(tally, figure, classes))
    for name in _most_frequent(tally):
        one = tally.classes[name]
        found.append(_share(figure, "class_precision", name, one.right, one.decided, "never decided"))
        found.append(_share(figure, "class_recall", name, one.right, one.outcomes, "never the outcome"))
    return found


def _most_frequent(tally: ClassTally) -> list[str]:
    """Return the classes in order of their names, those with the most outcomes where they are too many."""
    by_outcomes = sorted(tally.classes, key=lambda name: (-tally.classes[name].outcomes, name))
    return sorted(by_outcomes[:MOST_CLASSES])


def _balanced(tally: ClassTally, figure: Callable[..., Figure]) -> Figure:
    known = [one for one in tally.classes.values() if one.outcomes]
    rows = sum(one.outcomes for one in known)
    if not known:
        return figure(metric="balanced_accuracy", value=None, note=_NO_OUTCOME)
    shares = [one.right / one.outcomes for one in known]
    ends = [wilson(one.right, one.outcomes) for one in known]
    value = math.fsum(shares) / len(known)
    below = math.sqrt(math.fsum((share - low) ** 2 for share, (low, _) in zip(shares, ends, strict=True))) / len(known)
    above = math.sqrt(math.fsum((high - share) ** 2 for share, (_, high) in zip(shares, ends, strict=True)))
    low, high = max(0.0, value - below), min(1.0, value + above / len(known))
    note = f"{len(known)} classes happened"
    return figure(metric="balanced_accuracy", value=value, low=low, high=high, rows=rows, note=note)


def _macro_f1(tally: ClassTally, figure: Callable[..., Figure]) -> Figure:
    known = list(tally.classes.values())
    if not known:
        return figure(metric="macro_f1", value=None, note=_NO_OUTCOME)
    value = math.fsum(2.0 * one.right / (one.decided + one.outcomes) for one in known) / len(known)
    return figure(metric="macro_f1", value=value, rows=sum(one.outcomes for one in known))


def _calibration(tally: ClassTally, figure: Callable[..., Figure], classes: int) -> Figure:
    metric = "decision_calibration_error"
    if classes > MOST_CLASSES:
        return figure(metric=metric, value=None, note=f"told of up to {MOST_CLASSES} classes, not of {classes}")
    bins = [one for counts in tally.classes.values() for one in counts.bins.values()]
    return calibration_error(bins, figure, metric=metric)


def _share(figure: Callable[..., Figure], metric: str, name: str, hits: int, rows: int, nothing: str) -> Figure:
    if not rows:
        return figure(metric=metric, subject=name, value=None, note=nothing)
    low, high = wilson(hits, rows)
    return figure(metric=metric, subject=name, value=hits / rows, low=low, high=high, rows=rows)
