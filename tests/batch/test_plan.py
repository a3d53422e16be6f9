"""The cut of an input into shards."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from twinscore.batch.plan import Shard, plan_shards
from twinscore.batch.snapshot import InputFile, Snapshot

FILES = st.lists(st.lists(st.integers(0, 50), max_size=6), min_size=1, max_size=8)


def snapshot_of(groups: list[list[int]]) -> Snapshot:
    return Snapshot(tuple(InputFile(f"/in/{n}", str(n), 100, tuple(rows), "f") for n, rows in enumerate(groups)))


@given(FILES, st.integers(1, 120))
def test_every_row_lies_in_one_shard_in_order(groups: list[list[int]], target: int) -> None:
    """Shards put end to end are the input: nothing lost, nothing twice."""
    shards = plan_shards(snapshot_of(groups), target)
    planned = [
        (piece.name, row) for shard in shards for piece in shard.pieces
        for row in range(piece.first_row, piece.first_row + piece.rows)
    ]  # fmt: skip

    assert [(str(n), row) for n, rows in enumerate(groups) for row in range(sum(rows))] == planned
    assert list(range(len(shards))) == [shard.number for shard in shards]


@given(FILES, st.integers(1, 120))
def test_pieces_name_the_row_groups_that_hold_their_rows(groups: list[list[int]], target: int) -> None:
    """A piece's row groups hold exactly the rows that it says."""
    for shard in plan_shards(snapshot_of(groups), target):
        for piece in shard.pieces:
            rows = groups[int(piece.name)]
            assert sum(rows[: piece.first_group]) == piece.first_row
            assert sum(rows[piece.first_group : piece.end_group]) == piece.rows


@given(FILES, st.integers(1, 120))
def test_shards_are_no_larger_than_asked(groups: list[list[int]], target: int) -> None:
    """Only a row group larger than the target makes a shard larger than the target."""
    for shard in plan_shards(snapshot_of(groups), target):
        assert shard.rows <= target or len(shard.pieces) == 1


def test_small_files_share_a_shard() -> None:
    """A thousand files of a few rows are not a thousand tasks."""
    assert len(plan_shards(snapshot_of([[10]] * 1000))) == 1


@given(FILES)
def test_shard_travels_as_json(groups: list[list[int]]) -> None:
    """What a task is sent is what was planned."""
    for shard in plan_shards(snapshot_of(groups)):
        assert shard == Shard.from_plain(json.loads(json.dumps(shard.to_plain())))
