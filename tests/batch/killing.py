"""Runs in a process of their own that are killed somewhere: what test_kill.py and `make chaos` share.

A model and data of one's own take the built-in one's place: CHAOS_DATA is Parquet with the columns of the contract
of CHAOS_BUNDLE, the folder of a bundle (TWINSCORE_HOME/lake/bundles/<digest>).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinscore.batch.manifest import committed_run
from twinscore.batch.snapshot import find_files
from twinscore.bundle.files import read_bundle
from twinscore.scoring.table import SCORE_SCHEMA

TARGETS = ("driver", "worker", "raylet")
_STEPS = {
    "driver": ("snapshot", "start", "score", "score", "score", "keys", "commit"),
    "worker": ("score",),
    "raylet": ("score", "score", "score", "keys"),
}
"""When each of them lives, and so can be killed; most of a run is scoring."""

DRIVER = """
import json, sys
from pathlib import Path
from twinscore.batch.progress import Reporter
from twinscore.batch.run import run_version
from twinscore.batch.spec import ScoreSpec
from twinscore.bundle.files import read_bundle
from twinscore.ports.model_store import ModelVersion
from twinscore.settings import load_settings

home, bundle, data, out, shard_rows = sys.argv[1:]
bundle = read_bundle(Path(bundle))
spec = ScoreSpec(model="demo", input=data, output=out, shard_rows=int(shard_rows))
def tell(event):
    print(json.dumps([event.step, event.rows_done]), flush=True)
run_version(load_settings(home=home, num_cpus=2), spec, ModelVersion("demo", "1", (), bundle.digest, "", None), bundle,
            reporter=Reporter(tell))
"""


TWO_NODES = """
import os, signal
import ray
from ray.cluster_utils import Cluster
head = {"num_cpus": 1, "include_dashboard": False}
cluster = Cluster(initialize_head=True, shutdown_at_exit=False, head_node_args=head)
second = cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
scored = 0
def told(event):
    global scored
    tell(event)
    scored += event.step == "score"
    if scored == 6:
        os.kill(second.all_processes["raylet"][0].process.pid, signal.SIGKILL)
        scored += 1
        print("killed the second node", flush=True)
"""
AFTER_TWO_NODES = """
ray.shutdown()
for node in (second, cluster.head_node):
    node.kill_all_processes(check_alive=False, allow_graceful=False)
# Ray's own farewell would complain of the killed node.
os._exit(0)
"""
"""TWO_NODES is put before the run: a Ray of two raylets, one of which is killed at the sixth word of progress."""


@dataclass
class Attempts:
    """Attempts at one run, each killed once, until one ends by itself."""

    home: Path
    bundle: Path
    data: Path
    out: Path
    shard_rows: int
    killed: list[tuple[str, str]] = field(default_factory=list)
    """What was killed, and at which step."""
    begun_with: list[int] = field(default_factory=list)
    """How many rows were done when the first shard of each attempt was; its own are among them.

    An attempt that has nothing left to score has no part in it.
    """

    def on_two_nodes(self) -> tuple[int, str]:
        """Run the driver on two raylets of which one is killed midway; return the exit code and what was said."""
        before, run = DRIVER.split("run_version(load_settings", 1)
        script = before + TWO_NODES + "run_version(load_settings" + run.replace("Reporter(tell)", "Reporter(told)")
        script += AFTER_TWO_NODES
        done = subprocess.run(
            self._command(script), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False
        )
        return done.returncode, done.stdout

    def _command(self, script: str) -> list[str]:
        given = [str(self.home), str(self.bundle), str(self.data), str(self.out), str(self.shard_rows)]
        return [sys.executable, "-c", script, *given]

    def once(self, target: str | None = None, step: str = "score", after: int = 0) -> int:
        """Run the driver and kill `target` when it tells `step` for the (after + 1)th time; return the exit code."""
        # Ray misses a raylet after five periods; the default is 3 s.
        environment = {**os.environ, "RAY_DEDUP_LOGS": "0", "RAY_health_check_period_ms": "500"}
        with subprocess.Popen(
            self._command(DRIVER), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as driver:
            assert driver.stdout is not None
            lines: list[str] = []
            begun = False
            for line in driver.stdout:
                lines.append(line)
                if not begun and (rows := _rows_scored(line)):
                    self.begun_with.append(rows)
                    begun = True
                if target is None or not line.startswith(f'["{step}"'):
                    continue
                if after:
                    after -= 1
                    continue
                victim = driver.pid if target == "driver" else _child(driver.pid, target)
                if victim is not None:
                    os.kill(victim, signal.SIGKILL)
                    self.killed.append((target, step))
                    target = None
            code = driver.wait(timeout=120)
        if code and target is None and not self.killed:
            print("".join(lines[-20:]))
        return code

    def until_done(self, seed: int, kills: int) -> None:
        """Kill at random places, `kills` times at most, then let the run end."""
        dice = random.Random(seed)
        for _ in range(kills):
            target = dice.choice(TARGETS)
            step = dice.choice(_STEPS[target])
            if self.once(target, step, dice.randrange(12) if step == "score" else 0) == 0:
                break
        assert self.once() == 0


class Watching:
    """A reader that looks at a folder all the time, and remembers every number of rows that it saw."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watching:
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            files = sorted(self.folder.glob("part-*.parquet"))
            self.seen.add(sum(pq.ParquetFile(file).metadata.num_rows for file in files))


def attempts_at_own_data(folder: Path, shards: int = 30) -> Attempts | None:
    """Return attempts at the model and data that the environment names; None where it names none."""
    data, bundle = os.environ.get("CHAOS_DATA"), os.environ.get("CHAOS_BUNDLE")
    if not data or not bundle:
        assert not data, "CHAOS_DATA needs CHAOS_BUNDLE, the folder of the bundle that scores it"
        return None
    # In files of a few row groups: a row group is the smallest thing that a worker scores.
    place = folder / "data"
    place.mkdir()
    files = [pq.read_table(path) for path in find_files(Path(data).absolute())]
    table = pa.concat_tables(files)
    rows = -(-table.num_rows // shards)
    for number in range(3):
        size = -(-table.num_rows // 3)
        pq.write_table(table.slice(number * size, size), place / f"part-{number}.parquet", row_group_size=rows)
    return Attempts(folder / "home", Path(bundle).absolute(), place, folder / "out", rows)


def input_keys(attempts: Attempts) -> list[str]:
    """Return every key of the input, in order, as text."""
    names = list(read_bundle(attempts.bundle).contract.key)
    return sorted(key for path in sorted(attempts.data.glob("*.parquet")) for key in _keys(pq.read_table(path), names))


def keys_of(folder: Path) -> list[str]:
    """Return every key that a run scored or refused, in order, as text; a refused row counts once."""
    manifest = committed_run(folder)
    assert manifest is not None
    assert manifest["rows_in"] == manifest["rows_scored"] + manifest["rows_quarantined"]
    keys = []
    for part in manifest["files"]:
        table = pq.read_table(folder / part["name"])
        if "/" in part["name"]:
            lines = table.append_column("line", pa.array(range(table.num_rows)))
            first = lines.group_by(["file", "row"]).aggregate([("line", "min")])["line_min"]
            table = table.take(first)
        keys += _keys(table, manifest["key"])
    return sorted(keys)


def scores_of(folder: Path) -> pa.Table:
    """Return key and scores of a run, in the order of its input: the same in every run, whatever was killed."""
    manifest = committed_run(folder)
    assert manifest is not None
    names = [part["name"] for part in manifest["files"] if "/" not in part["name"]]
    return pa.concat_tables(
        [pq.read_table(folder / name, columns=[*manifest["key"], *SCORE_SCHEMA.names]) for name in names]
    ).combine_chunks()


def _keys(table: pa.Table, names: list[str]) -> list[str]:
    columns = [pc.fill_null(table[name].cast(pa.string()), "null") for name in names]
    found: list[str] = (columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, ", ")).to_pylist()
    return found


def _rows_scored(line: str) -> int:
    """Return how many rows a word of progress says are done; 0 where it is another word."""
    return int(json.loads(line)[1]) if line.startswith('["score"') else 0


def _child(driver: int, target: str) -> int | None:
    """Return the driver's raylet, or one of its workers that score."""
    for pid in _below(driver):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if target == "raylet" and "/raylet/raylet" in command.split("\0")[0]:
            return pid
        if target == "worker" and command.startswith("ray::MapWorker"):
            return pid
    return None


def _below(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from _below(child)


__all__ = ["TARGETS", "Attempts", "Watching", "attempts_at_own_data", "input_keys", "keys_of", "scores_of"]
