"""What routing and registry shall say, as it follows from the state alone; applying it twice changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinscore.rollout.plan import ArmPlan, RoutingPlan, ShadowPlan, show_share
from twinscore.rollout.stage import Stage
from twinscore.rollout.turn import in_force

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.rollout.policy import Policy
    from twinscore.rollout.state import ModelState, Rollout

__all__ = [
    "TAG",
    "Move",
    "WantedRouting",
    "wanted_aliases",
    "wanted_checks",
    "wanted_moves",
    "wanted_plan",
    "wanted_tags",
]

TAG = "twinscore.rollout"
"""The version tag that says in the registry's own pages what the platform does with a version."""
_BLOCKED = ("held", "paused", "frozen")


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedRouting:
    """Who shall answer."""

    live: str | None
    """None while nothing was ever live."""
    digest: str | None
    plan: RoutingPlan
    coming: str | None = None
    """The version of the rollout, which waits for itself alone; nobody waits for the others beside the live one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """An alias that is to be moved, if it still names what it is thought to name."""

    alias: str
    version: str
    expected: str | None


def wanted_plan(state: ModelState, policy: Policy) -> WantedRouting:
    """Return the live version and who is asked beside it. A refused version is in neither."""
    policy = in_force(state, policy)
    rollout = state.rollout
    stage = None if rollout is None else _traffic(rollout, policy)
    canary, ab, shadows = None, None, []
    coming = None if rollout is None else rollout.version
    if stage is not None and stage.kind == "canary" and coming is not None:
        canary = ArmPlan(version=coming, share=stage.share)
    if stage is not None and stage.kind == "shadow" and coming is not None:
        shadows.append(ShadowPlan(version=coming, sampling=stage.sampling))
    challenger, shadow = _beside(state)
    if challenger is not None:
        ab = ArmPlan(version=challenger, share=policy.ab_share)
    if shadow is not None:
        shadows.append(ShadowPlan(version=shadow, sampling=policy.shadow_sampling))
    plan = RoutingPlan(
        canary=canary,
        ab=ab,
        shadows=tuple(shadows),
        salt=None if rollout is None or canary is None else rollout.salt or None,
        deadline_ms=policy.deadline_ms,
        header_override=policy.header_override,
    )
    return WantedRouting(live=state.live, digest=state.live_digest, plan=plan, coming=coming)


def wanted_checks(state: ModelState, *, away: bool = False) -> tuple[str, ...]:
    """Return the versions of which it is to be found out whether they are sound, and which bundles they are.

    Args:
        state: where the promotion stands.
        away: whether the registry does not answer; what is live is not compared with it then.
    """
    rollout = state.rollout
    found = [rollout.version] if rollout is not None and rollout.status == "checking" and not rollout.digest else []
    if state.overtaking is not None:
        found.append(state.overtaking)
    if state.compare and state.serving is not None and not away:
        found.append(state.serving)
    return tuple(dict.fromkeys([*found, *[one.version for one in state.asked.values() if one.version]]))


def wanted_aliases(state: ModelState) -> dict[str, str]:
    """Return what aliases shall name; those that are not in it are people's own."""
    wanted = {} if state.live is None else {"serving": state.live}
    return wanted if state.put_back is None else {**wanted, "champion": state.put_back.version}


def wanted_moves(state: ModelState, aliases: Mapping[str, str]) -> tuple[Move, ...]:
    """Return the moves that are left to be made, each with what its alias is expected to name.

    `champion` is moved only over what the platform knows of; a person's newer wish is left alone.
    """
    moves = []
    for alias, version in wanted_aliases(state).items():
        named = aliases.get(alias)
        ours = alias != "champion" or (state.put_back is not None and named in state.put_back.over)
        if named != version and ours:
            moves.append(Move(alias=alias, version=version, expected=named))
    return tuple(moves)


def wanted_tags(state: ModelState) -> dict[str, dict[str, str]]:
    """Return the tags that versions shall carry, by version."""
    words: dict[str, list[str]] = {}
    if state.rollout is not None:
        words[state.rollout.version] = [_rollout_words(state.rollout)]
    if state.serving is not None:
        taken = state.rollout is not None and state.rollout.takes_all
        words.setdefault(state.serving, []).append("kept warm, to go back to" if taken else "live")
    challenger, shadow = _beside(state)
    if challenger is not None:
        words.setdefault(challenger, []).append("challenger, compared with the live version")
    if shadow is not None:
        words.setdefault(shadow, []).append("shadow, its answers reach nobody")
    for known in (state.refused, state.told):
        for version, told in known.items():
            if version not in words or version == state.serving or known is state.refused:
                words.setdefault(version, []).append(told)
    return {version: {TAG: "; ".join(told)} for version, told in words.items()}


def _beside(state: ModelState) -> tuple[str | None, str | None]:
    """Return the versions that `challenger` and `shadow` have asked; None where theirs is live, on its way, or left."""
    rollout = state.rollout
    coming = None if rollout is None else rollout.version
    # What is gone back from stands in nobody's way, neither with its answers nor with an application that must start.
    left = state.serving if rollout is not None and rollout.kind == "rollback" else None
    elsewhere = (state.live, coming, left)
    challenger = None if state.challenger in (*elsewhere, *state.refused) else state.challenger
    return challenger, None if state.shadow in elsewhere else state.shadow


def _traffic(rollout: Rollout, policy: Policy) -> Stage | None:
    """Return the stage whose traffic is in force; while somebody must approve, that of the stage before."""
    if rollout.status != "running":
        return None
    places = range(rollout.stage, -1, -1)
    return next((policy.stages[place] for place in places if policy.stages[place].kind != "approve"), None)


def _rollout_words(rollout: Rollout) -> str:
    """Return words that change with the stage only, for each change is a write to the registry."""
    if rollout.status == "checking":
        return f"being checked{_why(rollout)}"
    stages = rollout.policy["stages"]
    if rollout.stage >= len(stages):
        return "going live at once, without stages" if rollout.kind == "immediate" else "going live"
    stage = Stage.from_json(stages[rollout.stage])
    share = f", answers {show_share(stage.share)}" if stage.kind == "canary" else ""
    share = ", answers everything" if stage.kind == "bake" else share
    return f"{stage.title}, stage {rollout.stage + 1} of {len(stages)}{share}{_why(rollout)}"


def _why(rollout: Rollout) -> str:
    return f"; {rollout.waits}" if rollout.waits.startswith(_BLOCKED) else ""
