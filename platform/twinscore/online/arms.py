"""Which rows of a request go to which version, and the answers put back in order; knows no Serve and no wire format.

An arm is decided row by row, by the entity of each, so an entity gets its arm alone and in a batch alike. Rows for a
challenger leave the process; when it fails, is late, or refuses a row that the live version accepts, the live version
answers them in the same request. A request that the live version refuses is refused, whatever a challenger says of it.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from twinscore.online.asked import Asked, Outcome, RowsRefusedError, Share
from twinscore.online.caller import Caller, ChallengerFailedError
from twinscore.online.hybrid import by_key_alone
from twinscore.online.mirrored import encode_mirrored
from twinscore.rollout.assign import arm_of, entity_id, place_of

if TYPE_CHECKING:
    from twinscore.online.answer import Prediction
    from twinscore.online.call import Call
    from twinscore.online.endpoint import Endpoint
    from twinscore.online.evidence_book import EvidenceBook
    from twinscore.online.shadow_feed import ShadowFeed
    from twinscore.rollout.routing import Challenger, Routing

__all__ = ["ARM_HEADER", "Arms", "Part"]

_log = structlog.get_logger("twinscore.online")

ARM_HEADER = b"x-arm"
"""Names an arm, where the routing allows it."""


class Part(NamedTuple):
    """Rows that one arm answers: their positions in the request; no challenger means the live version."""

    challenger: Challenger | None
    positions: list[int]


class Arms:
    """What a gateway does beside answering with its live version, by one routing.

    Args:
        routing: who answers whom.
        endpoint: the live version.
        callers: how each challenger is asked, by arm.
        shadows: who is told of what was answered.
        book: counts what the live version answers of the rows that are its own.
    """

    def __init__(
        self,
        routing: Routing,
        endpoint: Endpoint,
        callers: Mapping[str, Caller],
        shadows: Sequence[ShadowFeed] = (),
        book: EvidenceBook | None = None,
    ) -> None:
        self.routing = routing
        self.callers = callers
        self.shadows = tuple(shadows)
        self.endpoint = endpoint
        self._book = book
        self._entity = routing.entity or endpoint.bundle.contract.key
        self._salt = routing.salt
        self._challengers = {challenger.arm: challenger for challenger in routing.challengers}
        self._views = {challenger.arm: _view(endpoint, challenger) for challenger in routing.challengers}

    def split(self, asked: Asked, call: Call) -> list[Part] | None:
        """Return who answers which rows, or None when the live version answers them all.

        A request that is divided is a list of rows from then on, also when it came as a table.
        """
        if not self._challengers or asked.faults:  # with rows that cannot be read, the live version lists the faults
            return None
        named = self._named(call)
        if named is not None:
            challenger = self._challengers.get(named)
            parts = [] if challenger is None else [Part(challenger, list(range(asked.n_rows)))]
        else:
            parts = self._parts(asked)
        if not parts:
            return None
        if asked.table is not None:
            asked.rows, asked.table = asked.table.to_pylist(), None
        return parts

    async def score(self, asked: Asked, parts: Sequence[Part]) -> Outcome:
        """Score the parts beside each other and put their rows back in order.

        Raises:
            RowsRefusedError: the live version refuses the request.
        """
        asking = [
            (part, asyncio.ensure_future(self._ask(part.challenger, asked, part.positions)))
            for part in parts
            if part.challenger is not None
        ]
        try:
            return await self._together(asked, parts, asking)
        except _Refused:
            return await self._live(asked)
        finally:
            for _, task in asking:
                task.add_done_callback(_forget)
                task.cancel()

    def view(self, outcome: Outcome) -> Endpoint:
        """Return the endpoint in whose name an outcome is written: the challenger's when it answered every row."""
        return self._views.get(outcome.arm, self.endpoint)

    def explain_nothing(self, outcome: Outcome) -> None:
        """Say that rows are not explained because another version than the explained one had a part."""
        for prediction in outcome.predictions or ():
            prediction.explanation_reason = "challenger"

    def facts(self, share: Share) -> dict[str, Any]:
        """Return what an audit record says of who answered the rows of a share."""
        found: dict[str, Any] = {"arm": share.arm, "assigned": share.assigned, "reason": share.reason}
        challenger = self._challengers.get(share.arm)
        if challenger is not None:
            role = "canary" if challenger.mode == "canary" else "challenger"
            found |= {"role": role, "version": challenger.version, "bundle_digest": challenger.digest}
        return found

    def mirror(self, asked: Asked, outcome: Outcome, call: Call) -> None:
        """Hand an answered request to the shadows; returns at once."""
        if not self.shadows:
            return
        try:
            message, n_rows = encode_mirrored(self.endpoint, asked, outcome, call.request_id)
        except Exception as error:  # noqa: BLE001 - the answer leaves, whatever a shadow misses
            _log.warning("not_mirrored", request_id=call.request_id, error=f"{type(error).__name__}: {error}"[:200])
            message, n_rows = b"", asked.n_rows
        for shadow in self.shadows:
            shadow.offer(message, n_rows, asked.n_rows - n_rows)

    def evidence(self) -> list[dict[str, Any]]:
        """Return what the processes of the shadows have counted, as far as they have told."""
        return [found for shadow in self.shadows if (found := shadow.evidence())]

    def _parts(self, asked: Asked) -> list[Part]:
        rows = asked.rows if asked.table is None else asked.table.select(list(self._entity)).to_pylist()
        parts: dict[str, Part] = {}
        live: list[int] = []
        groups: list[int] = []
        asked.groups = groups
        for position, row in enumerate(rows):
            entity = entity_id([row[name] for name in self._entity])
            bucket, group = place_of(entity, self._salt)
            groups.append(group)
            found = arm_of(bucket, self.routing)
            if found is None or by_key_alone(row):
                live.append(position)
            else:
                parts.setdefault(found.arm, Part(found, [])).positions.append(position)
        if not parts:
            return []
        return [*parts.values(), Part(None, live)] if live else list(parts.values())

    async def _together(
        self, asked: Asked, parts: Sequence[Part], asking: Sequence[tuple[Part, asyncio.Task[list[Prediction]]]]
    ) -> Outcome:
        answers: list[Prediction | None] = [None] * asked.n_rows
        shares: list[Share] = []

        def place(found: Sequence[Prediction], share: Share, version: str) -> None:
            shares.append(share)
            positions, arm = share.positions, share.arm
            for position, prediction in zip(positions, found, strict=True):
                prediction.row, prediction.arm, prediction.version = position, arm, version
                answers[position] = prediction

        async def place_live(positions: Sequence[int], assigned: str = "live", reason: str = "") -> None:
            found = await self._live_rows(asked, positions, self._book if assigned == "live" else None)
            place(found, Share(positions, "live", assigned, reason), self.endpoint.version)

        for part in parts:
            if part.challenger is None:
                await place_live(part.positions)
        for part, task in asking:
            assert part.challenger is not None
            arm = part.challenger.arm
            try:
                place(await task, Share(part.positions, arm, arm), part.challenger.version)
            except ChallengerFailedError as failed:
                # Raises when the live version refuses too: then it was no failure of the arm.
                await place_live(part.positions, arm, failed.reason)
                if failed.reason == "refused":
                    self.callers[arm].failed("refused", len(part.positions))
        return Outcome(
            [prediction for prediction in answers if prediction is not None],
            arm=_one({share.arm for share in shares}),
            shares=shares,
        )

    async def _ask(self, challenger: Challenger, asked: Asked, positions: Sequence[int]) -> list[Prediction]:
        some = _some(asked, positions)
        return await self.callers[challenger.arm].score(list(some.rows), len(positions), some.groups)

    async def _live_rows(self, asked: Asked, positions: Sequence[int], book: EvidenceBook | None) -> list[Prediction]:
        try:
            outcome = await self._live(_some(asked, positions), book)
        except RowsRefusedError:
            raise _Refused from None  # places of faults must be those of the whole request
        if outcome.faults:
            raise _Refused
        return self.endpoint.predictions(outcome)

    async def _live(self, asked: Asked, book: EvidenceBook | None = None) -> Outcome:
        score = self.endpoint.score if book is None else partial(book.score, self.endpoint)
        if asked.n_rows <= self.endpoint.row_wise_max:
            return score(asked)
        return await asyncio.to_thread(score, asked)

    def _named(self, call: Call) -> str | None:
        """Return the arm that a request names, when it may name one and there is such an arm."""
        if not self.routing.header_override:
            return None
        named = call.header(ARM_HEADER)
        return named if named == "live" or named in self._challengers else None


class _Refused(Exception):
    """A row was refused; the live version answers the whole request."""


def _forget(task: asyncio.Task[list[Prediction]]) -> None:
    """Take the error of an answer that nobody waits for any more."""
    if not task.cancelled():
        task.exception()


def _some(asked: Asked, positions: Sequence[int]) -> Asked:
    """Return a request of some of the rows."""
    if len(positions) == asked.n_rows:
        return asked
    rows = [asked.rows[position] for position in positions]
    groups = None if asked.groups is None else [asked.groups[position] for position in positions]
    return Asked(rows, at=asked.at, partial=asked.partial, groups=groups)


def _one(arms: set[str]) -> str:
    return next(iter(arms)) if len(arms) == 1 else "mixed"


def _view(endpoint: Endpoint, challenger: Challenger) -> Endpoint:
    """Return the endpoint under the challenger's version: what a wire format needs to write its answer."""
    seen = copy.copy(endpoint)
    seen.version = challenger.version
    return seen
