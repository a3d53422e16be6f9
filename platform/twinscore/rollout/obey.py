"""What people command: promote, rollback, abort, pause, resume, approve; each is recorded with its actor and reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.rollout.state import PutBack, Request
from twinscore.rollout.turn import ended, in_force

if TYPE_CHECKING:
    from datetime import datetime

    from twinscore.rollout.policy import Policy
    from twinscore.rollout.seen import Command
    from twinscore.rollout.state import RequestKind
    from twinscore.rollout.turn import Stepped

__all__ = ["obeyed"]


def obeyed(found: Stepped, policy: Policy, command: Command, now: datetime) -> Stepped:
    """Return the step after one command; what cannot be done is recorded with the reason."""
    if command.name == "promote":
        return _wanted(found, command, command.version, now)
    if command.name == "rollback":
        return _rolled_back(found, command, now)
    if command.name == "abort":
        return _aborted(found, command)
    if command.name == "pause":
        return _noted(found, "paused", command).but(paused_by=command.by)
    if command.name == "resume":
        return _resumed(found, command, now)
    return _approved(found, policy, command)


def _wanted(found: Stepped, command: Command, version: str, now: datetime) -> Stepped:
    state = found.state
    kind: RequestKind = "rollback" if command.name == "rollback" else "immediate" if command.immediate else "policy"
    request = Request(
        version=version, kind=kind, by=command.by, reason=command.reason, since=now, settled=True
    )  # fmt: skip
    ours = () if state.put_back is None else (*state.put_back.over, state.put_back.version)
    over = tuple(dict.fromkeys([state.champion_seen, *ours]))
    put_back = None if over == (version,) else PutBack(version=version, over=over)
    if kind != "policy" and state.rollout is not None and state.rollout.kind == "policy" and state.live == version:
        why = f"version {version} answers everything already, and is live for good once its bake is over"
        found = _refused(found, command, why)
    return found.but(settling=request, put_back=put_back)


def _rolled_back(found: Stepped, command: Command, now: datetime) -> Stepped:
    state = found.state
    if command.version:
        if command.version in state.recent or command.version == state.serving:
            return _wanted(found, command, command.version, now)
        known = ", ".join(state.recent) or "none"
        return _refused(found, command, f"version {command.version} was not live before; versions that were: {known}")
    if state.rollout is not None and state.rollout.kind != "rollback":
        reason = command.reason or "a person went back"
        return ended(_unwished(found), "rolled_back", by=command.by, reason=reason)
    if state.rollout is not None:
        return _refused(found, command, f"going back to version {state.rollout.version} is under way")
    if state.previous is None:
        return _refused(found, command, "no version was live before")
    return _wanted(found, command, state.previous, now)


def _aborted(found: Stepped, command: Command) -> Stepped:
    state = found.state
    request = state.settling
    if request is None and state.rollout is None:
        return _refused(found, command, "nothing is on its way")
    if state.rollout is not None:
        return ended(_unwished(found), "aborted", by=command.by, reason=command.reason or "a person ended it")
    version = None if request is None else request.version or None
    return _unwished(_noted(found, "aborted", command, from_version=version))


def _unwished(found: Stepped) -> Stepped:
    """Forget a wish that was not acted on; `champion` goes back to what is live."""
    state = found.state
    if state.settling is None or state.serving is None:
        return found.but(settling=None)
    over = (state.champion_seen,) if state.put_back is None else (*state.put_back.over, state.put_back.version)
    return found.but(settling=None, put_back=PutBack(version=state.serving, over=over))


def _resumed(found: Stepped, command: Command, now: datetime) -> Stepped:
    """Go on, with the whole of the stage's time from now."""
    state = found.state
    if not state.paused_by:
        return _refused(found, command, "nothing is paused")
    found = _noted(found, "resumed", command).but(paused_by="")
    if state.rollout is None:
        return found
    passed_s = max(0.0, (now - state.rollout.stage_at).total_seconds())
    return found.but(rollout=found.state.with_rollout(held_at=None, held_s=passed_s).rollout)


def _approved(found: Stepped, policy: Policy, command: Command) -> Stepped:
    rollout = found.state.rollout
    stages = in_force(found.state, policy).stages
    stage = None if rollout is None or rollout.stage >= len(stages) else stages[rollout.stage]
    if rollout is None or stage is None or stage.kind != "approve" or rollout.status != "running":
        return _refused(found, command, "no version waits for an approval")
    if stage.approvers and command.actor not in stage.approvers:
        return _refused(found, command, f"{command.actor} is not one of the approvers {', '.join(stage.approvers)}")
    if command.version and command.version != rollout.version:
        return _refused(found, command, f"version {rollout.version} waits for an approval, not {command.version}")
    approved = tuple(dict.fromkeys([*rollout.approved_by, command.by]))
    return _noted(found, "approved", command).but(rollout=found.state.with_rollout(approved_by=approved).rollout)


def _refused(found: Stepped, command: Command, why: str) -> Stepped:
    said = f"{command.name} was not done: {why}"
    return found.noted(
        "command_refused", from_version=found.state.serving, to_version=command.version or None,
        requested_by=command.by, reason=said,
    )  # fmt: skip


def _noted(found: Stepped, kind: str, command: Command, from_version: str | None = None) -> Stepped:
    rollout = found.state.rollout
    return found.noted(
        kind, from_version=from_version or found.state.serving,
        to_version=found.state.serving if rollout is None else rollout.version,
        requested_by=command.by, decided_by=command.by, reason=command.reason,
    )  # fmt: skip
