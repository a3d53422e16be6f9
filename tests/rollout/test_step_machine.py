"""Any order of moves, verdicts, commands, holds and kills: what always holds, and where it ends when it is quiet."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from twinscore.rollout.hold import Hold
from twinscore.rollout.policy import Policy
from twinscore.rollout.seen import Seen
from twinscore.rollout.stage import Stage
from twinscore.rollout.state import ModelState, Rollout
from twinscore.rollout.step import step
from twinscore.rollout.turn import in_force
from twinscore.rollout.wanted import wanted_plan
from twinscore.testing.promotion import SHORT_POLICY, PromotionWorld, settled_world

VERSIONS = ("1", "2", "3", "4")
POLICIES = (
    SHORT_POLICY,
    replace(SHORT_POLICY, stages=()),
    replace(SHORT_POLICY, stages=(*SHORT_POLICY.stages[:2], Stage(kind="approve", name="yes", at_most_s=30.0))),
    replace(SHORT_POLICY, rollback_window=0, stages=(replace(SHORT_POLICY.stages[1], on_deadline="pause"),)),
)
versions = st.sampled_from(VERSIONS)
aliases = st.sampled_from(("champion", "challenger", "shadow"))
outcomes = st.sampled_from(("pass", "fail", "inconclusive"))


class Promotions(RuleBasedStateMachine):
    """One model, its people, and a control that is killed now and then."""

    world: PromotionWorld
    before: ModelState
    wish: str
    """What a person put `champion` on last; empty when they took it away, or commanded since."""

    @initialize(policy=st.sampled_from(POLICIES))
    def begin(self, policy: Policy) -> None:
        """Version 1 is live under one of the policies."""
        self.world = settled_world(policy)
        self.before = self.world.state
        self.wish = ""

    @rule(version=versions, alias=aliases)
    def move(self, version: str, alias: str) -> None:
        """A person moves an alias."""
        if alias == "champion" and self.world.aliases.get(alias) != version:
            self.wish = version
        self.world.aliases[alias] = version

    @rule(alias=aliases)
    def remove(self, alias: str) -> None:
        """A person removes an alias."""
        self.world.aliases.pop(alias, None)
        self.wish = "" if alias == "champion" else self.wish

    @rule(version=versions)
    def take_serving(self, version: str) -> None:
        """Somebody moves the alias that is the platform's own."""
        self.world.aliases["serving"] = version

    @rule(version=versions, outcome=outcomes)
    def judge(self, version: str, outcome: str) -> None:
        """The gates find something else of a version."""
        self.world.verdicts[version] = outcome  # type: ignore[assignment]

    @rule(version=versions, sound=st.booleans())
    def break_bundle(self, version: str, sound: bool) -> None:
        """A bundle loses its contract, or is whole again."""
        self.world.unsound = {one: why for one, why in self.world.unsound.items() if one != version}
        if not sound:
            self.world.unsound[version] = "contract: the bundle has none"

    @rule(version=versions, digest=st.sampled_from(("e" * 64, "f" * 64)))
    def register_anew(self, version: str, digest: str) -> None:
        """The model is deleted and made anew, and a number names another bundle."""
        self.world.digests[version] = digest

    @rule(up=st.booleans(), apps=st.booleans(), requests=st.sampled_from((0, 40, 10_000)))
    def weather(self, up: bool, apps: bool, requests: int) -> None:
        """The registry, the applications and the traffic come and go."""
        self.world.registry_up, self.world.apps_up, self.world.requests_a_tick = up, apps, requests

    @rule(version=versions, immediate=st.booleans())
    def promote(self, version: str, immediate: bool) -> None:
        """A person asks for a version by command."""
        self.world.command("promote", version=version, immediate=immediate)
        self.wish = ""

    @rule(name=st.sampled_from(("rollback", "abort", "pause", "resume", "approve")))
    def command(self, name: str) -> None:
        """A person commands something else."""
        self.world.command(name)  # type: ignore[arg-type]
        self.wish = "" if name in ("rollback", "abort") else self.wish

    @rule(held=st.booleans())
    def hold(self, held: bool) -> None:
        """Everything is held, or no more."""
        now = self.world.clock.now()
        found = Hold(id="h", scope="*", reason="drift", owner="bob", source="person", created_at=now)
        self.world.holds = [found] if held else []

    @rule(seconds=st.sampled_from((0.1, 2.0, 40.0)), killed=st.booleans(), ticks=st.integers(1, 4))
    def tick(self, seconds: float, killed: bool, ticks: int) -> None:
        """Some steps are taken; the control may be killed after each was saved."""
        for _ in range(ticks):
            self._step(seconds, killed=killed)

    @rule()
    def set_back(self) -> None:
        """The clock is set back by an hour."""
        self.world.clock.advance(-3_600)

    @rule()
    def crash_loop(self) -> None:
        """The candidate dies again and again."""
        self.world.failed = "it died five times"
        self._step(2.0, killed=False)
        self.world.failed = ""

    @rule()
    def quiet(self) -> None:
        """Once everything passes and nobody acts, `champion`, `serving` and what is live agree."""
        world = self.world
        world.verdicts, world.unsound, world.holds = {}, {}, []
        self.weather(up=True, apps=True, requests=10_000)
        world.command("resume")
        for _ in range(40):
            if world.state.rollout is not None and world.state.rollout.waits.startswith("waits for the approval"):
                world.command("approve")
            if world.state.paused_by:
                world.command("resume")
            self._step(2.0, killed=False)
        live = world.state.live

        assert (None, None, None) == (world.state.rollout, world.state.settling, world.state.put_back)
        assert (live, live) == (world.routing and world.routing.live, world.aliases["serving"])
        assert world.aliases.get("champion") in (None, live)
        assert self.wish in ("", live)

    def _step(self, seconds: float, *, killed: bool) -> None:
        world = self.world
        self.before, named = world.state, world.aliases.get("champion")
        seen, policy = world.seen(), in_force(world.state, world.policy)
        drafts = world.tick(seconds, killed=killed)
        state = world.state
        ended = [one for one in drafts if one.kind in ("live", "rolled_back", "refused", "aborted", "superseded")]
        begun = [one for one in drafts if one.kind == "started"]
        ended = [one for one in ended if one.rollout_id]

        assert len(ended) + len(begun) <= 1
        assert (before_id(self.before) is not None and before_id(state) is None) == bool(ended)
        if named != world.aliases.get("champion"):
            assert named != self.wish or named in state.refused
            self.wish = ""
        self._forward(policy, seen, state.rollout)
        seen = replace(seen, commands=(), moved={})
        read_back = ModelState.from_json(state.to_json())
        assert step(state, world.policy, seen, world.clock.now()) == step(
            read_back, world.policy, seen, world.clock.now()
        )

    def _forward(self, policy: Policy, seen: Seen, now: Rollout | None) -> None:
        """Check that a stage was left forward on proof only."""
        was = self.before.rollout
        if was is None or now is None or was.id != now.id or (was.status, was.stage) == (now.status, now.stage):
            return
        behind = len(policy.stages)
        if was.status == "checking":
            assert now.digest
            assert now.stage in ((behind,) if now.skips else (0, behind))
            known = {self.before.serving_digest, self.before.digests.get(now.version)}
            assert now.stage == 0 or now.kind != "policy" or now.digest in known or not policy.stages
            return
        stage, outcomes = policy.stages[was.stage], {one.outcome for one in seen.verdicts}
        assert "fail" not in outcomes
        if now.kind == "immediate":
            assert now.stage == behind
            return
        assert now.stage == was.stage + 1
        if stage.kind == "approve":
            assert seen.commands or was.approved_by
        else:
            assert ({"pass"}, True) == (outcomes, seen.requests >= stage.requests)

    @invariant()
    def refused_versions_answer_nobody(self) -> None:
        """A refused version has no share, and is not live."""
        wanted = wanted_plan(self.world.state, self.world.policy)
        arms = [arm.version for arm in (wanted.plan.canary, wanted.plan.ab) if arm is not None]

        assert set() == {*arms, wanted.live} & set(self.world.state.refused)

    @invariant()
    def arms_are_apart(self) -> None:
        """No version is asked twice."""
        plan = wanted_plan(self.world.state, self.world.policy).plan
        named = [*plan.versions, self.world.state.live]

        assert len(named) == len(set(named))

    @invariant()
    def history_is_sound(self) -> None:
        """What one goes back to is known by its digest; the state survives being saved."""
        state = self.world.state

        assert state.serving not in state.recent
        assert len(state.recent) == len(set(state.recent))
        assert set(state.digests) == set(state.recent)
        assert state == ModelState.from_json(state.to_json())


def before_id(state: ModelState) -> str | None:
    return None if state.rollout is None else state.rollout.id


Promotions.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestPromotions = Promotions.TestCase
