"""How a model's versions go live: the stages, the gates, the calendar, as one value with a digest; knows no files."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from twinscore.errors import SettingsInvalid, near
from twinscore.rollout.assign import BUCKETS
from twinscore.rollout.calendar import Freeze
from twinscore.rollout.gate import DEFAULT_GATES, Gate
from twinscore.rollout.ledger import canonical_json
from twinscore.rollout.plan import show_share
from twinscore.rollout.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT_STAGES", "Policy"]

DEFAULT_STAGES = (
    Stage(kind="shadow", name="shadow", sampling=BUCKETS, requests=300, at_least_s=60.0),
    Stage(kind="canary", name="canary", share=100, requests=100, at_least_s=60.0),
    Stage(kind="canary", name="canary", share=500, requests=300, at_least_s=60.0),
    Stage(kind="canary", name="canary", share=2_500, requests=500, at_least_s=60.0),
    Stage(kind="canary", name="canary", share=5_000, requests=1_000, at_least_s=60.0),
    Stage(kind="bake", name="bake", requests=1_000, at_least_s=600.0),
)
"""Of a model without a file of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What every promotion of one model must go through."""

    model: str
    stages: tuple[Stage, ...] = DEFAULT_STAGES
    """In order; none means live as soon as the bundle was checked."""
    gates: tuple[Gate, ...] = DEFAULT_GATES
    ab_share: int = 1_000
    """Of the entities that the alias `challenger` answers, in 1/10,000."""
    shadow_sampling: int = BUCKETS
    """Of the entities that are mirrored to the alias `shadow`, in 1/10,000."""
    rollback_window: int = 3
    """How many versions that were live before may come back without the stages."""
    freeze: tuple[Freeze, ...] = ()
    """When nothing goes forward; going back is always possible."""
    settle_s: float = 3.0
    """How long an alias must rest before it counts."""
    alpha: float = 0.01
    """Chance that a version as good as the live one is rolled back, over the whole rollout."""
    deadline_ms: int = 250
    """For an answer of a canary or challenger; after it the live version answers."""
    header_override: bool = False
    """Whether a request may name its arm."""

    def __post_init__(self) -> None:
        if not self.model:
            _refuse("model", "name a model", self.model)
        if not 0 < self.alpha < 0.5:
            _refuse("alpha", "have alpha between 0 and 0.5", self.alpha)
        if self.rollback_window < 0:
            _refuse("rollback_window", "have a whole number from 0", self.rollback_window)
        if not 0 <= self.settle_s <= 3_600:
            _refuse("settle", "have settle from 0s to 1h", self.settle_s)
        if not 1 <= self.deadline_ms <= 60_000:
            _refuse("deadline", "have a deadline from 1ms to 60s", self.deadline_ms)
        for what, share in (("ab_share", self.ab_share), ("shadow_sampling", self.shadow_sampling)):
            if not 0 < share <= BUCKETS:
                _refuse(what, "have more than 0% and at most 100%", share)
        _check_gates(self)
        _check_order(self)

    @classmethod
    def default(cls, model: str) -> Policy:
        """Return the policy of a model without a file: shadow, canary of 1, 5, 25 and 50 %, bake."""
        return cls(model=model)

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON of everything it says."""
        return _digest(self)

    @property
    def deciding(self) -> tuple[Gate, ...]:
        """The gates that may stop a version; dry-run gates only tell."""
        return tuple([gate for gate in self.gates if not gate.dry_run])

    def gates_of(self, stage: Stage) -> tuple[str, ...]:
        """Return the names of the gates that decide in a stage."""
        named = stage.gates or tuple([gate.name for gate in self.gates])
        return tuple([gate.name for gate in self.deciding if gate.name in named])

    def to_json(self) -> dict[str, Any]:
        """Return the policy as JSON values; `from_json` reads it back to an equal value."""
        document = {name: getattr(self, name) for name in _MEMBERS}
        for name in ("stages", "freeze"):
            document[name] = [one.to_json() for one in document[name]]
        return {**document, "gates": [_said(gate) for gate in self.gates]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Policy:
        """Read what `to_json` wrote."""
        members = dict(document)
        members["stages"] = tuple([Stage.from_json(one) for one in members["stages"]])
        members["freeze"] = tuple([Freeze.from_json(one) for one in members["freeze"]])
        members["gates"] = tuple([Gate.from_document(one) for one in members["gates"]])
        return cls(**members)


_MEMBERS = tuple([one.name for one in fields(Policy)])


@lru_cache(maxsize=64)
def _digest(policy: Policy) -> str:
    return hashlib.sha256(canonical_json(policy.to_json()).encode()).hexdigest()


def _said(gate: Gate) -> dict[str, Any]:
    """Return what a gate says, its defaults too, so that the digest covers them."""
    return {name: value for name, value in asdict(gate).items() if value is not None}


def _check_gates(policy: Policy) -> None:
    names = [gate.name for gate in policy.gates]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        _refuse("gates", "name each gate once", ", ".join(twice))
    if not policy.deciding:
        _refuse("gates", "have a gate that decides; leave `gates` out for the default ones", names)
    for place, stage in enumerate(policy.stages):
        for name in stage.gates:
            if name not in names:
                _refuse(f"stages[{place}].gates", "name its own gates in its stages", name, near(name, names))
        if stage.kind != "approve" and not policy.gates_of(stage):
            _refuse(f"stages[{place}].gates", "have a gate that decides in each stage", stage.gates)
        paired = [gate.name for gate in policy.deciding if gate.measure.kind == "paired" and not gate.when_given]
        for name in paired:
            if stage.kind in ("canary", "bake") and name in policy.gates_of(stage):
                expected = f"judge pairs of answers in a shadow: set when_given, or name the gates of its {stage.kind}"
                _refuse(f"stages[{place}]", expected, name)


def _check_order(policy: Policy) -> None:
    """Refuse stages in an order in which somebody would leave the candidate while it goes forward."""
    share, full = 0, False
    for place, stage in enumerate(policy.stages):
        where, said = f"stages[{place}]", show_share(stage.share)
        if full:
            _refuse(where, "end with its bake", stage.title)
        if stage.kind == "shadow" and share:
            _refuse(where, "have its shadows before its canaries", stage.title)
        if stage.kind == "canary" and stage.share <= share:
            _refuse(f"{where}.share", f"raise the share of each canary; {show_share(share)} came before", said)
        if stage.share + policy.ab_share > BUCKETS:
            _refuse(f"{where}.share", f"leave room for ab_share, {show_share(policy.ab_share)}", said)
        share, full = max(share, stage.share), stage.kind == "bake"


def _refuse(key: str, expected: str, got: object, hint: str = "") -> NoReturn:
    message = f"A promotion policy must {expected}, got {str(got)[:80]!r}. {hint}".rstrip()
    raise SettingsInvalid(message, key=key)
