"""How a rollout goes through its stages: forward on proof, back on a failure, and nowhere on silence."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twinscore.rollout.stage import show_seconds
from twinscore.rollout.turn import BY_DEADLINE, PLATFORM, at, blocked, completed, ended, in_force

if TYPE_CHECKING:
    from datetime import datetime

    from twinscore.rollout.policy import Policy
    from twinscore.rollout.seen import Seen
    from twinscore.rollout.stage import Stage
    from twinscore.rollout.state import Rollout
    from twinscore.rollout.turn import Stepped

__all__ = ["advanced", "broken", "stage_of", "unproven"]


def broken(found: Stepped, policy: Policy, seen: Seen) -> Stepped:
    """End the rollout at once when its version is refused, cannot be asked, or fails a gate; nothing holds this up."""
    rollout = found.state.rollout
    if rollout is None:
        return found
    if rollout.status == "checking":
        checked = seen.candidate
        if checked is not None and checked.version == rollout.version and checked.refused:
            return ended(found, "refused", by=PLATFORM, reason=checked.refused)
        return found
    if seen.failed:
        return ended(found, "rolled_back", by=PLATFORM, reason=seen.failed)
    policy = in_force(found.state, policy)
    stage = stage_of(rollout, policy)
    names = () if stage is None else policy.gates_of(stage)
    failing = [one for one in seen.verdicts if one.outcome == "fail" and one.gate in names and not one.dry_run]
    if not failing:
        return found
    return ended(found, "rolled_back", by=PLATFORM, reason="; ".join([f"{one.gate}: {one.words}" for one in failing]))


def advanced(found: Stepped, policy: Policy, seen: Seen, now: datetime) -> Stepped:
    """Take the rollout one stage further, if all that the present one asks for was shown and nothing is in the way."""
    rollout = found.state.rollout
    if rollout is None:
        return found
    policy = in_force(found.state, policy)
    why = blocked(found.state, policy, seen.holds, now, rollout)
    rollout = _clocked(rollout, now, held=bool(why), ready=seen.ready)
    found = found.but(rollout=rollout)
    stage = stage_of(rollout, policy)
    if rollout.status == "checking":
        return _checked(found, policy, seen, now, why)
    if stage is None:
        swapped = seen.ready and seen.live is not None and seen.live.version == rollout.version
        return completed(found, reason=_how(rollout), now=now) if swapped else found
    if why:
        return found
    if rollout.kind == "immediate":
        return _into(found, policy, len(policy.stages), "its stages were skipped", now)
    left = unproven(rollout, stage, policy, seen, now)
    if not left:
        if stage.kind == "bake":
            return completed(found.but(rollout=_passed(rollout, stage, now)), reason="every stage passed", now=now)
        return _into(found, policy, rollout.stage + 1, "", now)
    return _late(found, stage, left, now)


def unproven(rollout: Rollout, stage: Stage, policy: Policy, seen: Seen, now: datetime) -> str:
    """Return what the stage has not shown yet, or nothing when it may be left."""
    if stage.kind == "approve":
        if rollout.approved_by:
            return ""
        return f"waits for the approval of {' or '.join(stage.approvers) or 'a person'}"
    if not seen.ready or rollout.ready_at is None:
        return f"waits until version {rollout.version} is up"
    if rollout.takes_all and (seen.live is None or seen.live.version != rollout.version):
        return f"waits until every replica answers with version {rollout.version}"
    if seen.requests < stage.requests:
        return f"waits for requests: {seen.requests} of {stage.requests}"
    left_s = stage.at_least_s - (now - rollout.ready_at).total_seconds()
    if left_s > 0:
        return f"waits for {show_seconds(max(1, round(left_s)))} more"
    return _gates(policy.gates_of(stage), seen)


def stage_of(rollout: Rollout, policy: Policy) -> Stage | None:
    """Return the stage that a rollout is in; None when all lie behind it."""
    return policy.stages[rollout.stage] if rollout.stage < len(policy.stages) else None


def _gates(names: tuple[str, ...], seen: Seen) -> str:
    """Return which gates have not passed; one that says it decides nothing is left out, but one must decide."""
    found = {one.gate: one for one in seen.verdicts}
    missing = [name for name in names if name not in found]
    deciding = [found[name] for name in names if name in found and not found[name].dry_run]
    open_ = [one for one in deciding if one.outcome != "pass"]
    if missing:
        return f"waits for figures of {', '.join(missing)}"
    if open_:
        return "; ".join([f"{one.gate}: {one.words}" for one in open_])
    return "" if deciding else "waits for a gate that decides"


def _clocked(rollout: Rollout, now: datetime, *, held: bool, ready: bool) -> Rollout:
    """Count the time in which the rollout may not go forward, and when its version was first up."""
    if ready and rollout.ready_at is None and rollout.status != "checking":
        rollout = replace(rollout, ready_at=now)
    if held and rollout.held_at is None:
        return replace(rollout, held_at=now)
    if held or rollout.held_at is None:
        return rollout
    held_s = rollout.held_s + max(0.0, (now - rollout.held_at).total_seconds())
    return replace(rollout, held_at=None, held_s=held_s)


def _checked(found: Stepped, policy: Policy, seen: Seen, now: datetime, why: str) -> Stepped:
    rollout = found.state.rollout
    assert rollout is not None
    checked = seen.candidate
    if checked is not None and checked.version == rollout.version and checked.fit:
        rollout = replace(rollout, digest=checked.digest)
        found = found.but(rollout=rollout)
    if why or not rollout.digest:
        return found
    same = rollout.digest == found.state.serving_digest
    skips = rollout.skips or same or not policy.stages
    words = "the bundle is the one that is live" if same else "the bundle is sound"
    return _into(found, policy, len(policy.stages) if skips else 0, words, now)


def _into(found: Stepped, policy: Policy, place: int, words: str, now: datetime) -> Stepped:
    """Let the rollout enter a stage; behind the last one it takes everything."""
    rollout = found.state.rollout
    assert rollout is not None
    before = stage_of(rollout, policy)
    if rollout.status == "checking" or before is None or words:
        passed = (*rollout.passed, f"{'check' if rollout.status == 'checking' else 'stages'}: {words}, {at(now)}")
    else:
        passed = _passed(rollout, before, now).passed
    full = place >= len(policy.stages) or policy.stages[place].kind == "bake"
    return found.but(
        rollout=replace(
            rollout, status="baking" if full else "running", stage=place, stage_at=now, ready_at=None, held_at=None,
            held_s=0.0, approved_by=(), passed=passed, requests=0,
        )
    ).over()  # fmt: skip


def _passed(rollout: Rollout, stage: Stage, now: datetime) -> Rollout:
    by = f", approved by {' and '.join(rollout.approved_by)}" if rollout.approved_by else ""
    asked = "" if stage.kind == "approve" else f", {rollout.requests} requests"
    return replace(rollout, passed=(*rollout.passed, f"{stage.title}: passed{by}{asked}, {at(now)}"))


def _late(found: Stepped, stage: Stage, left: str, now: datetime) -> Stepped:
    rollout = found.state.rollout
    assert rollout is not None
    if (now - rollout.stage_at).total_seconds() - rollout.held_s < stage.at_most_s:
        return found
    reason = f"the stage {stage.title} was not over within {show_seconds(stage.at_most_s)}: {left}"
    if stage.on_deadline == "roll_back":
        return ended(found, "rolled_back", by=PLATFORM, reason=reason)
    found = found.noted("paused", from_version=rollout.was, to_version=rollout.version, reason=reason)
    return found.but(paused_by=BY_DEADLINE)


def _how(rollout: Rollout) -> str:
    if rollout.kind == "immediate":
        return "immediate: its stages were skipped"
    return "it was live before" if rollout.skips and rollout.was is not None else "; ".join(rollout.passed[-1:])
