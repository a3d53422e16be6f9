"""Evidence of a rollout: what every replica has counted, added up look by look; decides nothing.

    scrape = Scrape(settings, "loans", baseline="3")
    evidence = scrape.look(routing)      # every few seconds; all since the first look, of all replicas

Replicas count from their start and never forget, so a look takes what was added since the look before, replica by
replica. One that is killed takes with it what it counted since the last look, and no more; the one that follows it
counts anew under another incarnation. What was counted before the first look does not belong to the rollout.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog

from twinscore.clock import SystemClock
from twinscore.control.deaths import Deaths
from twinscore.control.replicas import Replicas
from twinscore.errors import SchemaMismatch
from twinscore.online.serve_config import processes_of
from twinscore.rollout.evidence import ArmEvidence, Evidence, Histogram, PairEvidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from twinscore.clock import Clock
    from twinscore.online.serve_config import Processes
    from twinscore.ports.listener_roster import ListenerRoster
    from twinscore.rollout.evidence import Role
    from twinscore.rollout.routing import Routing
    from twinscore.settings import Settings

__all__ = ["Scrape"]

_log = structlog.get_logger("twinscore.control")


@dataclass(frozen=True, slots=True)
class _Told:
    """What one replica has counted since it started, by its own numbers for each counter."""

    incarnation: str
    age_s: float
    edges: Mapping[str, Sequence[float]]
    arms: Mapping[int, ArmEvidence]
    pairs: Mapping[int, PairEvidence]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> _Told:
        """Read what `/evidence` answers; raises SchemaMismatch, KeyError or TypeError when it is something else."""
        return cls(
            document["incarnation"],
            document["age_s"],
            document["edges"],
            {one["counter"]: ArmEvidence.from_json(one["evidence"]) for one in document["arms"]},
            {one["counter"]: PairEvidence.from_json(one["evidence"]) for one in document["pairs"]},
        )


class Scrape:
    """Looks at the replicas of one model during one rollout.

    Args:
        settings: home of the roster and of the key.
        model: a served model.
        baseline: the version that the others are compared with; its bins are those of all scores.
        known: what was known of the rollout before this process; None for nothing.
        roster: where listeners are; None for the one of the settings.
        processes: what Serve says of applications.
        clock: for the time of the evidence.
    """

    def __init__(
        self,
        settings: Settings,
        model: str,
        *,
        baseline: str,
        known: Evidence | None = None,
        roster: ListenerRoster | None = None,
        processes: Callable[[Iterable[str]], Mapping[str, Processes]] = processes_of,
        clock: Clock | None = None,
    ) -> None:
        self.evidence = known or Evidence()
        """All that is known; save it with the rollout, and hand it to the next process as `known`."""
        self._model = model
        self._baseline = baseline
        self._replicas = Replicas(settings, model, roster)
        self._processes = processes
        self._clock = clock or SystemClock()
        self._began_s: float | None = None
        self._edges: tuple[float, ...] | None = None
        self._seen: dict[str, _Told] = {}
        self._deaths: dict[str, Deaths] = {}
        self._ends: Counter[tuple[str, Role]] = Counter()

    def look(self, routing: Routing) -> Evidence:
        """Take what was added since the look before, and return all that is known.

        Args:
            routing: in force; names the applications whose processes are watched.

        Raises:
            StoreUnavailable: the roster cannot be read.
        """
        if self._began_s is None:
            self._began_s = self._clock.monotonic_s()
        answers = self._replicas.ask("evidence", lambda answer: _told(answer.json()), self._clock.now())
        told = [one for _, answer in answers if answer is not None for one in answer]
        if self._edges is None and told:
            self._edges = _edges(self._baseline, self.evidence, told)
        found = self.evidence
        for one in told:
            found = found.merged(self._added(one))
        self._look_for_ends(routing)
        stale = [one.replica for one, answer in answers if answer is None]
        self.evidence = replace(
            self._with_ends(found),
            at=self._clock.now(),
            replicas=sum(answer is not None for _, answer in answers),
            stale=tuple(sorted(stale)),
        )
        return self.evidence

    def close(self) -> None:
        """End connections and threads."""
        self._replicas.close()

    def _added(self, now: _Told) -> Evidence:
        """Return what an incarnation has counted since the look before, in the bins of the baseline."""
        before = self._seen.get(now.incarnation)
        if before is None:
            before = now if self._older(now.age_s) else replace(now, arms={}, pairs={})
        self._seen[now.incarnation] = now
        found = Evidence()
        for number, arm in now.arms.items():
            new = arm.minus(before.arms[number]) if number in before.arms else arm
            found = found.merged(Evidence(arms=(replace(new, scores=self._rebinned(new.scores)),)))
        for number, pair in now.pairs.items():
            fresh = pair.minus(before.pairs[number]) if number in before.pairs else pair
            found = found.merged(Evidence(pairs=(fresh,)))
        return found

    def _older(self, age_s: float) -> bool:
        """Tell whether a replica has counted since before the first look."""
        assert self._began_s is not None
        return age_s > self._clock.monotonic_s() - self._began_s

    def _rebinned(self, scores: Histogram) -> Histogram:
        """Return scores in the bins of the rollout; those counted in bins that cannot be joined are left out."""
        assert self._edges is not None
        try:
            return scores.coarsened(self._edges)
        except SchemaMismatch:
            return Histogram.empty(self._edges)

    def _look_for_ends(self, routing: Routing) -> None:
        """Count the processes that ended unasked, of every version that the routing names."""
        watched: dict[str, tuple[str, Role]] = {
            self._model: (routing.live.version, "live"),
            **{one.app: (one.version, one.mode) for one in routing.challengers},
            **{one.app: (one.version, "shadow") for one in routing.shadows},
        }
        try:
            processes = self._processes(watched)
        except Exception as error:  # noqa: BLE001 - a controller that is away tells at the next look
            _log.warning("serve_does_not_tell", model=self._model, error=f"{type(error).__name__}: {str(error)[:200]}")
            return
        self._deaths = {app: self._deaths.get(app) or Deaths() for app in watched if app in processes}
        for app, deaths in self._deaths.items():
            self._ends[watched[app]] += deaths.look(processes[app])

    def _with_ends(self, found: Evidence) -> Evidence:
        """Add the ends that were counted, once it is known in which bins scores are."""
        if self._edges is None:
            return found
        for (version, role), count in self._ends.items():
            arm = ArmEvidence(version=version, role=role, restarts=count, scores=Histogram.empty(self._edges))
            found = found.merged(Evidence(arms=(arm,))) if count else found
        self._ends.clear()
        return found


def _told(document: Mapping[str, Any]) -> list[_Told]:
    """Return what a replica has counted, and what the processes of its shadows have."""
    return [_Told.from_json(one) for one in (document, *document.get("beside", ()))]


def _edges(baseline: str, known: Evidence, told: Sequence[_Told]) -> tuple[float, ...]:
    """Return the edges of the rollout's scores: those it had before, else the baseline's; none when nobody knows it."""
    if known.arms:
        return known.arms[0].scores.edges
    return next((tuple(one.edges[baseline]) for one in told if baseline in one.edges), ())
