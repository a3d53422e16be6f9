"""What the registry's aliases say: which moves are wishes of people, which the platform's own, which are put back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from twinscore.rollout.state import Request
from twinscore.rollout.turn import CHAMPION, at, blocked, kept

if TYPE_CHECKING:
    from datetime import datetime

    from twinscore.rollout.policy import Policy
    from twinscore.rollout.seen import Seen
    from twinscore.rollout.turn import Stepped

__all__ = ["adopted", "beside", "noticed"]

_BESIDE: tuple[Literal["challenger", "shadow"], ...] = ("challenger", "shadow")


def adopted(found: Stepped, seen: Seen) -> Stepped:
    """Take what is live already for what the platform keeps live, where it knows of nothing else."""
    state = found.state
    if state.serving is not None or state.rollout is not None or seen.live is None:
        return found
    version, digest = seen.live.version, seen.live.digest
    reason = "it was live before promotion was in charge"
    return found.noted("adopted", to_version=version, reason=reason).but(serving=version, serving_digest=digest)


def noticed(found: Stepped, seen: Seen, now: datetime) -> Stepped:
    """Take notice of what the aliases name; nothing, while the registry is away."""
    if seen.aliases is None:
        return found
    return _beside_named(_serving(_champion(found, seen, now), seen), seen, now)


def beside(found: Stepped, policy: Policy, seen: Seen, now: datetime) -> Stepped:
    """Ask the versions of `challenger` and `shadow` beside the live one, or no more, once their alias has rested.

    An alias that is removed is followed even while nothing may go forward.
    """
    found = _given_up(found, seen, now)
    if seen.aliases is None:
        return found
    for alias in _BESIDE:
        asked = found.state.asked.get(alias)
        if asked is None or (now - asked.since).total_seconds() < policy.settle_s:
            continue
        before = getattr(found.state, alias)
        left = {other: one for other, one in found.state.asked.items() if other != alias}
        if asked.version == (before or ""):
            found = found.but(asked=left)
            continue
        if not asked.version:
            found = _answered(found, alias, "removed", asked, now).but(**{alias: None}, asked=left)
            continue
        checked = seen.beside.get(asked.version)
        if checked is None or checked.waiting or (checked.fit and blocked(found.state, policy, seen.holds, now, None)):
            continue
        if checked.fit:
            found = _answered(found, alias, "set", asked, now).but(**{alias: asked.version}, asked=left)
            continue
        asked = replace(asked, reason=checked.refused)
        found = _answered(found, alias, "refused", asked, now).but(
            **{alias: None}, asked=left, refused=kept(found.state.refused, asked.version, f"refused: {checked.refused}")
        )
    return found


def _champion(found: Stepped, seen: Seen, now: datetime) -> Stepped:
    assert seen.aliases is not None
    state = found.state
    named, before, wanted = seen.aliases.get("champion"), state.champion_seen, state.put_back
    if wanted is not None and seen.moved.get("champion") == wanted.version:
        before, wanted = wanted.version, None
    if wanted is not None and named == wanted.version:
        return found.but(champion_seen=named, put_back=None)
    if named == before or (wanted is not None and named in wanted.over):
        return found.but(champion_seen=named, put_back=wanted)
    reason = f"{CHAMPION} moved from {before or 'nothing'} to {named}" if named else f"{CHAMPION} was removed"
    request = Request(version=named or "", by=CHAMPION, reason=reason, since=now)
    return found.but(champion_seen=named, put_back=None, settling=request)


def _serving(found: Stepped, seen: Seen) -> Stepped:
    """Record it once when somebody else moved `serving`; that it is put back follows from the state."""
    assert seen.aliases is not None
    live, named = found.state.live, seen.aliases.get("serving")
    if live is None:
        return found
    if named == live:
        return found.but(serving_seen=(live,))
    if named in found.state.serving_seen:
        return found
    reason = "only the platform moves the alias serving; " + (
        f"it was moved to version {named}, and is put back" if named else "it was removed, and is set again"
    )
    found = found.noted("serving_put_back", from_version=named, to_version=live, reason=reason)
    return found.but(serving_seen=(*found.state.serving_seen, named))


def _beside_named(found: Stepped, seen: Seen, now: datetime) -> Stepped:
    assert seen.aliases is not None
    for alias in _BESIDE:
        state = found.state
        named, before = seen.aliases.get(alias), state.named.get(alias)
        if named == before:
            continue
        request = Request(version=named or "", by=f"alias {alias}", since=now)
        refused = {version: why for version, why in state.refused.items() if version != named or alias == "shadow"}
        now_named = {other: version for other, version in state.named.items() if other != alias}
        found = found.but(
            asked={**state.asked, alias: request},
            named={**now_named, alias: named} if named else now_named,
            refused=refused,
        )
    return found


def _given_up(found: Stepped, seen: Seen, now: datetime) -> Stepped:
    """Ask no more what cannot be asked, until somebody sets its alias anew; the rollout of another goes on."""
    for alias in _BESIDE:
        version = getattr(found.state, alias)
        why = seen.given_up.get(version)
        if why:
            told = kept(found.state.told, version, f"given up as {alias}, {at(now)}: {why}")
            found = found.noted(f"{alias}_given_up", from_version=version, reason=why).but(**{alias: None}, told=told)
    return found


def _answered(found: Stepped, alias: str, what: str, asked: Request, now: datetime) -> Stepped:
    """Enter what came of an alias, and the last words about the version that it leaves.

    One that is live or on its way has other words.
    """
    state = found.state
    before = getattr(state, alias)
    found = found.noted(
        f"{alias}_{what}", from_version=before, to_version=asked.version or None, requested_by=asked.by,
        reason=asked.reason,
    )  # fmt: skip
    coming = None if state.rollout is None else state.rollout.version
    if before in (None, state.serving, coming):
        return found
    return found.but(told=kept(state.told, before, f"{alias} until {at(now)}"))
