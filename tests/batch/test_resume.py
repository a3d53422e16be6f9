"""A run that was cut short: the next attempt does what is left, with the version that the first began with."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from twinscore.batch.checkpoint import SHARDS, begin_shard, finished_shards
from twinscore.batch.drive import Pool
from twinscore.batch.plan import plan_shards
from twinscore.batch.read import open_run
from twinscore.batch.resume import pinned_version
from twinscore.batch.run import run_version
from twinscore.batch.shard import ShardJob, score_shard
from twinscore.batch.snapshot import take_snapshot
from twinscore.batch.spec import ScoreSpec
from twinscore.batch.staging import interrupted_runs
from twinscore.bundle.files import Bundle
from twinscore.clock import FixedClock
from twinscore.errors import PredictFailed, StoreConflict
from twinscore.settings import Settings

from .conftest import change, make_input, model_version, staging_folder, workers_here, write_rows

SHARD_ROWS = 500


class Workers:
    """Workers in this process that die before the n-th shard, and remember what they scored."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.dies_at = dies_at
        self.scored: list[int] = []

    @contextlib.contextmanager
    def __call__(self, settings: Settings) -> Iterator[Pool]:
        """Be the run's workers."""
        with workers_here(settings) as pool:

            def counted(shards: Any, repeated: Any, bundle: Bundle, job: ShardJob) -> Iterator[Any]:
                for shard in shards:
                    if len(self.scored) == self.dies_at:
                        raise KeyboardInterrupt
                    self.scored.append(shard.number)
                    yield from pool([shard], repeated, bundle, job)

            yield counted


class Bench:
    """Attempts at one output."""

    def __init__(self, settings: Settings, bundle: Bundle, data: Path, out: Path) -> None:
        self.settings, self.bundle, self.out = settings, bundle, out
        self.spec = ScoreSpec(model="demo@champion", input=str(data), output=str(out), shard_rows=SHARD_ROWS)
        self.clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))

    def attempt(self, dies_at: int | None = None, version: str = "1", *, restart: bool = False) -> Workers:
        """Try once, an hour after the last time."""
        workers = Workers(dies_at)
        spec = ScoreSpec(
            model=self.spec.model, input=self.spec.input, output=self.spec.output, shard_rows=SHARD_ROWS,
            restart=restart,
        )  # fmt: skip
        with contextlib.suppress(KeyboardInterrupt):
            run_version(
                self.settings, spec, model_version(self.bundle, version), self.bundle, clock=self.clock, workers=workers
            )
        self.clock.advance(3_600)
        return workers


@pytest.fixture
def bench(settings: Settings, bundle: Bundle, data: Path, tmp_path: Path) -> Bench:
    """Six shards of three files."""
    return Bench(settings, bundle, data, tmp_path / "out")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


@pytest.mark.parametrize("dies_at", [0, 1, 4, 5])
def test_the_next_attempt_does_what_is_left(bench: Bench, dies_at: int, tmp_path: Path) -> None:
    """Finished shards are not scored again, and the run has the bytes of one that was never cut short."""
    first, second = bench.attempt(dies_at), bench.attempt()
    run = open_run(bench.out)
    made, manifest = contents(bench.out), run.manifest
    bench.out.rename(tmp_path / "resumed")
    bench.clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    bench.attempt()

    n_shards = len([name for name in made if name.startswith("part-")])
    assert (dies_at, n_shards) == (len(first.scored), len(first.scored) + len(second.scored))
    assert not set(first.scored) & set(second.scored)
    assert 3_000 == manifest["rows_in"]
    assert (dies_at > 0) == (manifest["rows_kept"] > 0)
    assert contents(bench.out) == made


def test_rows_that_share_a_key_across_attempts(bench: Bench, data: Path) -> None:
    """A repeated key is found whichever attempt scored its rows; only the shards that hold one are scored again."""
    for day in (0, 2):
        table = make_input(seed=day)
        write_rows(data / f"day-{day}.parquet", change(table, "row_id", {7: "twice"}))
    bench.attempt(dies_at=4)
    second = bench.attempt()
    lines = open_run(bench.out).quarantine().to_pylist()

    assert [("twice", "day-0.parquet", 7), ("twice", "day-2.parquet", 7)] == [
        (line["row_id"], line["file"], line["row"]) for line in lines
    ]
    # Nine shards: the first attempt did 0 to 3; row 7 of day 2 is in shard 6.
    assert [4, 5, 6, 7, 8, 0, 6] == second.scored


def test_a_part_that_was_damaged_is_scored_again(bench: Bench) -> None:
    """What does not have its checksum any more is not trusted."""
    bench.attempt(dies_at=3)
    (staging,) = bench.out.parent.glob(".out.*[0-9a-f]")
    part = staging / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    second = bench.attempt()

    assert 1 in second.scored
    open_run(bench.out).verify()


def test_a_moved_alias_does_not_mix_versions(bench: Bench) -> None:
    """The reference is pinned to the version of the first attempt; under another name it would be another run."""
    bench.attempt(dies_at=2, version="1")
    pinned = pinned_version(bench.spec)
    other = ScoreSpec(model="demo/2", input=bench.spec.input, output=bench.spec.output)

    assert ("demo/1", None) == (pinned, pinned_version(other))
    assert pinned_version(ScoreSpec(model="demo@champion", input="x", output=str(bench.out), restart=True)) is None


def test_another_run_in_the_way_is_refused_by_its_differences(bench: Bench, data: Path) -> None:
    """Another version or input does not go on with what the first left; every difference is named."""
    bench.attempt(dies_at=2)
    write_rows(data / "day-3.parquet", make_input(seed=3))

    with pytest.raises(StoreConflict) as caught:
        bench.attempt(version="2")

    assert "version: 2 here, 1 there" in str(caught.value)
    assert "input snapshot: " in str(caught.value)
    assert "restart: true" in str(caught.value)
    assert 1 == len(interrupted_runs(bench.out))


def test_restart_begins_another_run(bench: Bench) -> None:
    """With restart, what the interrupted run left is dropped."""
    bench.attempt(dies_at=2)
    second = bench.attempt(version="2", restart=True)

    assert "2" == open_run(bench.out).manifest["version"]
    assert len(second.scored) == len(set(second.scored)) > 2
    assert {"out", "data", "home"} >= {path.name for path in bench.out.parent.iterdir()}


def test_other_packages_do_not_go_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of one run are written by one version of each package that decides their bytes."""
    bench.attempt(dies_at=2)
    monkeypatch.setattr("twinscore.batch.run.installed", lambda name: "9.9.9")

    with pytest.raises(StoreConflict, match=r"xgboost: 9\.9\.9 here, "):
        bench.attempt()


def test_a_shard_that_kills_its_workers_ends_the_run(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """After ten tries the shard is named, with its rows, and the run fails instead of going on for ever."""
    shard = plan_shards(take_snapshot(data, bundle.contract.schema, contract="c"), SHARD_ROWS)[1]
    folder = staging_folder(tmp_path / "data")
    for _ in range(10):
        begin_shard(folder, shard)

    with pytest.raises(PredictFailed, match=r"Shard 1 \(.* of day-0.parquet .*was begun 10 times"):
        begin_shard(folder, shard)


def test_a_worker_that_outlived_its_attempt_writes_nothing(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """When another attempt holds the folder, a late worker gives its shard up."""
    shards = plan_shards(take_snapshot(data, bundle.contract.schema, contract="c"), SHARD_ROWS)
    folder = tmp_path / ".out.run"
    folder.mkdir()
    staging_folder(folder)
    (tmp_path / ".out.run.lock").write_text("2 second")
    job = ShardJob(str(folder), (("row_id", "string"),), {"model": "m"}, attempt="1 first")

    with pytest.raises(StoreConflict, match="gives shard 0 up"):
        score_shard(shards[0], bundle, job)

    assert {} == finished_shards(folder, shards, threads=1)
    assert [] == [path.name for path in folder.rglob("*") if path.is_file()]


def test_results_survive_the_disk(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """What a shard leaves says the same when it is read back."""
    shards = plan_shards(take_snapshot(data, bundle.contract.schema, contract="c"), SHARD_ROWS)
    folder = staging_folder(tmp_path / "data")
    job = ShardJob(str(folder), (("row_id", "string"),), {"model": "m"})
    made = {shard.number: score_shard(shard, bundle, job) for shard in shards[:2]}
    (folder / SHARDS / "00007.json").write_text(json.dumps({"number": 7}))

    assert made == finished_shards(folder, shards, threads=2)
