"""Work that is done in stages, for one call or for several side by side; knows nothing of what is done.

The work of a call is an iterator: None after each stage, at last what came of it. Side by side, each stage is done for
every call before the next one is for any. The code of a stage is in the processor's caches for all but the first call
then; a call by itself drives out in each stage what the one before it has brought in. With calls of one row that is a
sixth of a replica's time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["finish", "side_by_side"]


def finish(stages: Iterator[Any]) -> Any:
    """Do all stages of one call and return what came of it.

    >>> finish(iter((None, None, "scored")))
    'scored'
    """
    return [*stages][-1]


def side_by_side(each: Sequence[Iterator[Any]]) -> list[Any]:
    """Do the stages of several calls in turns and return what came of each, in their order.

    >>> side_by_side([iter((None, "a")), iter(("b",)), iter((None, None, "c"))])
    ['a', 'b', 'c']
    """
    came = [next(stages) for stages in each]
    left = [*range(len(came))]
    while left := [place for place in left if came[place] is None]:
        for place in left:
            came[place] = next(each[place])
    return came
