"""A registry, a routing and a clock in memory, in which a promotion goes on as it would in the platform."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from twinscore.clock import FixedClock
from twinscore.rollout.candidate import Checked
from twinscore.rollout.gate import GateVerdict
from twinscore.rollout.policy import Policy
from twinscore.rollout.routing import Target
from twinscore.rollout.seen import Command, CommandName, Seen
from twinscore.rollout.stage import Stage
from twinscore.rollout.state import ModelState
from twinscore.rollout.step import step
from twinscore.rollout.turn import in_force
from twinscore.rollout.wanted import WantedRouting, wanted_checks, wanted_moves, wanted_plan, wanted_tags

if TYPE_CHECKING:
    from twinscore.rollout.hold import Hold
    from twinscore.rollout.ledger import Draft

__all__ = ["SHORT_POLICY", "PromotionWorld", "digest_for", "settled_world"]

SHORT_POLICY = Policy(
    model="loans",
    stages=(
        Stage(kind="shadow", name="shadow", sampling=10_000, requests=100, at_least_s=4.0, at_most_s=60.0),
        Stage(kind="canary", name="canary", share=500, requests=100, at_least_s=4.0, at_most_s=60.0),
        Stage(kind="canary", name="canary", share=5_000, requests=100, at_least_s=4.0, at_most_s=60.0),
        Stage(kind="bake", name="bake", requests=100, at_least_s=4.0, at_most_s=60.0),
    ),
)
"""All kinds of stages but `approve`, over within seconds."""

Outcome = Literal["pass", "fail", "inconclusive"]


def settled_world(policy: Policy = SHORT_POLICY, **said: Any) -> PromotionWorld:
    """Return a world in which version 1 is live and known to be, with an empty ledger."""
    world = PromotionWorld(policy=policy, aliases={"champion": "1"}, **said)
    world.run(4)
    world.ledger.clear()
    return world


def digest_for(version: str) -> str:
    """Return the digest that a version's bundle has in this world."""
    return version.rjust(64, "0")


@dataclass(slots=True)
class PromotionWorld:
    """One model, with everything around it; what is set here is what the next tick finds."""

    policy: Policy
    aliases: dict[str, str] = field(default_factory=dict)
    registry_up: bool = True
    live: Target | None = field(default_factory=lambda: Target(version="1", digest=digest_for("1")))
    verdicts: dict[str, Outcome] = field(default_factory=dict)
    """What each gate finds of a version; `pass` where nothing is said."""
    unsound: dict[str, str] = field(default_factory=dict)
    """Versions that are refused when they are checked, and why."""
    digests: dict[str, str] = field(default_factory=dict)
    """Of versions that were registered anew; what `digest_for` says where nothing is said."""
    failed: str = ""
    given_up: dict[str, str] = field(default_factory=dict)
    """Versions that cannot be asked beside the live one, and why."""
    requests_a_tick: int = 10_000
    holds: list[Hold] = field(default_factory=list)
    apps_up: bool = True
    clock: FixedClock = field(default_factory=lambda: FixedClock(datetime(2026, 5, 4, 12, tzinfo=UTC)))
    state: ModelState = field(init=False)
    ledger: list[Draft] = field(default_factory=list)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    routing: WantedRouting | None = None
    changes: int = 0
    """How often the routing changed."""
    _commands: list[Command] = field(default_factory=list)
    _moved: dict[str, str] = field(default_factory=dict)
    _stage: object = None
    _requests: int = 0

    def __post_init__(self) -> None:
        self.state = ModelState(model=self.policy.model)

    def command(self, name: CommandName, *, version: str = "", immediate: bool = False, actor: str = "alice") -> None:
        """Give a command that the next tick finds."""
        self.give(Command(name=name, actor=actor, reason="because", version=version, immediate=immediate))

    def give(self, command: Command) -> None:
        """Give a command as it was sent."""
        self._commands.append(command)

    def seen(self) -> Seen:
        """Return what a look finds now."""
        rollout = self.state.rollout
        version = "" if rollout is None else rollout.version
        gates = in_force(self.state, self.policy).gates
        outcome = self.verdicts.get(version, "pass")
        return Seen(
            aliases=dict(self.aliases) if self.registry_up else None,
            moved=dict(self._moved),
            live=self.live,
            candidate=self._checked(version) if rollout is not None else None,
            beside={one: self._checked(one) for one in wanted_checks(self.state, away=not self.registry_up)},
            verdicts=tuple(
                [GateVerdict(gate=gate.name, outcome=outcome, words=outcome, dry_run=gate.dry_run) for gate in gates]
            ),
            requests=self._requests,
            ready=self.apps_up and self.routing == wanted_plan(self.state, self.policy),
            failed=self.failed if rollout is not None and rollout.status != "checking" else "",
            given_up=dict(self.given_up),
            holds=tuple(self.holds),
            commands=tuple(self._commands),
        )

    def tick(self, seconds: float = 2.0, *, killed: bool = False) -> list[Draft]:
        """Take one step, save it, and do what follows, unless the control is killed in between; returns the drafts."""
        self.clock.advance(seconds)
        self._requests += self.requests_a_tick
        found = step(self.state, self.policy, self.seen(), self.clock.now())
        self._commands.clear()
        self._moved.clear()
        self.state = ModelState.from_json(json.loads(json.dumps(found.state.to_json(), sort_keys=True)))
        self.ledger.extend(found.drafts)
        rollout = self.state.rollout
        stage = rollout and (rollout.id, rollout.status, rollout.stage)
        if stage != self._stage:
            self._stage, self._requests = stage, 0
        if not killed:
            self._converge()
        return list(found.drafts)

    def run(self, ticks: int, seconds: float = 2.0) -> None:
        """Take some steps."""
        for _ in range(ticks):
            self.tick(seconds)

    def until(self, share: int, version: str = "2") -> None:
        """Take steps until a version has a share.

        Raises:
            AssertionError: it has it not within forty steps.
        """
        for _ in range(40):
            if self.share(version) == share:
                return
            self.tick()
        message = f"version {version} never had the share {share}: {self.state}"
        raise AssertionError(message)

    def kinds(self) -> list[str]:
        """Return what the ledger says happened, in one word each."""
        return [draft.kind for draft in self.ledger]

    def share(self, version: str) -> int:
        """Return for how many of the entities a version answers now, in 1/10,000."""
        if self.routing is None:
            return 0
        arms = [arm for arm in (self.routing.plan.canary, self.routing.plan.ab) if arm is not None]
        if self.routing.live == version:
            return 10_000 - sum(arm.share for arm in arms)
        return sum(arm.share for arm in arms if arm.version == version)

    def _checked(self, version: str) -> Checked:
        if not self.registry_up:
            return Checked(version=version, waiting="fetch: the registry does not answer")
        if version in self.unsound:
            return Checked(version=version, refused=self.unsound[version])
        return Checked(version=version, digest=self.digests.get(version, digest_for(version)))

    def _converge(self) -> None:
        wanted = wanted_plan(self.state, self.policy)
        if wanted != self.routing:
            self.changes += 1
        self.routing = wanted
        if wanted.live is not None and wanted.digest is not None and not self.failed:
            self.live = Target(version=wanted.live, digest=wanted.digest)
        if self.registry_up:
            for move in wanted_moves(self.state, self.aliases):
                if self.aliases.get(move.alias) == move.expected:
                    self.aliases[move.alias] = self._moved[move.alias] = move.version
            self.tags = wanted_tags(self.state)
