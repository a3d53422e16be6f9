"""How promotion stands, as JSON values: stage, share, evidence against each gate, what is next, why it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.clock import SystemClock
from twinscore.control.incidents import open_incidents
from twinscore.errors import ModelNotFound, near
from twinscore.rollout.hold import covering
from twinscore.rollout.plan import show_share
from twinscore.rollout.policy import Policy
from twinscore.rollout.state import ModelState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from twinscore.ports.rollout_store import ControlStore
    from twinscore.rollout.hold import Hold
    from twinscore.rollout.state import Rollout

__all__ = ["overview", "standing"]

_RECENT = 10
"""Entries of the ledger that are shown."""


def overview(
    store: ControlStore, trouble: Mapping[str, str] | None = None, alerts: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return how every model stands, and the holds in force.

    Args:
        store: where states, ledger and holds are.
        trouble: by model, why its last turn could not be taken.
        alerts: by model, what went wrong when its figures were last looked at.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    now = SystemClock().now()
    holds = store.holds.held()
    return {
        "at": now.isoformat(),
        "models": [
            _standing(store, model, holds, (trouble or {}).get(model, ""), now) for model in store.rollouts.models()
        ],
        "holds": [hold.to_json() for hold in holds],
        "incidents": open_incidents(store),
        "alerts_trouble": {name: text for name, text in (alerts or {}).items() if text},
    }


def standing(store: ControlStore, model: str, trouble: str = "") -> dict[str, Any]:
    """Return how one model stands; raises ModelNotFound when promotion knows no such model."""
    known = store.rollouts.models()
    if model not in known:
        message = f"Promotion knows no model {model!r}. {near(model, known)} A model is known once it was served."
        raise ModelNotFound(message, model=model)
    return _standing(store, model, store.holds.held(), trouble, SystemClock().now())


def _standing(store: ControlStore, model: str, holds: Sequence[Hold], trouble: str, now: datetime) -> dict[str, Any]:
    stored = store.rollouts.load(model)
    state = ModelState(model=model) if stored is None else ModelState.from_json(stored.document["state"])
    waiting = store.commands.take(model)
    return {
        "model": model,
        "live": state.live,
        "serving": state.serving,
        "previous": state.previous,
        "challenger": state.challenger,
        "shadow": state.shadow,
        "settling": None if state.settling is None else {"version": state.settling.version, "by": state.settling.by},
        "waits": state.waits,
        "paused_by": state.paused_by,
        "rollout": None if state.rollout is None else _rollout(state.rollout),
        "refused": state.refused,
        "holds": [hold.id for hold in covering(holds, model, now)],
        "commands_waiting": [dict(one.document) for one in waiting],
        "trouble": trouble,
        "ledger": [entry.to_json() for entry in _last(store, model)],
    }


def _rollout(rollout: Rollout) -> dict[str, Any]:
    policy = Policy.from_json(rollout.policy)
    stage = policy.stages[rollout.stage] if rollout.stage < len(policy.stages) else None
    share = "100%" if rollout.takes_all else "0%"
    if stage is not None and stage.kind == "canary" and rollout.status == "running":
        share = show_share(stage.share)
    return {
        "id": rollout.id,
        "version": rollout.version,
        "was": rollout.was,
        "kind": rollout.kind,
        "status": rollout.status,
        "stage": "check" if rollout.status == "checking" else "last" if stage is None else stage.title,
        "stages": [one.title for one in policy.stages],
        "place": rollout.stage,
        "share": share,
        "requests": rollout.requests,
        "requests_wanted": 0 if stage is None else stage.requests,
        "gates": list(rollout.verdicts),
        "passed": list(rollout.passed),
        "waits": rollout.waits,
        "next": rollout.next,
        "deadline_s": None if stage is None else stage.at_most_s,
        "on_deadline": None if stage is None else stage.on_deadline,
        "started_at": rollout.started_at.isoformat(),
        "stage_at": rollout.stage_at.isoformat(),
        "requested_by": rollout.requested_by,
        "reason": rollout.reason,
        "policy_digest": rollout.policy_digest,
    }


def _last(store: ControlStore, model: str) -> Sequence[Any]:
    head = store.ledger.head(model).number
    return store.ledger.entries(model, after=max(0, head - _RECENT))
