"""A share of the entities answered in the cheaper way: who answers which rows of a request, and them in order again.

A request that full service refuses is refused whatever the cheaper way would say of it, with full service's words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from twinscore.online.asked import Asked, Outcome, RowsRefusedError
from twinscore.online.cheaper import label
from twinscore.online.hybrid import from_batch, note_features
from twinscore.online.ladder import EVERY
from twinscore.rollout.assign import bucket_of, entity_id

if TYPE_CHECKING:
    from twinscore.cache.score_file import Cached
    from twinscore.online.answer import Prediction
    from twinscore.online.cheaper import Cheaper
    from twinscore.online.endpoint import Endpoint

__all__ = ["Degrading", "Part", "Served"]

_SALT = "degrade"
"""Divides the entities otherwise than any rollout does, and alike on every replica."""
_NOT_EXPLAINED = "degraded"


class Part(NamedTuple):
    """Rows of a request that were answered alike."""

    endpoint: Endpoint
    asked: Asked
    outcome: Outcome
    positions: Sequence[int]
    degraded: bool


class Served(NamedTuple):
    """A request of which the cheaper way answered some rows, or all."""

    endpoint: Endpoint
    """In whose name it is answered."""
    outcome: Outcome
    """All rows, in the order sent."""
    parts: Sequence[Part]


class Divided(NamedTuple):
    """Positions of the rows of a request that are answered in the cheaper way."""

    stored: Mapping[int, Cached]
    """From a batch run, each with what it made of the row."""
    cheap: Sequence[int]
    """By the cheaper version."""


class _Way(NamedTuple):
    endpoint: Endpoint
    positions: Sequence[int]
    score: Callable[[Asked], Outcome]
    degraded: bool


class Degrading:
    """The cheaper way for a share of the entities; a value that a gateway is given, and that never changes.

    Args:
        way: what answers.
        share: of the entities, in 1/10,000.
    """

    def __init__(self, way: Cheaper, share: int) -> None:
        self.way = way
        self.live = way.live
        self.label = way.label
        self.share = share

    def divide(self, asked: Asked) -> Divided | None:
        """Return which rows are answered in the cheaper way, or None when full service answers them all.

        An entity falls on the same side alone and in a batch, on every replica. Rows that the cache answers anyway stay
        with it, and so do all rows of a request of which one cannot be read.
        """
        if asked.faults:
            return None
        taken = self._taken(asked)
        if asked.table is not None:
            return None if self.way.cheap is None or not taken else Divided({}, taken)
        stored: dict[int, Cached] = {}
        cheap: list[int] = []
        for position in taken:
            row = asked.rows[position]
            if from_batch(row):
                continue
            found = self.way.stored(row)
            if found is not None:
                stored[position] = found
            elif self.way.cheap is not None:
                cheap.append(position)
        return Divided(stored, cheap) if stored or cheap else None

    def serve(
        self, endpoint: Endpoint, asked: Asked, full: Callable[..., Outcome], *, explaining: bool
    ) -> Served | None:
        """Answer a request, or return None when full service answers all of it.

        Args:
            endpoint: the live version; another one than this was made for is answered by full service.
            asked: the request.
            full: scores rows in full service; what it is told not to count is no evidence of the live version.
            explaining: whether a degraded row must say why it is not explained.

        Raises:
            RowsRefusedError: full service refuses the request.
        """
        divided = self.divide(asked) if endpoint is self.live else None
        if divided is None:
            return None
        parts = self._answer(asked, divided, full, explaining=explaining)
        return Served(*self._together(parts), parts)

    def _answer(self, asked: Asked, divided: Divided, full: Callable[..., Outcome], *, explaining: bool) -> list[Part]:
        """Return the parts of a request as they were answered: one when all rows went one way."""
        live, cheap = self.live, self.way.cheap
        rest = sorted(set(range(asked.n_rows)).difference(divided.stored, divided.cheap))
        ways: list[_Way] = [_Way(live, list(divided.stored), partial(self._score_stored, divided.stored), True)]
        if cheap is not None:
            ways.append(_Way(cheap, divided.cheap, cheap.score, True))
        ways = [way for way in (*ways, _Way(live, rest, full, False)) if way.positions]
        found = []
        counted = False
        try:
            for endpoint, positions, score, degraded in ways:
                counted = counted or not degraded
                some = _some(asked, positions)
                outcome = score(some)
                if outcome.faults and len(ways) > 1:
                    return [self._whole(asked, full, count=not counted)]
                if degraded:
                    outcome.arm, outcome.degraded = self.label, True
                    if explaining:
                        _explain_nothing(outcome)
                found.append(Part(endpoint, some, outcome, positions, degraded))
        except RowsRefusedError:
            if len(ways) == 1:
                raise
            return [self._whole(asked, full, count=not counted)]
        self.way.counted(sum([len(part.positions) for part in found if part.degraded]))
        return found

    def _together(self, parts: Sequence[Part]) -> tuple[Endpoint, Outcome]:
        if len(parts) == 1:
            return parts[0].endpoint, parts[0].outcome
        answers: dict[int, Prediction] = {}
        for endpoint, _, outcome, positions, degraded in parts:
            for position, prediction in zip(positions, endpoint.predictions(outcome), strict=True):
                prediction.row, prediction.version = position, endpoint.version
                prediction.arm = self.label if degraded else "live"
                answers[position] = prediction
        arm = self.label if all(part.degraded for part in parts) else "mixed"
        return self.live, Outcome([answers[place] for place in range(len(answers))], arm=arm, degraded=True)

    def _whole(self, asked: Asked, full: Callable[..., Outcome], *, count: bool) -> Part:
        """Answer all of a request in full service: places of faults must be those of the whole request."""
        return Part(self.live, asked, full(asked, count=count), range(asked.n_rows), degraded=False)

    def _taken(self, asked: Asked) -> Sequence[int]:
        """Return the positions of the rows whose entity is in the share."""
        if self.share >= EVERY:
            return range(asked.n_rows)
        names = self.way.key
        rows = asked.rows if asked.table is None else asked.table.select(list(names)).to_pylist()
        ids = [entity_id([row[name] for name in names]) for row in rows]
        return [position for position, entity in enumerate(ids) if bucket_of(entity, _SALT) < self.share]

    def _score_stored(self, stored: Mapping[int, Cached], asked: Asked) -> Outcome:
        """Answer rows from the batch run, once the contract has accepted them."""
        found = list(stored.values())

        def score_row(position: int, row: Mapping[str, Any], *, flagged: bool) -> Prediction:
            del flagged  # what was scored in batch was flagged there
            one = found[position]
            prediction = self.live.stored(position, row, one.values)
            prediction.run_id, prediction.age_s = one.run_id, round(one.age_s, 3)
            note_features(prediction, row)
            return label(prediction, self.live.version, "cache")

        return self.live.score_by(asked, score_row)


def _explain_nothing(outcome: Outcome) -> None:
    outcome.no_explanation = _NOT_EXPLAINED
    for prediction in outcome.predictions or ():
        prediction.explanation_reason = _NOT_EXPLAINED


def _some(asked: Asked, positions: Sequence[int]) -> Asked:
    """Return a request of some of the rows."""
    if len(positions) == asked.n_rows:
        return asked
    if asked.table is not None:
        return Asked((), at=asked.at, table=asked.table.take(list(positions)), partial=asked.partial)
    return Asked([asked.rows[position] for position in positions], at=asked.at, partial=asked.partial)
