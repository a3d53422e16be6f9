"""A pool of Ray Data actors that takes one small row a call and answers with JSON; knows not what is done in them.

Data goes from file to file inside a call, so that what flows through Ray, and is held in its store, stays small.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import ray

from twinscore.priority import all_give_way, give_way

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    import pyarrow as pa

__all__ = ["answers", "free_cores", "spare_cores"]

_NICE = 15
"""What Ray gives its workers where it is not told otherwise."""


def answers(
    actor: type,
    arguments: tuple[Any, ...],
    rows: Sequence[Mapping[str, Any]],
    *,
    actors: int,
    idle: bool = False,
) -> Generator[dict[str, Any], None, None]:
    """Yield the answer to each row as it comes, in no order; close it to stop what is under way.

    Args:
        actor: called with a table of one row, returns one with the JSON text `answer`.
        arguments: of its constructor.
        rows: plain values.
        actors: how many at most, one core each.
        idle: whether they work only while nobody else wants their core.

    Raises:
        ray.exceptions.RayError: an actor died.
    """
    from ray.data import ActorPoolStrategy, DataContext, from_items

    _quieten(DataContext.get_current())
    data = from_items(list(rows), override_num_blocks=len(rows)).map_batches(
        _Worker,
        batch_size=1,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=min(actors, len(rows))),
        fn_constructor_args=(actor, arguments, idle),
        num_cpus=1,
    )
    batch: Any
    for batch in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for text in batch["answer"].to_pylist():
            yield json.loads(text)


def free_cores() -> int:
    """Return how many whole cores the cluster has to spare, at least 1: a run on a busy cluster waits for one."""
    resources: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return max(int(resources.get("CPU", 1.0)), 1)


def spare_cores() -> int:
    """Return how many cores work may take that nobody waits for: half of those to spare, at least 1.

    Giving way is not enough where every core has such work: a kernel lets no one in while it does something for a
    worker, and then all replicas of a machine stall at once (see benchmarks/watch_live.py).
    """
    return max(free_cores() // 2, 1)


class _Worker:
    """What Ray makes: an actor that leaves its core to whoever answers somebody who waits, replicas on its machine."""

    def __init__(self, actor: type, arguments: tuple[Any, ...], idle: bool) -> None:
        if idle:
            all_give_way(_NICE)
        else:
            give_way(_NICE, idle=False)
        self._actor = actor(*arguments)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Answer a row."""
        found: pa.Table = self._actor(batch)
        return found


def _quieten(context: Any) -> None:
    """Leave the terminal to our own progress."""
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    for handler in logging.getLogger("ray.data").handlers:
        if handler.get_name() == "console":
            handler.setLevel(logging.ERROR)
