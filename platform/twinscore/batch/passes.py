"""Every shard once, then again those with repeated keys: what is left to do is done, the rest is kept; no Ray.

Whether a key is repeated is known when all keys are. Most inputs have none, so the rows are scored at once, each shard
leaves the hashes of its keys, and the few shards that hold a repeated one are scored again without it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twinscore.batch.checkpoint import finished_shards
from twinscore.batch.keys import repeated_rows
from twinscore.batch.plan import Shard
from twinscore.batch.shard import score_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from twinscore.batch.drive import Pool
    from twinscore.batch.progress import Reporter
    from twinscore.batch.shard import ShardJob
    from twinscore.batch.shard_result import ShardResult
    from twinscore.bundle.files import Bundle

__all__ = ["Passes", "score_shards"]


@dataclass(frozen=True, slots=True)
class Passes:
    """What came of all shards."""

    results: tuple[ShardResult, ...]
    """One per shard, in the order of the input."""
    fresh: frozenset[int]
    """Numbers of the shards that this attempt scored."""
    rows_kept: int
    """Rows that an earlier attempt had finished."""
    rows_repeated: int
    """Rows whose key is not theirs alone; they are in quarantine."""


def score_shards(
    shards: Sequence[Shard],
    bundle: Bundle,
    job: ShardJob,
    *,
    threads: int,
    workers: Callable[[], AbstractContextManager[Pool]],
    reporter: Reporter,
) -> Passes:
    """Score what no earlier attempt finished, then again the shards in which a repeated key was found.

    Args:
        threads: files that this process reads at the same time.
        workers: where shards are scored; started only when there is something to score.

    Raises:
        TwinscoreError: the first error of a shard; what was finished is kept.
    """
    folder = Path(job.folder)
    rows = sum(shard.rows for shard in shards)
    if not shards:
        # A run over no row becomes one part without a row.
        return Passes((score_shard(Shard(0, ()), bundle, job),), frozenset(), 0, 0)
    results = finished_shards(folder, shards, threads=threads)
    kept = sum(result.rows_in + result.rows_filtered for result in results.values())
    with ExitStack() as stack:
        pool: list[Pool] = []

        def score(todo: Sequence[Shard], repeated: Mapping[int, NDArray[np.int64]], done: int, why: str) -> None:
            if not todo:
                return
            if not pool:
                reporter.step("start", rows, f"{len(todo)} of {len(shards)} shards")
                pool.append(stack.enter_context(workers()))
            reporter.step("score", rows, why)
            fresh = 0
            for result in pool[0](todo, repeated, bundle, job):
                results[result.number] = result
                fresh += result.rows_in + result.rows_filtered
                quarantined = sum(one.rows_quarantined for one in results.values())
                reporter.advance(done + fresh, rows, quarantined, fresh=fresh)

        left = [shard for shard in shards if shard.number not in results]
        score(left, {}, kept, f"{kept:,} rows were done before" if kept else "")
        reporter.step("keys", rows)
        repeated = repeated_rows(folder, shards, job.key_schema, job.recipe)
        again = [
            shard for shard in shards if results[shard.number].rows_repeated != len(repeated.get(shard.number, ()))
        ]
        done = rows - sum(shard.rows for shard in again)
        score(again, repeated, done, f"{len(again)} shards again, without rows that share a key")
    in_order = tuple(results[shard.number] for shard in shards)
    numbers = frozenset(shard.number for shard in (*left, *again))
    return Passes(in_order, numbers, kept, sum(len(positions) for positions in repeated.values()))
