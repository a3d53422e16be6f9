"""What follows from the newest wish: a rollout begins, is overtaken by another, or the wish is what is so already."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from twinscore.rollout.state import Rollout
from twinscore.rollout.turn import CHAMPION, champion_back, completed, ended, going_back, kept

if TYPE_CHECKING:
    from datetime import datetime

    from twinscore.rollout.policy import Policy
    from twinscore.rollout.seen import Seen
    from twinscore.rollout.state import Request
    from twinscore.rollout.turn import Stepped

__all__ = ["requested", "rested"]


def requested(found: Stepped, policy: Policy, seen: Seen, now: datetime) -> Stepped:
    """Act on the newest wish once it has rested; the newest one always wins."""
    state = found.state
    request, rollout = state.settling, state.rollout
    if request is None or not rested(request, policy, seen, now):
        return found
    if not request.version:
        found = found.but(settling=None)
        if rollout is not None and rollout.requested_by == CHAMPION:
            return ended(found, "aborted", by=CHAMPION, reason=request.reason, refuse=False)
        return found
    if rollout is None:
        if request.version == state.serving:
            return found.but(settling=None, compare=True)
        return _begun(found, policy, request, now)
    # Who goes back to a version that is on its way by stages wants it live now.
    back = request.kind == "rollback" and rollout.kind != "rollback" and not rollout.takes_all
    if rollout.version == request.version and not back:
        return _hastened(found.but(settling=None), request)
    return _overtaken(found, seen, request, rollout, now)


def rested(request: Request, policy: Policy, seen: Seen, now: datetime) -> bool:
    """Return whether a wish counts: a command at once, a moved alias when it has stayed there for a while."""
    if request.settled:
        return True
    return seen.aliases is not None and (now - request.since).total_seconds() >= policy.settle_s


def _begun(found: Stepped, policy: Policy, request: Request, now: datetime) -> Stepped:
    state = found.state
    version = request.version
    known = state.digests.get(version, "") if request.kind == "rollback" else ""
    rollout = Rollout(
        id=hashlib.sha256(f"{state.model}/{version}/{now.isoformat()}".encode()).hexdigest()[:12],
        version=version,
        digest=known,
        was=state.serving,
        kind=request.kind,
        requested_by=request.by,
        reason=request.reason,
        policy_digest=policy.digest,
        policy=policy.to_json(),
        skips=request.kind != "policy" or state.serving is None or going_back(state, version, policy),
        status="baking" if known else "checking",
        stage=len(policy.stages) if known else 0,
        started_at=now,
        stage_at=now,
    )
    salt = "" if state.challenger is not None else rollout.id
    refused = {one: why for one, why in state.refused.items() if one != version}
    told = {one: words for one, words in state.told.items() if one != version}
    found = found.but(settling=None, rollout=replace(rollout, salt=salt), refused=refused, told=told)
    return found.noted(
        "started", from_version=state.serving, to_version=version, requested_by=request.by, reason=request.reason,
        evidence={"kind": request.kind, "skips_stages": rollout.skips},
    ).over()  # fmt: skip


def _hastened(found: Stepped, request: Request) -> Stepped:
    """Take a rollout that runs already out of its stages, when that is what was asked for."""
    rollout = found.state.rollout
    if rollout is None or request.kind != "immediate" or rollout.kind != "policy" or rollout.takes_all:
        return found
    found = found.noted(
        "hastened", from_version=rollout.was, to_version=rollout.version, requested_by=request.by,
        decided_by=request.by, reason=request.reason,
    )  # fmt: skip
    return found.but(
        rollout=replace(rollout, kind="immediate", requested_by=request.by, reason=request.reason, skips=True)
    )


def _overtaken(found: Stepped, seen: Seen, request: Request, rollout: Rollout, now: datetime) -> Stepped:
    """End the rollout that runs for a newer wish, which is acted on in the next step.

    A version that answers everything already stays live: it passed all its stages, or a person sent it live at once,
    and the newer wish is no wish for what came before it, unless that is what it names. Its bake goes on until the
    newer version is known to be fit, for one that cannot be asked proves nothing.
    """
    why = f"{request.by} asked for version {request.version}" + (f": {request.reason}" if request.reason else "")
    swapped = rollout.takes_all and seen.live is not None and seen.live.version == rollout.version
    if swapped and request.version != found.state.serving:
        if found.state.overtaking is not None:
            checked = seen.beside.get(request.version)
            if checked is None or checked.waiting:
                return found
            if checked.refused:
                return _unfit(found, request, checked.refused)
        return completed(found, reason=f"its bake ended early: {why}", now=now)
    back = request.version == found.state.serving
    found = found.but(compare=True, settling=None) if back else found
    return ended(found, "superseded", by=request.by, reason=why, refuse=False)


def _unfit(found: Stepped, request: Request, why: str) -> Stepped:
    """Refuse the version of a wish while another one bakes on; `champion` goes back to that one."""
    state = found.state
    found = found.noted(
        "refused", from_version=request.version, to_version=state.live, requested_by=request.by, reason=why,
        rollout_id="", policy_digest="",
    )  # fmt: skip
    return found.but(
        settling=None,
        put_back=champion_back(state, request.version, state.live),
        refused=kept(state.refused, request.version, f"refused: {why}"),
    )
