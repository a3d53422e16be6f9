"""What adds up over the batches of a shard: counts, summaries and seconds; knows no files and no Ray."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from twinscore.batch.shard_result import ShardResult
from twinscore.bundle.profile import bin_counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    from twinscore.batch.parts import PartFile
    from twinscore.bundle.files import Bundle
    from twinscore.contract.aggregate import Aggregate
    from twinscore.scoring.attribution_summary import AttributionSummary

__all__ = ["Laps", "Tally"]


@dataclass(slots=True)
class Tally:
    """The sums of one shard so far."""

    rows: int = 0
    scored: int = 0
    flagged: int = 0
    filtered: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    score_counts: Any = 0
    hashes: list[NDArray[np.uint64]] = field(default_factory=list)
    aggregate: Aggregate | None = None
    attributions: AttributionSummary | None = None
    additivity_error: float = 0.0
    seconds: Counter[str] = field(default_factory=Counter)

    def add_aggregate(self, found: Aggregate) -> None:
        """Add what the run-level rules need to know of a batch."""
        self.aggregate = found if self.aggregate is None else self.aggregate.merge(found)

    def add_scores(self, scores: pa.Table, flagged: NDArray[np.bool_], bundle: Bundle) -> None:
        """Count scores, (n_rows, SCORE_SCHEMA), in the bins of the bundle's reference profile."""
        self.scored += scores.num_rows
        self.flagged += int(np.count_nonzero(flagged))
        edges = np.array(bundle.profile["score"]["edges"], np.float64)
        self.score_counts = self.score_counts + bin_counts(scores.column("score").to_numpy(), edges)
        for item in pc.value_counts(scores.column("decision").drop_null()).to_pylist():
            self.decisions[item["values"]] += item["counts"]

    def add_explained(self, explained: pa.Table, summary: AttributionSummary) -> None:
        """Add explained rows, (n_rows, `explanation_schema`), and their summary."""
        self.attributions = summary if self.attributions is None else self.attributions.merge(summary)
        if explained.num_rows:
            largest = pc.max(explained.column("additivity_error")).as_py()
            self.additivity_error = max(self.additivity_error, largest)

    def result(
        self, number: int, parts: tuple[PartFile, ...], keys: PartFile, repeated: int, began: float
    ) -> ShardResult:
        """Return what became of the shard, now that its files are written."""
        assert self.aggregate is not None
        return ShardResult(
            number=number,
            rows_in=self.rows,
            rows_scored=self.scored,
            rows_flagged=self.flagged,
            rows_filtered=self.filtered,
            rows_repeated=repeated,
            rules=dict(self.rules),
            decisions=dict(self.decisions),
            score_counts=tuple(int(count) for count in self.score_counts),
            attributions=self.attributions.to_json() if self.attributions else None,
            additivity_error=self.additivity_error,
            aggregate=self.aggregate,
            parts=parts,
            keys=keys,
            seconds={step: round(value, 6) for step, value in self.seconds.items()},
            began=began,
            ended=time.time(),
        )


class Laps:
    """A stopwatch that adds up the seconds of named steps."""

    def __init__(self, seconds: Counter[str]) -> None:
        self._seconds = seconds
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        """Add the time since the last lap to a step."""
        now = time.perf_counter()
        self._seconds[step] += now - self._last  # type: ignore[assignment]
        self._last = now

    def around(self, step: str, items: Iterator[Any]) -> Iterator[Any]:
        """Yield the items, the time that each takes to come added to a step."""
        for item in items:
            self.lap(step)
            yield item
