"""Drives one model: looks at the registry, Serve and the evidence, takes one step, saves it, makes the world follow.

The step is saved before anything is done, and what is to be done follows from what was saved. So whoever is killed at
any point goes on where it was, and nothing is done twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from twinscore.clock import SystemClock
from twinscore.control.stage_evidence import StageEvidence
from twinscore.control.traffic import Converged, Traffic
from twinscore.errors import SettingsInvalid, StoreConflict, TwinscoreError
from twinscore.online.routes import current_routing
from twinscore.rollout.evidence import Evidence
from twinscore.rollout.policy import Policy
from twinscore.rollout.seen import Command, Seen
from twinscore.rollout.state import ModelState
from twinscore.rollout.step import step
from twinscore.rollout.wanted import wanted_checks, wanted_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twinscore.clock import Clock
    from twinscore.control.candidate import Candidates
    from twinscore.control.mirror import Mirror
    from twinscore.control.stage_evidence import Labels, Source
    from twinscore.ports.rollout_store import ControlStore, Lease, Stored
    from twinscore.rollout.state import Rollout

__all__ = ["Reconciler"]

_log = structlog.get_logger("twinscore.control")


class Reconciler:
    """One model under control; `turn` is called again and again, by one thread at a time.

    Args:
        model: its name.
        store: where state, ledger, holds and commands are kept.
        mirror: the model's aliases and tags in the registry.
        candidates: looks at versions before anybody is asked to trust them.
        traffic: what Serve does for the model.
        policy_of: returns the newest policy of a model.
        source_of: returns where the evidence of a rollout comes from, given what was known of it.
        labels: where outcomes come from; None for nowhere.
        clock: tells the time.
    """

    def __init__(
        self,
        model: str,
        *,
        store: ControlStore,
        mirror: Mirror,
        candidates: Candidates,
        traffic: Traffic,
        policy_of: Callable[[str], Policy],
        source_of: Callable[[Rollout, Evidence | None], Source],
        labels: Labels | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.model = model
        self._store = store
        self._mirror = mirror
        self._candidates = candidates
        self._traffic = traffic
        self._policy_of = policy_of
        self._source_of = source_of
        self._labels = labels
        self._clock = clock or SystemClock()
        self._policy = Policy.default(model)
        self._converged = Converged(None)
        self._watch: StageEvidence | None = None
        self.trouble = ""
        """What went wrong in the last turn, in words for whoever looks; empty when nothing did."""

    def turn(self, lease: Lease) -> bool:
        """Look, step, save and make the world follow; return whether another turn should come at once.

        Raises:
            StoreConflict: somebody else acts for this model now.
            StoreUnavailable: the control's own store does not answer; nothing was changed.
        """
        self.trouble = ""
        stored = self._store.rollouts.load(self.model)
        state, known = _opened(self.model, stored)
        policy = self._newest_policy()
        commands = self._store.commands.take(self.model)
        orders = {one.id: _command(one.document) for one in commands}
        seen = self._look(state, policy, tuple([one for one in orders.values() if isinstance(one, Command)]), known)
        if stored is None and seen.live is None:
            return False  # nothing is served and nothing is known, so there is nothing to drive yet
        stepped = step(state, policy, seen, self._clock.now())
        drafts = stepped.drafts
        said = _outcomes(orders, stepped.answers)
        changed = stepped.state != state
        if changed or drafts or said:
            self._store.rollouts.save(
                self.model, self._document(stepped.state), revision=0 if stored is None else stored.revision,
                lease=lease, drafts=drafts, done=said,
            )  # fmt: skip
        for draft in drafts:
            _log.info(draft.kind, model=self.model, version=draft.to_version, reason=draft.reason)
        self._forget(state, stepped.state)
        self._follow(stepped.state, lease)
        return stepped.moved or bool(commands)

    def look(self) -> None:
        """Look at the registry now, for somebody hints that something changed there."""
        self._mirror.look()

    def close(self) -> None:
        """End connections and the mirror."""
        self._mirror.close()
        self._end_watch()

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _look(
        self, state: ModelState, policy: Policy, commands: tuple[Command, ...], known: Mapping[str, Any] | None
    ) -> Seen:
        """Return what is known now; what cannot be looked at is left out, which is never taken for good news."""
        live = self._traffic.look()
        aliases, moved, self.trouble = self._mirror.reading()
        wanted = wanted_checks(state, away=aliases is None)
        checks = {version: self._candidates.look(self.model, version) for version in wanted}
        rollout = state.rollout
        verdicts, requests = self._watched(rollout, policy, known)
        failed = self._converged.failed or {}
        coming = "" if rollout is None else rollout.version
        return Seen(
            aliases=aliases,
            moved=moved,
            live=live,
            candidate=None if rollout is None else checks.get(rollout.version),
            beside=checks,
            verdicts=verdicts,
            requests=requests,
            ready=self._converged.ready,
            failed=failed.get(coming, ""),
            given_up={version: why for version, why in failed.items() if version != coming},
            holds=self._store.holds.held(),
            commands=commands,
        )

    def _watched(
        self, rollout: Rollout | None, policy: Policy, known: Mapping[str, Any] | None
    ) -> tuple[tuple[Any, ...], int]:
        if self._watch is not None and (rollout is None or rollout.id != self._watch.rollout_id):
            self._end_watch()
        if rollout is None or rollout.status == "checking":
            return (), 0
        routing = current_routing(self.model)
        if routing is None:
            return (), 0
        if rollout.policy_digest != policy.digest:
            policy = Policy.from_json(rollout.policy)
        if self._watch is None:
            mine = known if known is not None and known.get("rollout") == rollout.id else None
            evidence = None if mine is None else Evidence.from_json(mine["all"])
            self._watch = StageEvidence(rollout, self._source_of(rollout, evidence), mine, self._labels)
        try:
            return self._watch.look(rollout, policy, routing)
        except TwinscoreError as error:
            self.trouble = f"The evidence could not be read: {error.message}"
            return (), 0

    def _follow(self, state: ModelState, lease: Lease) -> None:
        """Make Serve and the registry follow a state that is saved."""
        digests = self._digests(state)
        try:
            self._converged = self._traffic.converge(wanted_plan(state, self._policy), digests, term=lease.epoch)
        except StoreConflict:
            raise
        except (TwinscoreError, RuntimeError, TimeoutError) as error:
            self._converged = Converged(self._converged.live)
            self.trouble = f"Serve did not follow: {error}"
            _log.warning("serve_not_followed", model=self.model, error=str(error)[:500])
        self._mirror.want(state)

    def _digests(self, state: ModelState) -> dict[str, str]:
        found = {}
        for version in (state.challenger, state.shadow):
            checked = None if version is None else self._candidates.look(self.model, version)
            if checked is not None and checked.fit:
                found[checked.version] = checked.digest
        if state.rollout is not None and state.rollout.digest:
            found[state.rollout.version] = state.rollout.digest
        return found

    def _forget(self, before: ModelState, now: ModelState) -> None:
        """Look anew at a version that is asked for again."""
        asked = {one.version for alias, one in now.asked.items() if before.asked.get(alias) != one}
        for version in asked | (set(wanted_checks(now)) - set(wanted_checks(before))):
            self._candidates.forget(self.model, version)

    def _newest_policy(self) -> Policy:
        try:
            self._policy = self._policy_of(self.model)
        except SettingsInvalid as error:
            self.trouble = f"The newest policy cannot be used, so the one before counts: {error.message}"
            _log.warning("policy_not_read", model=self.model, error=error.message)
        return self._policy

    def _document(self, state: ModelState) -> dict[str, Any]:
        watch = self._watch
        mine = watch is not None and state.rollout is not None and watch.rollout_id == state.rollout.id
        return {"state": state.to_json(), "evidence": watch.to_json() if watch is not None and mine else None}


def _opened(model: str, stored: Stored | None) -> tuple[ModelState, Mapping[str, Any] | None]:
    if stored is None:
        return ModelState(model=model), None
    return ModelState.from_json(stored.document["state"]), stored.document.get("evidence")


def _command(document: Mapping[str, Any]) -> Command | str:
    """Return a command, or why it is none."""
    try:
        return Command.from_json(document)
    except SettingsInvalid as error:
        return f"refused: {error.message}"


def _outcomes(orders: Mapping[str, Command | str], answers: Sequence[str]) -> dict[str, str]:
    """Return what became of each order: what the step answered to its command, or why it is none."""
    left = iter(answers)
    return {order: next(left) if isinstance(one, Command) else one for order, one in orders.items()}
