"""One step of a model's promotion: from what is remembered and what is seen, the next state; pure, total, repeatable.

Whoever takes steps may stop between any two: the state that was saved is all there is, and what is wanted of routing
and registry follows from it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from twinscore.rollout.advance import advanced, broken, stage_of, unproven
from twinscore.rollout.begin import requested, rested
from twinscore.rollout.notice import adopted, beside, noticed
from twinscore.rollout.obey import obeyed
from twinscore.rollout.renumbered import renumbered
from twinscore.rollout.turn import Stepped, blocked, in_force

if TYPE_CHECKING:
    from datetime import datetime

    from twinscore.rollout.policy import Policy
    from twinscore.rollout.seen import Seen
    from twinscore.rollout.state import ModelState, Request, Rollout

__all__ = ["Stepped", "step"]

_SILENT = "the registry does not answer; what is on its way goes on, new wishes wait"

_TIMES = ("since", "stage_at", "ready_at", "held_at")
_Dated = TypeVar("_Dated", "Request", "Rollout")


def step(state: ModelState, policy: Policy, seen: Seen, now: datetime) -> Stepped:
    """Return the next state and what is to be entered into the ledger in the same transaction.

    The rollout begins, ends or enters another stage at most once. A failure comes before a wish, the newest wish before
    going forward. The same arguments give the same result.

    Args:
        state: what was saved last.
        policy: the newest policy of the model; a rollout that runs keeps the one that it began with.
        seen: what is known now; verdicts and requests are of the rollout and stage in `state`.
        now: in UTC.
    """
    found = _looked(Stepped(_up_to(state, now)), seen)
    found = noticed(renumbered(adopted(found, seen), seen), seen, now)
    for command in seen.commands:
        found = obeyed(found, policy, command, now).answered(found)
    found = found if found.moved else broken(found, policy, seen)
    found = found if found.moved else requested(found, policy, seen, now)
    found = found if found.moved else advanced(found, policy, seen, now)
    return _explained(beside(found, policy, seen, now), policy, seen, now)


def _up_to(state: ModelState, now: datetime) -> ModelState:
    """Return the state with nothing later than now, so that after a clock was set back what is waited for begins anew.

    Otherwise all of it would stand still until the old time is reached.
    """

    def clamped(one: _Dated) -> _Dated:
        late: dict[str, Any] = {name: now for name in _TIMES if (getattr(one, name, None) or now) > now}
        return replace(one, **late) if late else one

    return replace(
        state,
        settling=None if state.settling is None else clamped(state.settling),
        asked={alias: clamped(one) for alias, one in state.asked.items()},
        rollout=None if state.rollout is None else clamped(state.rollout),
    )


def _looked(found: Stepped, seen: Seen) -> Stepped:
    """Keep the figures that the decision is made on."""
    rollout = found.state.rollout
    if rollout is None or rollout.status == "checking":
        return found
    changed = found.state.with_rollout(
        requests=seen.requests, verdicts=tuple([_finite(one.to_json()) for one in seen.verdicts])
    )
    return found.but(rollout=changed.rollout)


def _explained(found: Stepped, policy: Policy, seen: Seen, now: datetime) -> Stepped:
    """Say why things are as they are, and remember what the platform is about to write into the registry."""
    state = found.state
    if state.live not in state.serving_seen:
        found = found.but(serving_seen=(*state.serving_seen, state.live))
    waits = _SILENT if seen.aliases is None else ""
    if state.settling is not None and not waits:
        wish = state.settling
        looked = seen.beside.get(state.overtaking or "")
        why = f"it counts once it has rested for {policy.settle_s:g} s"
        if rested(wish, policy, seen, now) and looked is not None:
            why = f"version {wish.version} is being checked: {looked.waiting}"
        waits = f"{wish.reason or wish.by}; {why}"
    if state.rollout is not None:
        policy = in_force(state, policy)
        rollout = state.with_rollout(
            waits=_waits(state.rollout, policy, seen, now, state), next=_next(state.rollout, policy)
        ).rollout
        found = found.but(rollout=rollout)
    return found.but(waits=waits)


def _waits(rollout: Rollout, policy: Policy, seen: Seen, now: datetime, state: ModelState) -> str:
    why = blocked(state, policy, seen.holds, now, rollout)
    if rollout.status == "checking":
        looked = seen.candidate
        checking = looked.waiting if looked is not None and looked.version == rollout.version else ""
        return (why or "checked") if rollout.digest else f"being checked{': ' if checking else ''}{checking}"
    stage = stage_of(rollout, policy)
    if stage is None:
        return f"waits until every replica answers with version {rollout.version}"
    return why or unproven(rollout, stage, policy, seen, now)


def _next(rollout: Rollout, policy: Policy) -> str:
    if rollout.status == "checking":
        return "live" if rollout.skips or not policy.stages else policy.stages[0].title
    place = rollout.stage + 1
    return policy.stages[place].title if place < len(policy.stages) else "live for good"


def _finite(verdict: dict[str, object]) -> dict[str, object]:
    """Return a verdict that JSON can hold: a figure that is no number is none."""
    return {name: None if isinstance(value, float) and value - value != 0 else value for name, value in verdict.items()}
