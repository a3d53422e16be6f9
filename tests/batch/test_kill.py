"""SIGKILL of driver, worker and raylet: the next attempt ends with every row once, and no reader sees half a run."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from twinscore.batch.manifest import committed_run
from twinscore.bundle.files import Bundle

from .conftest import change, make_input, write_rows
from .killing import TARGETS, Attempts, Watching, attempts_at_own_data, input_keys, keys_of, scores_of

ROWS = 90_000
SHARD_ROWS = 2_000


@pytest.fixture
def attempts(bundle: Bundle, tmp_path: Path) -> Attempts:
    """Forty-five shards; one row is refused, and two share a key."""
    data = tmp_path / "data"
    data.mkdir()
    for number in range(3):
        table = change(make_input(ROWS // 3, seed=number), "row_id", {9: "twice"} if number else {})
        write_rows(
            data / f"day-{number}.parquet", change(table, "age", {5: -1} if number == 1 else {}), group=SHARD_ROWS
        )
    return Attempts(tmp_path / "home", bundle.folder, data, tmp_path / "out", SHARD_ROWS)


@pytest.mark.cluster
def test_a_killed_run_is_finished_by_the_next(attempts: Attempts) -> None:
    """Driver, then raylet, then a worker: every key is there once in the end; finished shards were kept each time.

    Only a killed worker is replaced, and the run goes on.
    """
    targets = ["driver", "raylet", "worker"]
    with Watching(attempts.out) as reader:
        ended, committed = [], []
        for target in targets:
            ended.append(attempts.once(target, after=6) == 0)
            committed.append(committed_run(attempts.out) is not None)
        again = attempts.once()
    manifest = committed_run(attempts.out)
    kept = [0, *(rows - SHARD_ROWS for rows in attempts.begun_with[1:])]

    assert sorted(targets) == sorted(TARGETS)
    assert [(target, "score") for target in targets] == attempts.killed
    assert ([False, False, True], 0) == (ended, again)
    assert ended == committed
    assert manifest is not None
    assert input_keys(attempts) == keys_of(attempts.out)
    assert {0, ROWS - 3} >= reader.seen
    # At most what both workers had in hand when the run was cut short is done again.
    assert [after - before >= 4 * SHARD_ROWS for before, after in pairwise(kept)] == [True, True]
    assert manifest["rows_kept"] >= 8 * SHARD_ROWS
    assert {"data", "home", "out"} >= {path.name for path in attempts.out.parent.iterdir()}


@pytest.mark.chaos
def test_a_run_outlives_a_node(attempts: Attempts) -> None:
    """Of two raylets one is killed midway: the run goes on with the other, and every key is there once."""
    with Watching(attempts.out) as reader:
        code, said = attempts.on_two_nodes()

    assert "killed the second node" in said
    assert 0 == code, said[-2_000:]
    assert input_keys(attempts) == keys_of(attempts.out)
    assert {0, ROWS - 3} >= reader.seen


@pytest.mark.chaos
@pytest.mark.timeout(3_600)
def test_a_hundred_kills(attempts: Attempts, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Random kills at every step: each run ends whole, with the same bits.

    CHAOS_KILLS and CHAOS_SEED choose others, CHAOS_DATA and CHAOS_BUNDLE a model and data of your own.
    """
    attempts = attempts_at_own_data(tmp_path_factory.mktemp("own")) or attempts
    kills, seed = int(os.environ.get("CHAOS_KILLS", "100")), int(os.environ.get("CHAOS_SEED", "0"))
    wanted, runs, scores = input_keys(attempts), 0, None
    with Watching(attempts.out) as reader:
        while len(attempts.killed) < kills:
            attempts.until_done(seed + runs, kills=4)
            assert wanted == keys_of(attempts.out)
            made = scores_of(attempts.out)
            assert scores is None or scores.equals(made)
            scores, runs = made, runs + 1
            attempts.out.rename(attempts.out.with_name(f"done-{runs}"))
            print(f"run {runs} is whole after {len(attempts.killed)} kills", flush=True)
    print(
        f"{len(attempts.killed)} kills in {runs} runs of {len(wanted):,} rows:",
        {kill: attempts.killed.count(kill) for kill in sorted(set(attempts.killed))},
    )

    assert scores is not None
    assert {0, scores.num_rows} >= reader.seen
