"""What estimates start from: the outcomes of past windows, or the bundle where there are too few; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from twinscore.monitoring.estimate import Correction
from twinscore.monitoring.nanny import Nanny
from twinscore.monitoring.outcomes import kind_of

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle
    from twinscore.monitoring.classes import Scored
    from twinscore.monitoring.outcomes import OutcomeTally

__all__ = ["ENOUGH_PAST", "FEWEST_PAST", "Learnt", "enough", "learnt"]

FEWEST_PAST = 1_000
"""Past outcomes from which they are better than what the bundle says; a month-old truth beats a year-old one."""

ENOUGH_PAST = 5_000
"""Past outcomes that are enough: with more the answer hardly moves, and only gets older."""
_ENOUGH_PER_CLASS = 200
"""Of those that were a hit and of those that were not; a correction needs half as many."""

_AS_IS = Correction()


@dataclass(frozen=True, slots=True)
class Learnt:
    """How scores are corrected, or how large errors are expected to be."""

    correction: Correction = _AS_IS
    """Of classes."""
    nanny: Nanny | None = None
    """Of numbers; None where nothing is known of errors."""


def enough(past: OutcomeTally) -> bool:
    """Return whether older outcomes need not be added: there are ENOUGH_PAST, of classes also of the rarer kind."""
    kinds = past.grid.counts.sum(axis=1)
    return past.labelled >= ENOUGH_PAST and (past.kind == "regression" or int(kinds.min()) >= _ENOUGH_PER_CLASS)


def learnt(plan: Scored, bundle: Bundle, past: OutcomeTally | None = None) -> Learnt:
    """Return what the estimates of a version's windows start from.

    Args:
        plan: what is counted of the version.
        bundle: the version.
        past: outcomes of its windows before the one to be estimated, see `window_past`; with fewer than FEWEST_PAST of
            them the bundle speaks. For more than two classes it says nothing, and scores are taken as they are.
    """
    enough = past is not None and past.labelled >= FEWEST_PAST
    if kind_of(plan) == "regression":
        nanny = Nanny.learnt(past) if enough and past is not None else None
        return Learnt(nanny=nanny or _nanny_of(plan, bundle))
    correction = Correction.fitted(past) if enough and past is not None else _AS_IS
    return Learnt(correction if correction.rows else Correction.of_reference(plan, bundle.profile))


def _nanny_of(plan: Scored, bundle: Bundle) -> Nanny | None:
    score, metrics = bundle.profile["score"], bundle.card.metrics
    if score["min"] is None or list(plan.score_edges) != list(score["edges"]):
        return None
    ends = np.array([score["min"], *score["edges"], score["max"]], np.float64)
    lower, upper = bundle.calibration.intervals((ends[1:] + ends[:-1]) / 2.0)
    return Nanny.of_reference(
        plan.score_edges,
        score["counts"],
        (upper - lower) / 2.0,
        mae=float(metrics.get("mae", math.nan)),
        rmse=float(metrics.get("rmse", math.nan)),
        rows=int(metrics.get("n", 0)),
    )
