"""What one look at the world found: registry, routing, evidence, holds, and what people commanded; values only."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from twinscore.document import read_value
from twinscore.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.rollout.candidate import Checked
    from twinscore.rollout.gate import GateVerdict
    from twinscore.rollout.hold import Hold
    from twinscore.rollout.routing import Target

__all__ = ["Command", "CommandName", "Seen"]

CommandName = Literal["promote", "rollback", "abort", "pause", "resume", "approve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a person told the platform to do with a model."""

    name: CommandName
    actor: str
    reason: str = ""
    version: str = ""
    """Of `promote`, and of `rollback` to another version than the one before."""
    immediate: bool = False
    """Of `promote`: without the stages, for emergencies."""
    proof: str = ""
    """What shows that it is the actor who asks, such as `key h4ytk8mbw2rc`; empty where nobody was asked for a key."""

    def __post_init__(self) -> None:
        if not self.actor.strip():
            message = f"The command {self.name} needs the name of the person who gives it."
            raise SettingsInvalid(message, key="actor")
        if self.name == "promote" and not self.version:
            message = "The command promote needs the version that shall go live."
            raise SettingsInvalid(message, key="version")
        if self.immediate and self.name != "promote":
            message = f"Only promote can be immediate, {self.name} cannot."
            raise SettingsInvalid(message, key="immediate")

    @property
    def by(self) -> str:
        """Who asks, as the ledger names them: with what shows it."""
        return f"{self.actor} ({self.proof})" if self.proof else self.actor

    def to_json(self) -> dict[str, Any]:
        """Return the command as JSON values; `from_json` reads it back to an equal value."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: object) -> Command:
        """Read a command; a member that is unknown, missing or of another type is refused by name.

        Raises:
            SettingsInvalid: it is no command.
        """
        return read_value(cls, document, source="The command")

    @classmethod
    def asked(cls, document: Mapping[str, Any], *, proof: str) -> Command:
        """Read a command that somebody sent; what shows who it was is known otherwise, and not theirs to say.

        Raises:
            SettingsInvalid: it is no command.
        """
        if "proof" in document:
            message = "The command has an unknown key 'proof'; who asks is shown by the key or token alone."
            raise SettingsInvalid(message, key="proof")
        return cls.from_json({**document, "proof": proof})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known now. Nothing is assumed of what is not said: no verdict is no pass."""

    aliases: Mapping[str, str] | None = None
    """Of the model in the registry; None while it does not answer."""
    moved: Mapping[str, str] = field(default_factory=dict)
    """Aliases that the platform itself moved since the last look, and what they name since."""
    live: Target | None = None
    """What the routing in force says; None for a model that is not served."""
    candidate: Checked | None = None
    """What became of checking the version that is on its way; None as long as nothing did."""
    beside: Mapping[str, Checked] = field(default_factory=dict)
    """The same of the versions that `challenger` and `shadow` name."""
    verdicts: tuple[GateVerdict, ...] = ()
    """Of the rollout that runs, under the policy that it began with."""
    requests: int = 0
    """That the candidate was asked since the stage began."""
    ready: bool = False
    """Whether what the stage needs is in force, with all its applications up."""
    failed: str = ""
    """Why the candidate cannot be asked at all: it does not start, or dies again and again."""
    given_up: Mapping[str, str] = field(default_factory=dict)
    """Other versions that cannot be asked beside the live one, and why."""
    holds: tuple[Hold, ...] = ()
    commands: tuple[Command, ...] = ()
    """In the order in which they were given."""
