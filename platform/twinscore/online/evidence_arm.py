"""Counts of one version in one role, taken where its answers pass; cheap, because requests pay for them.

Whoever has an answer hands it over: the gateway for the live version, a caller for a challenger, a mirror's ask for a
shadow. Threads and loops share a counter, so each takes its lock.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from twinscore.online.endpoint import FEW_ROWS
from twinscore.rollout.entity_groups import GROUPS, EntityGroups
from twinscore.rollout.evidence import (
    DIFF_EDGES,
    LATENCY_EDGES_MS,
    ArmEvidence,
    Histogram,
    Moments,
    PairEvidence,
    Role,
)
from twinscore.rollout.memory_trend import joined

if TYPE_CHECKING:
    import pyarrow as pa

    from twinscore.online.answer import Prediction
    from twinscore.online.asked import Outcome
    from twinscore.online.mirrored import LiveRow
    from twinscore.rollout.memory_trend import MemoryTrend

__all__ = ["ArmBook", "PairBook"]

_LATENCY_EDGES_NS = [edge * 1e6 for edge in LATENCY_EDGES_MS]


class ArmBook:
    """Counts one version in one role; see `ArmEvidence` for what each count is.

    Args:
        version: of the answers.
        role: what it is to its callers.
        edges: of the scores' bins, ascending.
    """

    def __init__(self, version: str, role: Role, edges: Sequence[float]) -> None:
        self.version = version
        self.role: Role = role
        self._edges = tuple(edges)
        self._lock = threading.Lock()
        self._calls = self._rows = self._refused = self._missing = self._review = 0
        self._failed: dict[str, int] = {}
        self._latency = [0] * (len(_LATENCY_EDGES_NS) + 1)
        self._answer = [0] * (len(_LATENCY_EDGES_NS) + 1)
        self._scores = [0] * (len(self._edges) + 1)
        self._score_total = self._score_squares = 0.0
        self._score_n = self._width_n = 0
        self._width_total = self._width_squares = 0.0
        self._decisions: dict[str | None, int] = {}
        self._group_n, self._group_total, self._squares = [0] * GROUPS, [0] * GROUPS, 0
        self._memory_mb: float | None = None
        self._trends: tuple[MemoryTrend, ...] = ()

    def answered(self, outcome: Outcome, took_ns: int, groups: Sequence[int] | None = None) -> None:
        """Count what the live version made of a request; `groups` as in `scored`."""
        if outcome.predictions is not None:
            self.scored(outcome.predictions, took_ns, groups=groups)
        else:
            assert outcome.table is not None
            assert outcome.scored is not None
            self._scored_table(outcome.table.num_rows, outcome.scored, groups)

    def scored(
        self,
        predictions: Sequence[Prediction],
        took_ns: int,
        answer_ns: int | None = None,
        groups: Sequence[int] | None = None,
    ) -> None:
        """Count a call that was answered.

        Args:
            predictions: one per row; a refused row carries its errors.
            took_ns: of scoring alone; counted where every version scores rows one by one: tables take another time.
            answer_ns: from asking to the answer, where the two differ.
            groups: of the rows' entities, one per row; None where nobody divides entities.
        """
        n_rows = len(predictions)
        with self._lock:
            self._calls += 1
            self._rows += n_rows
            for at, one in enumerate(predictions):
                score = one.score
                if score is None:
                    self._refused += 1
                    continue
                if score == score:
                    place = bisect_left(self._edges, score)
                    self._scores[place] += 1
                    if groups is not None:
                        group = groups[at]
                        self._group_n[group] += 1
                        self._group_total[group] += place
                        self._squares += place * place
                    self._score_n += 1
                    self._score_total += score
                    self._score_squares += score * score
                else:
                    self._missing += 1
                decision = one.decision
                self._decisions[decision] = self._decisions.get(decision, 0) + 1
                if one.review:
                    self._review += 1
                doubt = one.uncertainty
                if doubt is not None and (width := doubt.value) is not None and width == width:
                    self._width_n += 1
                    self._width_total += width
                    self._width_squares += width * width
            if 0 < n_rows <= FEW_ROWS and one.source != "cache":
                self._latency[bisect_left(_LATENCY_EDGES_NS, took_ns / n_rows)] += 1
            if answer_ns is not None:
                self._answer[bisect_left(_LATENCY_EDGES_NS, answer_ns)] += 1

    def failed(self, reason: str, n_rows: int, *, counted: bool = False) -> None:
        """Count a call without a usable answer; `counted` when it was counted as answered before."""
        with self._lock:
            if not counted:
                self._calls += 1
                self._rows += n_rows
            self._failed[reason] = self._failed.get(reason, 0) + 1

    def refused(self, n_rows: int, n_refused: int) -> None:
        """Count a call of which every row was left unscored, because the contract refused some."""
        with self._lock:
            self._calls += 1
            self._rows += n_rows
            self._refused += n_refused

    def takes(self, grown_mb: float, trend: MemoryTrend | None = None) -> None:
        """Note the memory of one of its processes, beyond what it had when it was ready, and how it grew."""
        if trend is not None and trend not in self._trends:
            with self._lock:
                self._trends = joined(self._trends, (trend,))
        if self._memory_mb is None or grown_mb > self._memory_mb:
            self._memory_mb = grown_mb

    def read(self) -> ArmEvidence:
        """Return the counts so far."""
        with self._lock:
            return ArmEvidence(
                version=self.version,
                role=self.role,
                calls=self._calls,
                failed=dict(self._failed),
                rows=self._rows,
                refused_rows=self._refused,
                latency_ms=Histogram(LATENCY_EDGES_MS, tuple(self._latency)),
                answer_ms=Histogram(LATENCY_EDGES_MS, tuple(self._answer)),
                scores=Histogram(self._edges, tuple(self._scores), self._missing),
                score=Moments(self._score_n, self._score_total, self._score_squares),
                decisions={name: count for name, count in self._decisions.items() if name is not None},
                review_rows=self._review,
                width=Moments(self._width_n, self._width_total, self._width_squares),
                groups=EntityGroups(tuple(self._group_n), tuple(self._group_total), self._squares),
                memory_mb=self._memory_mb,
                memory_trends=self._trends,
            )

    def _scored_table(self, n_rows: int, scored: pa.Table, groups: Sequence[int] | None) -> None:
        """Count a call that was answered as a table: (n_accepted, SCORE_SCHEMA) of n_rows.

        Its groups are counted when every row has a score: of a part, it is not known here which.
        """
        import pyarrow.compute as pc

        values, missing = _numbers(scored.column("score"))
        places = np.searchsorted(self._edges, values, side="left")
        bins = np.bincount(places, minlength=len(self._scores)).tolist()
        grouped = groups is not None and len(groups) == len(places)
        if grouped:
            group_of = np.array(groups, dtype=np.intp)
            sums = np.bincount(group_of, places, GROUPS).astype(int).tolist()
            numbers = np.bincount(group_of, minlength=GROUPS).tolist()
        widths, _ = _numbers(scored.column("uncertainty"))
        counted = pc.value_counts(scored.column("decision"))
        decisions = list(zip(*[cells.to_pylist() for cells in counted.flatten()], strict=True))
        review = sum(chunk.true_count for chunk in scored.column("review").chunks)
        with self._lock:
            self._calls += 1
            self._rows += n_rows
            self._refused += n_rows - scored.num_rows
            self._missing += missing
            self._scores = [mine + its for mine, its in zip(self._scores, bins, strict=True)]
            if grouped:
                self._group_n = [mine + its for mine, its in zip(self._group_n, numbers, strict=True)]
                self._group_total = [mine + its for mine, its in zip(self._group_total, sums, strict=True)]
                self._squares += int(np.dot(places, places))
            self._score_n += len(values)
            self._score_total += float(values.sum())
            self._score_squares += float(np.dot(values, values))
            for decision, count in decisions:
                self._decisions[decision] = self._decisions.get(decision, 0) + count
            self._review += review
            self._width_n += len(widths)
            self._width_total += float(widths.sum())
            self._width_squares += float(np.dot(widths, widths))


class PairBook:
    """Counts how one shadow differs from the live version on the same rows; written by its mirror's thread alone."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.dropped: Callable[[], int] = int
        """Rows that the mirror dropped so far."""
        self._lock = threading.Lock()
        self._n = self._flips = self._up = self._down = self._failed = self._missing = 0
        self._diff = [0] * (len(DIFF_EDGES) + 1)
        self._signed_n, self._signed_total, self._signed_squares = 0, 0.0, 0.0

    def compared(self, pairs: Sequence[tuple[LiveRow, Prediction]]) -> None:
        """Count rows as the live version answered them and as the shadow did; a refused row is no pair."""
        with self._lock:
            for live, shadow in pairs:
                if live.score is None or shadow.score is None:
                    continue
                self._n += 1
                signed = shadow.score - live.score
                if live.decision != shadow.decision:
                    self._flips += 1
                    self._up += signed > 0
                    self._down += signed < 0
                if math.isnan(signed):
                    self._missing += 1
                    continue
                self._diff[bisect_left(DIFF_EDGES, abs(signed))] += 1
                self._signed_n += 1
                self._signed_total += signed
                self._signed_squares += signed * signed

    def failed(self, n_rows: int) -> None:
        """Count rows that were sent and not answered as they should be."""
        with self._lock:
            self._failed += n_rows

    def read(self) -> PairEvidence:
        """Return the counts so far."""
        dropped = self.dropped()
        with self._lock:
            return PairEvidence(
                version=self.version,
                n=self._n,
                flips=self._flips,
                flips_up=self._up,
                flips_down=self._down,
                diff=Histogram(DIFF_EDGES, tuple(self._diff), self._missing),
                signed=Moments(self._signed_n, self._signed_total, self._signed_squares),
                failed=self._failed,
                dropped=dropped,
            )


def _numbers(column: pa.ChunkedArray) -> tuple[np.ndarray, int]:
    """Return the numbers of a column, and how many of its cells are none; null is not counted."""
    values = (column.drop_null() if column.null_count else column).to_numpy()
    missing = np.isnan(values)
    n_missing = int(np.count_nonzero(missing))
    return (values[~missing] if n_missing else values), n_missing
