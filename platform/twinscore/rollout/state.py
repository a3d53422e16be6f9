"""Where the promotion of one model stands: what is live, what is on its way, what was asked for; a value and its JSON.

What is wanted of routing and registry follows from this document alone, so whoever reads it back goes on from there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from twinscore.document import read_value

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ModelState", "PutBack", "Request", "RequestKind", "Rollout", "RolloutStatus"]

RequestKind = Literal["policy", "immediate", "rollback"]
RolloutStatus = Literal["checking", "running", "baking"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody wants live, or beside what is live."""

    version: str
    """Empty when an alias was removed."""
    kind: RequestKind = "policy"
    by: str
    """A person, or the alias that moved: the registry does not say who moved it."""
    reason: str = ""
    since: datetime
    settled: bool = False
    """Whether it counts at once; what an alias says must rest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack:
    """What the platform wants the alias `champion` to name, if nobody has moved it in the meantime."""

    version: str
    over: tuple[str | None, ...]
    """What it may name now; anything else is a person's newer wish, and stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One version on its way to become live."""

    id: str
    version: str
    digest: str = ""
    """Of its bundle; empty until it was checked."""
    was: str | None = None
    """Live when it began."""
    kind: RequestKind = "policy"
    requested_by: str
    reason: str = ""
    policy_digest: str
    policy: dict[str, Any]
    """The policy that it began with, as JSON; a file that changes meanwhile counts for the next rollout."""
    salt: str = ""
    """Divides the entities; empty keeps the one in force, so that a running A/B test keeps its people."""
    skips: bool = False
    """Whether it goes live without the stages."""
    status: RolloutStatus = "checking"
    stage: int = 0
    """Place in the policy's stages; behind the last one it only waits until every replica has swapped."""
    started_at: datetime
    stage_at: datetime
    ready_at: datetime | None = None
    """When the version was first up in this stage."""
    held_at: datetime | None = None
    """Since when it may not go forward."""
    held_s: float = 0.0
    """How long it might not go forward in this stage, before `held_at`."""
    approved_by: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    """What each stage showed when it was over."""
    waits: str = ""
    """Why it is still in this stage."""
    next: str = ""
    """What happens then."""
    requests: int = 0
    """That the candidate was asked since the stage began."""
    verdicts: tuple[dict[str, Any], ...] = ()
    """What the last look found of each gate."""

    @property
    def takes_all(self) -> bool:
        """Whether the version answers everything."""
        return self.status == "baking"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """Everything that is remembered of one model."""

    model: str
    serving: str | None = None
    """The last version that went live for good; while another one bakes, what is gone back to."""
    serving_digest: str | None = None
    recent: tuple[str, ...] = ()
    """Versions that were live before, the newest first."""
    digests: dict[str, str] = field(default_factory=dict)
    """Of the bundles of these versions, so that going back needs no registry."""
    rollout: Rollout | None = None
    settling: Request | None = None
    """The newest wish about `champion` that was not acted on."""
    challenger: str | None = None
    shadow: str | None = None
    asked: dict[str, Request] = field(default_factory=dict)
    """Moves of `challenger` and `shadow` that were not acted on."""
    named: dict[str, str] = field(default_factory=dict)
    """What `challenger` and `shadow` named when last seen."""
    champion_seen: str | None = None
    """What `champion` named when last seen."""
    put_back: PutBack | None = None
    serving_seen: tuple[str | None, ...] = (None,)
    """What `serving` may name without anybody having moved it: what the platform wrote, or is about to write."""
    refused: dict[str, str] = field(default_factory=dict)
    """Versions that get no traffic until somebody asks for them again, and why."""
    told: dict[str, str] = field(default_factory=dict)
    """Last words about other versions, for their tags."""
    compare: bool = False
    """Whether `serving` is to be compared with what the registry has under its number."""
    paused_by: str = ""
    waits: str = ""
    """Why what was asked for has not begun."""

    @property
    def previous(self) -> str | None:
        """The version that `rollback` goes to."""
        return self.recent[0] if self.recent else None

    @property
    def live(self) -> str | None:
        """The version that shall answer everything that no arm answers."""
        return self.rollout.version if self.rollout is not None and self.rollout.takes_all else self.serving

    @property
    def live_digest(self) -> str | None:
        """The digest of that version's bundle."""
        return self.rollout.digest if self.rollout is not None and self.rollout.takes_all else self.serving_digest

    @property
    def overtaking(self) -> str | None:
        """The version wished for while another one bakes, if it must be looked at before that bake ends for it."""
        wish, rollout = self.settling, self.rollout
        if wish is None or rollout is None or not rollout.takes_all:
            return None
        known = wish.kind == "rollback" and wish.version in self.digests
        return None if known or wish.version in ("", rollout.version, self.serving) else wish.version

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values; `from_json` reads it back to an equal value."""
        found = _plain(asdict(self))
        assert isinstance(found, dict)
        return found

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ModelState:
        """Read what `to_json` wrote.

        Raises:
            SettingsInvalid: it has a member that this version of twinscore does not know, or lacks one.
        """
        members = dict(document)
        model = str(members.get("model", ""))
        if members.get("rollout") is not None:
            members["rollout"] = _dated(Rollout, members["rollout"], f"The rollout of {model}")
        if members.get("settling") is not None:
            members["settling"] = _dated(Request, members["settling"], f"The request for {model}")
        members["asked"] = {
            alias: _dated(Request, one, f"The {alias} of {model}") for alias, one in members.get("asked", {}).items()
        }
        return read_value(cls, members, source=f"The promotion state of {model}")

    def with_rollout(self, **changes: Any) -> ModelState:
        """Return the state with changes to its rollout."""
        assert self.rollout is not None
        return replace(self, rollout=replace(self.rollout, **changes))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _dated(kind: type[Any], document: object, source: str) -> Any:
    """Read a value with its times, which JSON has no word for."""
    members = dict(document) if isinstance(document, dict) else {}
    for one in fields(kind):
        if "datetime" in str(one.type) and isinstance(members.get(one.name), str):
            members[one.name] = datetime.fromisoformat(members[one.name])
    return read_value(kind, members, source=source)
