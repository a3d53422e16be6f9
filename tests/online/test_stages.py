"""Stages of several calls in turns: what came of each, whatever the others do, and in which order the work is done."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from twinscore.online.stages import finish, side_by_side


def work(call: int, n_stages: int, done: list[tuple[int, int]]) -> Iterator[str | None]:
    """Note each stage; say at last whose work it was."""
    for stage in range(n_stages):
        done.append((stage, call))
        yield None
    done.append((n_stages, call))
    yield f"came of {call}"


@given(st.lists(st.integers(0, 5), max_size=20))
def test_side_by_side_every_stage_is_done_once_before_the_next(lengths: list[int]) -> None:
    """The first stage of all, then the second; each call ends with its own and is not asked again."""
    done: list[tuple[int, int]] = []
    came = side_by_side([work(call, length, done) for call, length in enumerate(lengths)])

    assert came == [f"came of {call}" for call in range(len(lengths))]
    assert done == sorted(done)
    assert len(done) == sum(length + 1 for length in lengths)


@given(st.integers(0, 5))
def test_alone_and_side_by_side_come_to_the_same(length: int) -> None:
    """One call does the same stages either way."""
    alone: list[tuple[int, int]] = []
    beside: list[tuple[int, int]] = []

    assert finish(work(0, length, alone)) == side_by_side([work(0, length, beside)])[0]
    assert alone == beside
