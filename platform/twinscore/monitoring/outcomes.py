"""What outcomes said of a version's answers: counts and exact sums, which merge to the same bits in any order; pure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from twinscore.contract.moments import Moments
from twinscore.errors import SchemaMismatch
from twinscore.monitoring.classes import decided_class, outcome_class, positive_place
from twinscore.monitoring.exact import moments_of
from twinscore.monitoring.score_grid import ScoreGrid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from twinscore.monitoring.block import Block
    from twinscore.monitoring.classes import Scored

__all__ = ["LEAST_PROBABILITY", "Kind", "OutcomeTally", "ScoreBin", "binned", "kind_of"]

Kind = Literal["binary", "multiclass", "regression"]
LEAST_PROBABILITY = 1e-15
"""No probability is taken to be smaller in a logarithm, as `scoring.metrics` does."""
_NONE = Moments(0, 0, 0)


@dataclass(frozen=True, slots=True)
class ScoreBin:
    """Labelled rows whose score is in one bin of the reference profile."""

    hits: int = 0
    """Of a class: rows of the positive class, or with more than two classes rows that were decided right."""
    amount: Moments = _NONE
    """Scores of a class; absolute errors of a number."""
    squared: Moments = _NONE
    """Squared errors of a number."""

    def merge(self, other: ScoreBin) -> ScoreBin:
        """Return the bin of both parts."""
        return ScoreBin(self.hits + other.hits, self.amount.merge(other.amount), self.squared.merge(other.squared))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeTally:
    """Labelled rows of one version.

    Of two classes the score is P(positive), so everything can be told. Of more it is P(decision): that says how often
    decisions are right and how well the probability knows whether they are, as a probability of being right, but
    nothing that needs the probabilities of the other classes.
    """

    kind: Kind
    edges: tuple[float, ...]
    """Inner edges of the bins, ascending; a bin is `(edge, next edge]`."""
    rows: int = 0
    """Scored rows, labelled or not."""
    labelled: int = 0
    bounded: int = 0
    """Labelled rows that have an interval or a prediction set."""
    covered: int = 0
    """Of them, those whose outcome is inside."""
    right: int = 0
    wrong: int = 0
    """Decisions; of numbers there are none."""
    grid: ScoreGrid
    """Scores of rows that are no hit (kind 0) and that are one (kind 1), see ScoreBin; nothing of numbers."""
    log_loss: Moments = _NONE
    """Of classes, each row's logarithmic loss: that of the outcome, or of being right."""
    brier: Moments = _NONE
    """Of classes, each row's squared error of the probability: of the outcome, or of being right."""
    outcome: Moments = _NONE
    """Outcomes that are numbers."""
    bins: tuple[ScoreBin, ...]

    @classmethod
    def of(cls, block: Block, plan: Scored) -> Self:
        """Count a block."""
        kind = kind_of(plan)
        known = np.zeros(block.rows, bool) if block.label is None else ~np.isnan(block.label)
        if kind != "regression":
            known &= outcome_class(block, plan) >= 0
        inside = np.full(block.rows, -1) if block.covered is None else block.covered
        made: dict[str, Any] = {
            "kind": kind,
            "edges": tuple(plan.score_edges),
            "rows": block.rows,
            "labelled": int(known.sum()),
            "bounded": int((known & (inside >= 0)).sum()),
            "covered": int((known & (inside > 0)).sum()),
        }
        known &= ~np.isnan(block.score)
        add = _numbers if kind == "regression" else _classes
        return cls(**made, **add(block, plan, known))

    @property
    def absolute(self) -> Moments:
        """Absolute errors of numbers."""
        return _all([one.amount for one in self.bins]) if self.kind == "regression" else _NONE

    @property
    def squared(self) -> Moments:
        """Squared errors of numbers."""
        return _all([one.squared for one in self.bins])

    def loss(self) -> tuple[int, float, float]:
        """Return number, sum and sum of squares of the loss of one answer, as the gate `loss` of a promotion asks for.

        The loss is logarithmic for two classes, 0 or 1 for more, the absolute error for numbers.
        """
        if self.kind == "multiclass":
            return self.right + self.wrong, float(self.wrong), float(self.wrong)
        values = self.log_loss if self.kind == "binary" else self.absolute
        if values.n < 2:
            return values.n, values.sum, values.sum**2
        squares = values.deviation**2 * (values.n - 1) + values.n * values.mean**2
        return values.n, values.sum, squares

    def merge(self, other: OutcomeTally) -> OutcomeTally:
        """Return the tally of the rows of both.

        Raises:
            SchemaMismatch: they are of other tasks or bins.
        """
        if (self.kind, self.edges) != (other.kind, other.edges):
            message = (
                f"Outcomes of a {self.kind} model in {len(self.bins)} bins cannot be added to those of a {other.kind}"
                f" model in {len(other.bins)}: they are of different versions."
            )
            raise SchemaMismatch(message, mine=self.kind, other=other.kind)
        added: dict[str, Any] = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        joined: dict[str, Any] = {name: getattr(self, name).merge(getattr(other, name)) for name in (*_MOMENTS, "grid")}
        bins = tuple([mine.merge(its) for mine, its in zip(self.bins, other.bins, strict=True)])
        return OutcomeTally(kind=self.kind, edges=self.edges, bins=bins, **added, **joined)

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "kind": self.kind,
            "edges": list(self.edges),
            **{name: getattr(self, name) for name in _COUNTS},
            **{name: getattr(self, name).to_json() for name in (*_MOMENTS, "grid")},
            "bins": [[one.hits, one.amount.to_json(), one.squared.to_json()] for one in self.bins],
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `to_json` was made from.

        Raises:
            SchemaMismatch: it is something else, or of another release.
        """
        try:
            counts: dict[str, Any] = {name: int(plain[name]) for name in _COUNTS}
            counts |= {name: Moments.from_json(plain[name]) for name in _MOMENTS}
            return cls(
                kind=plain["kind"],
                edges=tuple(plain["edges"]),
                grid=ScoreGrid.from_json(plain["grid"]),
                bins=tuple(
                    [
                        ScoreBin(hits, Moments.from_json(amount), Moments.from_json(squared))
                        for hits, amount, squared in plain["bins"]
                    ]
                ),
                **counts,
            )
        except (KeyError, TypeError, ValueError) as error:
            message = f"These are not counts of outcomes: {type(error).__name__} {error}."
            raise SchemaMismatch(message) from error


def kind_of(plan: Scored) -> Kind:
    """Return what kind of answers a version gives."""
    if plan.task == "regression":
        return "regression"
    return "binary" if positive_place(plan) is not None else "multiclass"


_COUNTS = ("rows", "labelled", "bounded", "covered", "right", "wrong")
_MOMENTS = ("log_loss", "brier", "outcome")
assert {item.name for item in fields(OutcomeTally)} == {"kind", "edges", "grid", "bins", *_COUNTS, *_MOMENTS}


def _classes(block: Block, plan: Scored, known: NDArray[np.bool_]) -> dict[str, Any]:
    positive, decisions = positive_place(plan), decided_class(block, plan)
    if positive is None:
        known = known & (decisions >= 0)  # without a decision the score is a probability of nothing
    score = block.score[known]
    outcome, decided = outcome_class(block, plan)[known], decisions[known]
    right = decided == outcome
    hit = right if positive is None else outcome == positive
    true = np.where(hit, score, 1.0 - score)
    return {
        "right": int(right.sum()),
        "wrong": int((~right & (decided >= 0)).sum()),
        "grid": ScoreGrid.of(score, hit),
        "bins": binned(score, plan.score_edges, score, hits=hit),
        "log_loss": moments_of(-np.log(np.clip(true, LEAST_PROBABILITY, 1.0))),
        "brier": moments_of(np.square(score - hit)),
    }


def _numbers(block: Block, plan: Scored, known: NDArray[np.bool_]) -> dict[str, Any]:
    assert block.label is not None or not known.any()
    score = block.score[known]
    outcome = np.empty(0) if block.label is None else block.label[known]
    error = np.abs(score - outcome)
    return {
        "grid": ScoreGrid.empty(),
        "outcome": moments_of(outcome),
        "bins": binned(score, plan.score_edges, error, squared=np.square(error)),
    }


def binned(
    score: NDArray[np.float64],
    edges: tuple[float, ...],
    amount: NDArray[np.float64],
    *,
    hits: NDArray[np.bool_] | None = None,
    squared: NDArray[np.float64] | None = None,
) -> tuple[ScoreBin, ...]:
    """Return rows by the bin of their score.

    Args:
        score: (n_rows,) without NaN.
        edges: inner ones, ascending; a bin is `(edge, next edge]`.
        amount: what is added up of each row, (n_rows,).
        hits: rows that count as hits, (n_rows,).
        squared: (n_rows,)
    """
    place = np.searchsorted(np.asarray(edges), score, side="left")
    found = []
    for number in range(len(edges) + 1):
        rows = place == number
        found.append(
            ScoreBin(
                hits=0 if hits is None else int(hits[rows].sum()),
                amount=moments_of(amount[rows]),
                squared=_NONE if squared is None else moments_of(squared[rows]),
            )
        )
    return tuple(found)


def _all(parts: list[Moments]) -> Moments:
    found = _NONE
    for part in parts:
        found = found.merge(part)
    return found
