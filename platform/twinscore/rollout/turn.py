"""One step of a model's promotion while it is taken: the state so far, what the ledger shall say, how rollouts end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from twinscore.rollout.calendar import frozen_by, thaws_at
from twinscore.rollout.hold import covering
from twinscore.rollout.ledger import Draft
from twinscore.rollout.policy import Policy
from twinscore.rollout.state import PutBack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from twinscore.rollout.hold import Hold
    from twinscore.rollout.state import ModelState, Request, Rollout

__all__ = [
    "BY_DEADLINE",
    "CHAMPION",
    "PLATFORM",
    "Stepped",
    "at",
    "blocked",
    "champion_back",
    "completed",
    "ended",
    "going_back",
    "in_force",
    "kept",
]

CHAMPION = "alias champion"
"""Who asked, where the registry does not say who moved the alias."""
PLATFORM = "twinscore"
BY_DEADLINE = "the deadline"
_RECENT = 10
_KEPT = 50


@dataclass(frozen=True, slots=True)
class Stepped:
    """The state after a step, and what is to be entered into the ledger with it."""

    state: ModelState
    drafts: tuple[Draft, ...] = ()
    moved: bool = False
    """Whether the rollout went into another stage, began or ended; it does so at most once in a step."""
    answers: tuple[str, ...] = ()
    """What became of each command of the look, in their order: `taken`, or why it was not done."""

    def but(self, **changes: Any) -> Stepped:
        """Return the step with changes to its state."""
        return replace(self, state=replace(self.state, **changes))

    def noted(self, kind: str, **said: Any) -> Stepped:
        """Return the step with one more draft for the ledger."""
        rollout = self.state.rollout
        known = {} if rollout is None else {"rollout_id": rollout.id, "policy_digest": rollout.policy_digest}
        draft = Draft(**{"model": self.state.model, "kind": kind, "decided_by": PLATFORM, **known, **said})
        return replace(self, drafts=(*self.drafts, draft))

    def answered(self, before: Stepped) -> Stepped:
        """Return the step, taken from `before` by a command, with the answer to it; the ledger has the same words."""
        said = [draft.reason for draft in self.drafts[len(before.drafts) :] if draft.kind == "command_refused"]
        return replace(self, answers=(*self.answers, *(said or ["taken"])))

    def over(self) -> Stepped:
        """Return the step as one in which nothing more may happen to the rollout."""
        return replace(self, moved=True)


def in_force(state: ModelState, newest: Policy) -> Policy:
    """Return the policy that counts: that of the rollout that runs, else the newest."""
    if state.rollout is None or state.rollout.policy_digest == newest.digest:
        return newest
    return Policy.from_json(state.rollout.policy)


def blocked(
    state: ModelState, policy: Policy, holds: Sequence[Hold], now: datetime, request: Request | Rollout | None
) -> str:
    """Return why nothing may go forward now, or nothing.

    Going back is never stopped; `immediate` is stopped by holds and pauses, and not by the calendar.
    """
    if request is not None and (request.kind == "rollback" or going_back(state, request.version, policy)):
        return ""
    if state.paused_by:
        return f"paused by {state.paused_by}"
    found = covering(holds, state.model, now)
    if found:
        until = "" if found[0].expires is None else f", until {at(found[0].expires)}"
        return f"held by {found[0].owner}: {found[0].reason}{until}"
    freeze = frozen_by(policy.freeze, now)
    if freeze is None or (request is not None and request.kind == "immediate"):
        return ""
    thaw = thaws_at(policy.freeze, now)
    return f"frozen: {freeze.reason or freeze.name}" + ("" if thaw is None else f", until {at(thaw)}")


def going_back(state: ModelState, version: str, policy: Policy) -> bool:
    """Return whether a version was live so recently that it needs no stages."""
    return version in state.recent[: policy.rollback_window]


def ended(found: Stepped, kind: str, *, by: str, reason: str, refuse: bool = True) -> Stepped:
    """End the rollout that runs without its version going live; what was live before answers everything again."""
    state = found.state
    rollout = state.rollout
    if rollout is None:
        return found
    found = found.noted(
        kind, from_version=rollout.version, to_version=state.serving, requested_by=rollout.requested_by,
        decided_by=by, reason=reason, evidence=_evidence(rollout),
    )  # fmt: skip
    version = rollout.version
    words = f"{kind.replace('_', ' ')}: {reason}"
    told = "refused" if refuse else "told"
    return found.but(
        rollout=None,
        paused_by="" if state.paused_by == BY_DEADLINE else state.paused_by,
        put_back=champion_back(state, version, state.serving) if refuse else state.put_back,
        **{told: kept(getattr(state, told), version, words)},
    ).over()


def completed(found: Stepped, *, reason: str, now: datetime) -> Stepped:
    """Make the version of the rollout the one that is live for good.

    A rollback takes everything newer out of the history: it is no version that one goes back to. Whoever promotes an
    older version anew may go back to the one before.
    """
    state = found.state
    rollout = state.rollout
    if rollout is None:
        return found
    version = rollout.version
    found = found.noted(
        "live", from_version=rollout.was, to_version=version, requested_by=rollout.requested_by, reason=reason,
        evidence=_evidence(rollout),
    )  # fmt: skip
    was = state.serving
    if rollout.kind == "rollback" and version in state.recent:
        recent = state.recent[state.recent.index(version) + 1 :]
    else:
        older = tuple([one for one in state.recent if one not in (version, was)])
        recent = (() if was in (None, version) else (was,)) + older
    recent = recent[:_RECENT]
    digests = {**state.digests, **({} if was is None else {was: state.serving_digest or ""})}
    gone_back = rollout.kind == "rollback" and was is not None
    words = f"went back to version {version}: {rollout.reason}" if gone_back else f"live until {at(now)}"
    return found.but(
        rollout=None,
        serving=version,
        serving_digest=rollout.digest,
        recent=recent,
        digests={one: digests[one] for one in recent if digests.get(one)},
        compare=rollout.kind == "rollback",
        refused=kept(state.refused, was, words) if gone_back else state.refused,
        told=state.told if gone_back or was is None else kept(state.told, was, words),
        paused_by="" if state.paused_by == BY_DEADLINE else state.paused_by,
    ).over()


def champion_back(state: ModelState, version: str, live: str | None) -> PutBack | None:
    """Return where `champion` belongs when a version did not go live: to what is live, if it still names that one."""
    if live is None:
        return None
    if state.champion_seen == version:
        return PutBack(version=live, over=(version,))
    if state.put_back is not None and state.put_back.version == version:
        return PutBack(version=live, over=(*state.put_back.over, version))
    return state.put_back


def kept(known: Mapping[str, str], version: str | None, words: str) -> dict[str, str]:
    """Return what is known of versions with words about one more; the oldest versions leave when there are many."""
    found = {**known, **({} if version is None else {version: words})}
    while len(found) > _KEPT:
        del found[min(found, key=lambda one: (len(one), one))]
    return found


def at(moment: datetime) -> str:
    """Return a time as people read it.

    >>> from datetime import UTC, datetime
    >>> at(datetime(2026, 5, 4, 12, 30, 5, tzinfo=UTC))
    '2026-05-04 12:30:05 UTC'
    """
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}"


def _evidence(rollout: Rollout) -> dict[str, Any]:
    return {
        "kind": rollout.kind,
        "digest": rollout.digest,
        "status": rollout.status,
        "passed": list(rollout.passed),
        "requests": rollout.requests,
        "verdicts": list(rollout.verdicts),
    }
