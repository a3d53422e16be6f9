"""Simulated traffic of a rollout: two versions asked at the same time, noise in clumps, and faults; judges nothing.

Time goes in steps of one look. Each call has an entity, whose hash decides the version for the whole rollout, and whose
score is its own. What makes latency and errors lumpy has a length in seconds and hits whatever comes meanwhile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from twinscore.rollout.assign import BUCKETS
from twinscore.rollout.entity_groups import GROUPS, EntityGroups
from twinscore.rollout.evidence import (
    LATENCY_EDGES_MS,
    ArmEvidence,
    Evidence,
    Histogram,
    Moments,
    PairEvidence,
    Role,
)
from twinscore.rollout.memory_trend import FloorSeries

Floats = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int64]
FAULTS = ("errors", "slow", "shifted", "leak", "slow_leak", "crash_loop")
SLOW_LEAK_MB_PER_S = 0.25
"""That a process with a slow leak loses whether it is asked or not: 900 MB an hour, so 256 MB take 17 minutes."""
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
EDGES_MS = np.array(LATENCY_EDGES_MS)
ENTITIES = 50_000
DECIDES_AT = 0.35
WEEK_S = 7 * 86_400.0


@dataclass
class Arm:
    """One version in one stage: what was counted, and the noise of its own."""

    version: str
    role: Role
    rng: np.random.Generator
    replicas: int = 1
    fault: str = ""
    calls: int = 0
    failed: int = 0
    latency: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(EDGES_MS) + 1, dtype=np.int64))
    scores: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(20, dtype=np.int64))
    approved: int = 0
    groups: Groups = field(default_factory=lambda: np.zeros(GROUPS, dtype=np.int64))
    places: Groups = field(default_factory=lambda: np.zeros(GROUPS, dtype=np.int64))
    squares: int = 0
    restarts: int = 0
    memory_mb: float = 15.0
    leaked_mb: float = 0.0
    series: FloorSeries | None = None
    drift: float = 0.0
    down_until_s: float = 0.0
    trouble_until_s: float = 0.0

    def answer(
        self, at_s: float, took_s: float, scores: Floats, load: float, edges: Floats, cost_mb: float,
        groups: Groups | None = None,
    ) -> int:  # fmt: skip
        """Count calls that come during a look; return how many of them went wrong.

        Args:
            at_s: when the look began.
            took_s: how long it is.
            scores: of the entities asked for, (n,).
            load: of the machine, for both versions; multiplies latency.
            edges: of the score's bins.
            cost_mb: what a leaking version loses with each call.
            groups: of the entities asked for, (n,); None where entities are not divided.
        """
        rng, n = self.rng, len(scores)
        came_s = at_s + took_s * rng.random(n)
        failed = rng.random(n) < 0.001
        failed |= self._trouble(at_s, took_s, came_s) & (rng.random(n) < 0.3)
        failed |= self._down(at_s, took_s, came_s)
        if self.fault == "errors":
            failed |= rng.random(n) < 0.10
        self.drift = 0.6 * self.drift + 0.12 * rng.standard_normal()
        latency = 5.0 * load * np.exp(self.drift + 0.35 * rng.standard_normal(n))
        tail = rng.random(n) < 0.01
        latency[tail] *= np.minimum(200.0, 1.0 + rng.pareto(1.5, int(tail.sum())))
        latency += self._pauses(at_s, took_s, came_s)
        if self.fault == "slow":
            latency += 100.0
        if self.fault == "shifted":
            scores = np.minimum(1.0, scores + 0.1)
        if self.fault == "leak":
            self.leaked_mb += cost_mb * n
        if self.fault == "slow_leak":
            self.leaked_mb += SLOW_LEAK_MB_PER_S * took_s
        taken_mb = 15.0 + 25.0 * rng.random() + self.leaked_mb
        self.memory_mb = max(self.memory_mb, taken_mb)
        if self.series is None:
            self.series = FloorSeries(f"{self.role} {self.version}", at_s)
        self.series.add(at_s + took_s, taken_mb)
        good = ~failed
        self.calls += n
        self.failed += int(failed.sum())
        self.latency += np.bincount(np.searchsorted(EDGES_MS, latency[good]), minlength=len(self.latency))
        places = np.searchsorted(edges, scores[good])
        self.scores += np.bincount(places, minlength=len(self.scores))
        if groups is not None:
            self.groups += np.bincount(groups[good], minlength=GROUPS)
            self.places += np.bincount(groups[good], places, GROUPS).astype(np.int64)
            self.squares += int(places @ places)
        self.approved += int((scores[good] > DECIDES_AT).sum())
        if self.fault in ("slow", "shifted"):
            return int(good.sum())
        return int(failed.sum()) if self.fault in ("errors", "crash_loop") else 0

    def _trouble(self, at_s: float, took_s: float, came_s: Floats) -> npt.NDArray[np.bool_]:
        """Once in ten minutes something that a version leans on fails for about a second."""
        if self.rng.random() < took_s / 600.0:
            start = at_s + took_s * self.rng.random()
            self.trouble_until_s = start + self.rng.exponential(1.0)
            return (came_s >= start) & (came_s < self.trouble_until_s)
        return came_s < self.trouble_until_s

    def _down(self, at_s: float, took_s: float, came_s: Floats) -> npt.NDArray[np.bool_]:
        """A process ends once a week, in a crash loop every ten seconds, and its share is not answered for five."""
        every_s = 10.0 if self.fault == "crash_loop" else WEEK_S
        gone = came_s < self.down_until_s
        start = max(at_s, self.down_until_s) + self.rng.exponential(every_s)
        while start < at_s + took_s:
            self.restarts += 1
            self.down_until_s = start + 5.0
            gone |= (came_s >= start) & (came_s < self.down_until_s)
            start = self.down_until_s + self.rng.exponential(every_s)
        return gone & (self.rng.random(len(came_s)) < 1.0 / self.replicas)

    def _pauses(self, at_s: float, took_s: float, came_s: Floats) -> Floats:
        """Once in two minutes a replica stands still for some tenths of a second; what comes meanwhile waits."""
        waits = np.zeros(len(came_s))
        for _ in range(int(self.rng.poisson(self.replicas * took_s / 120.0))):
            start, length = at_s + took_s * self.rng.random(), min(3.0, self.rng.exponential(0.3))
            hit = (came_s >= start) & (came_s < start + length) & (self.rng.random(len(came_s)) < 1.0 / self.replicas)
            waits[hit] += 1_000.0 * (start + length - came_s[hit])
        return waits

    def evidence(self, edges: Floats) -> ArmEvidence:
        """Return what was counted so far."""
        good = self.calls - self.failed
        return ArmEvidence(
            version=self.version, role=self.role, calls=self.calls, rows=self.calls,
            failed={"error": self.failed} if self.failed else {},
            latency_ms=Histogram(LATENCY_EDGES_MS, tuple(self.latency.tolist())),
            scores=Histogram(tuple(edges.tolist()), tuple(self.scores.tolist())), score=Moments(good, 0.0, 0.0),
            decisions={"approve": self.approved, "refuse": good - self.approved}, review_rows=good // 20,
            restarts=self.restarts, memory_mb=self.memory_mb,
            groups=EntityGroups(tuple(self.groups.tolist()), tuple(self.places.tolist()), self.squares),
            memory_trends=() if self.series is None or self.series.newest is None else (self.series.newest,),
        )  # fmt: skip


class Traffic:
    """The entities of one rollout, and who gets what while it runs."""

    def __init__(self, seed: int, rate: float) -> None:
        self.rng = np.random.default_rng(seed)
        self.rate, self.load = rate, 0.0
        self.scores = self.rng.beta(2.0, 4.0, ENTITIES)
        self.buckets = self.rng.integers(0, BUCKETS, ENTITIES)
        self.groups = np.random.default_rng([seed, 1]).integers(0, GROUPS, ENTITIES)
        activity = self.rng.lognormal(0.0, 1.0, ENTITIES)
        self.upto = np.cumsum(activity / activity.sum())
        self.edges = np.quantile(self.scores, np.arange(1, 20) / 20)

    def look(self, at_s: float, took_s: float, share: int) -> tuple[Groups, Groups, float]:
        """Return the entities asked of live and of the candidate, and the load, whose waves take half a minute."""
        self.load = 0.85 * self.load + 0.13 * self.rng.standard_normal()
        tide = 1.0 + 0.2 * math.sin(at_s / 300.0)
        n = int(self.rng.poisson(self.rate * took_s * tide))
        who = np.minimum(np.searchsorted(self.upto, self.rng.random(n)), ENTITIES - 1)
        mine = self.buckets[who] < share
        return who[~mine], who[mine], math.exp(self.load)


def evidence_of(arms: list[Arm], edges: Floats, seconds: float) -> Evidence:
    """Return what a stage showed so far; a shadow sees what live sees, so every row of it is a pair."""
    pairs = tuple(
        PairEvidence(version=arm.version, n=arm.calls - arm.failed, flips=_flips(arm, arms[0]))
        for arm in arms
        if arm.role == "shadow"
    )
    told = tuple(arm.evidence(edges) for arm in arms)
    return Evidence(arms=told, pairs=pairs, at=BEGAN + timedelta(seconds=seconds), replicas=2)


def _flips(arm: Arm, live: Arm) -> int:
    """Return how many decisions differ at least: scores of one row move in one direction only."""
    good, live_good = arm.calls - arm.failed, max(1, live.calls - live.failed)
    return round(good * abs(arm.approved / max(1, good) - live.approved / live_good))
