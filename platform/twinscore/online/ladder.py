"""For which share of its entities a replica answers in the cheaper way: a pure decision, once a second.

    normal -> scaling -> degraded -> recovering -> normal

A replica that is over its bound waits for company first. Where there can be none, or it did not help, a share of the
entities is answered in the cheaper way, and a larger one while that is not enough. The way back is decided by what full
service would cost: the replica knows what an answer cost when full service became too slow, and how busy it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

__all__ = ["CALM_S", "EVERY", "SETTLE_S", "LadderRules", "LadderState", "Level", "Seen", "is_over", "step"]

Level = Literal["normal", "scaling", "degraded", "recovering"]

EVERY = 10_000
"""The share of all entities."""
SETTLE_S = 4.0
"""After a change, until the figures are those of the new share."""
CALM_S = 600.0
"""A step down that is taken back within this time was wrong: the next one waits twice as long, and at most this long.
After this time without strain one step down is tried even if it should not be enough, because what an answer costs may
have changed."""

_STEPS = (2_500, 5_000, EVERY)
_LEAST_BUSY = 0.3
"""A replica less busy than this is not slow because of its load, and cheaper answers would not help."""
_LEAST_ANSWERED_S = 5.0
"""Fewer answers per second have no 99th percentile."""
_MOST_DOUBLINGS = 10


class Seen(NamedTuple):
    """The last seconds of one replica."""

    answered_s: float = 0.0
    p99_ms: float = 0.0
    busy: float = 0.0
    shed_s: float = 0.0
    cheap_s: float = 0.0
    """Of the answers per second, those of the cheaper way."""
    crowded: bool = False
    """Whether as many requests are inside as the edge may send, so that it holds others back."""
    at_most: bool = True
    """Whether there are as many replicas as there may be."""
    ordered: bool = False
    """Whether somebody asks for the cheaper way, whatever the load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRules:
    """When to leave full service, and when to come back."""

    p99_ms: float
    after_s: float = 5.0
    """How long a replica is over its bound before it answers in the cheaper way, when there can be no more replicas."""
    scale_s: float = 60.0
    """The same while there can: how long more replicas may take to help."""
    leave_below: float = 0.8
    """Full service is taken up again below this share of the load at which it became too slow."""
    leave_s: float = 60.0
    """How long the load must have been that low."""
    crowded: bool = True
    """Whether a replica counts as over while the edge holds requests back."""
    at_once: bool = False
    """Whether every entity is answered in the cheaper way at once, instead of only as many as needed."""

    @property
    def steps(self) -> tuple[int, ...]:
        """The shares that there are, beside none."""
        return (EVERY,) if self.at_once else _STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderState:
    """Where a replica is on the ladder; times are of one monotonic clock, in seconds."""

    level: Level = "normal"
    share: int = 0
    """Of the entities, in 1/10,000."""
    changes: int = 0
    """Of the share."""
    over_since: float | None = None
    most_since: float | None = None
    """Since when there can be no more replicas."""
    fine_since: tuple[tuple[int, float], ...] = ()
    """The smaller shares that would do, each with since when."""
    changed_at: float | None = None
    lowered_at: float | None = None
    strained_at: float | None = None
    """When it was over last."""
    doublings: int = 0
    """How often the time before a step down was doubled."""
    each: float | None = None
    """What a full answer costs: time at work per answer, in seconds."""
    broke_at: float = 1.0
    """How busy the replica was when it became too slow; of several times lately, the least."""


def step(state: LadderState, rules: LadderRules, seen: Seen, now_s: float) -> LadderState:
    """Return where the replica is after these seconds; at most one change of the share."""
    over = is_over(rules, seen)
    state = replace(
        _learned(state, seen),
        over_since=(now_s if state.over_since is None else state.over_since) if over else None,
        most_since=(now_s if state.most_since is None else state.most_since) if seen.at_most else None,
        strained_at=now_s if over else state.strained_at,
    )
    if not state.share:
        return _from_full(state, rules, seen, now_s)
    return _from_cheaper(state, rules, seen, now_s)


def is_over(rules: LadderRules, seen: Seen) -> bool:
    """Tell whether a replica is over its bound because of its load."""
    if seen.shed_s > 0:
        return True
    if seen.answered_s < _LEAST_ANSWERED_S or seen.busy < _LEAST_BUSY:
        return False
    return seen.p99_ms > rules.p99_ms or (rules.crowded and seen.crowded)


def _learned(state: LadderState, seen: Seen) -> LadderState:
    """Take over what an answer costs in full service."""
    if state.share or seen.cheap_s > 0 or seen.answered_s < _LEAST_ANSWERED_S or seen.busy <= 0:
        return state
    return replace(state, each=seen.busy / seen.answered_s)


def _from_full(state: LadderState, rules: LadderRules, seen: Seen, now_s: float) -> LadderState:
    if state.doublings and now_s - (state.changed_at or 0.0) >= CALM_S:
        state = replace(state, doublings=0)
    over_since, most_since = state.over_since, state.most_since
    if seen.ordered:
        return _raised(state, rules, seen, now_s)
    if over_since is None:
        return replace(state, level="normal")
    helpless = most_since is not None and now_s - max(over_since, most_since) >= rules.after_s
    if helpless or now_s - over_since >= max(rules.scale_s, rules.after_s):
        return _raised(state, rules, seen, now_s)
    return replace(state, level="scaling")


def _from_cheaper(state: LadderState, rules: LadderRules, seen: Seen, now_s: float) -> LadderState:
    changed_at, over_since = state.changed_at, state.over_since
    assert changed_at is not None
    if over_since is not None:
        state = replace(state, level="degraded", fine_since=())
        waited = now_s - max(over_since, changed_at) >= SETTLE_S
        return _raised(state, rules, seen, now_s) if waited and state.share < rules.steps[-1] else state
    if now_s - changed_at < SETTLE_S:
        return replace(state, level="degraded")
    enough = _enough(state, rules, seen)
    if seen.ordered:
        enough = max(enough, rules.steps[0])
    below = [share for share in (0, *rules.steps) if share < state.share]
    known = dict(state.fine_since)
    fine = tuple([(share, known.get(share, now_s)) for share in below if share >= enough])
    if not fine:
        return _tried(replace(state, level="degraded", fine_since=()), rules, seen, now_s)
    state = replace(state, level="recovering", fine_since=fine)
    wait_s = min(rules.leave_s * 2**state.doublings, max(rules.leave_s, CALM_S))
    long = [share for share, since_s in fine if now_s - since_s >= wait_s]
    return _lowered(state, min(long), now_s) if long else state


def _tried(state: LadderState, rules: LadderRules, seen: Seen, now_s: float) -> LadderState:
    """Take one step down when there was no strain for so long that what is known may be wrong."""
    calm_since = max(state.changed_at or 0.0, state.strained_at or 0.0)
    if seen.ordered or now_s - calm_since < CALM_S * 2 ** min(state.doublings, 2):
        return state
    return _lowered(state, max((one for one in rules.steps if one < state.share), default=0), now_s)


def _enough(state: LadderState, rules: LadderRules, seen: Seen) -> int:
    """Return the smallest share with which the replica would be well below where full service became too slow."""
    if state.each is None:
        return 0
    cheap = state.each
    if seen.cheap_s > 0:
        full_s = max(seen.answered_s - seen.cheap_s, 0.0)
        cheap = min(max((seen.busy - full_s * state.each) / seen.cheap_s, 0.0), state.each)
    asked_s = seen.answered_s + seen.shed_s
    for share in (0, *rules.steps):
        part = share / EVERY
        if asked_s * ((1 - part) * state.each + part * cheap) < rules.leave_below * state.broke_at:
            return share
    return rules.steps[-1]


def _raised(state: LadderState, rules: LadderRules, seen: Seen, now_s: float) -> LadderState:
    again = state.share > 0 or (state.lowered_at is not None and now_s - state.lowered_at < CALM_S)
    broke_at = state.broke_at
    if state.over_since is not None and seen.busy > 0:
        broke_at = min(broke_at, seen.busy) if again else seen.busy
    wrong = state.lowered_at is not None and now_s - state.lowered_at < CALM_S
    return replace(
        state,
        level="degraded",
        share=next(one for one in rules.steps if one > state.share),
        changes=state.changes + 1,
        changed_at=now_s,
        fine_since=(),
        broke_at=broke_at,
        doublings=min(state.doublings + wrong, _MOST_DOUBLINGS),
    )


def _lowered(state: LadderState, share: int, now_s: float) -> LadderState:
    return replace(
        state,
        level="degraded" if share else "normal",
        share=share,
        changes=state.changes + 1,
        changed_at=now_s,
        lowered_at=now_s,
        fine_since=tuple([one for one in state.fine_since if one[0] < share]),
    )
