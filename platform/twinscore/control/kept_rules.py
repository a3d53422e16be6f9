"""What is kept of a model's rules between two looks: read whole once, and written in the parts that a look changed.

The document that every reader asks for is small: the incidents that are open, and those that a person dismissed. Each
rule's state is a part of its own, and so is what the windows were made of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twinscore.monitoring.incident import AlertState, RuleState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.ports.alert_store import AlertStates
    from twinscore.ports.rollout_store import Stored

__all__ = ["KeptRules", "changed_parts", "read_rules"]

_RULE = "rule/"
_STAMPS = "stamps"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRules:
    """The rules of one model as they were last saved."""

    revision: int = 0
    """Of the store; 0 before the first save."""
    state: AlertState
    stamps: Mapping[str, str] = field(default_factory=dict)
    """Of the windows that were judged, by their start."""
    whole: bool = False
    """Whether it was kept in one document, as before there were parts; the next save takes it apart."""


def read_rules(states: AlertStates, model: str, stored: Stored | None) -> KeptRules:
    """Return what is kept of a model's rules.

    What was saved after `stored` was read may be in it; whoever saves under that revision is refused then.

    Args:
        stored: the model's document; None before the first save.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    if stored is None:
        return KeptRules(state=AlertState(model=model))
    document = stored.document
    if "state" in document:
        kept = document["state"]
        state = AlertState.from_json(kept) if kept else AlertState(model=model)
        return KeptRules(revision=stored.revision, state=state, stamps=document.get("stamps") or {}, whole=True)
    parts = states.parts(model)
    rules = [RuleState.from_json(part) for name, part in parts.items() if name.startswith(_RULE)]
    state = AlertState(model=model, rules={one.rule: one for one in sorted(rules, key=lambda one: one.rule)})
    return KeptRules(revision=stored.revision, state=state, stamps=parts.get(_STAMPS) or {})


def changed_parts(
    before: KeptRules, state: AlertState, stamps: Mapping[str, str]
) -> dict[str, Mapping[str, Any] | None]:
    """Return the parts that are not what they were, by name; None for a rule that is gone."""
    was = {} if before.whole else before.state.rules
    parts: dict[str, Mapping[str, Any] | None] = {
        f"{_RULE}{name}": one.to_json() for name, one in state.rules.items() if was.get(name) != one
    }
    parts |= {f"{_RULE}{name}": None for name in was if name not in state.rules}
    if before.whole or before.stamps != stamps:
        parts[_STAMPS] = dict(stamps)
    return parts
