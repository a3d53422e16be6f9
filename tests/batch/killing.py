"""Runs in a process of their own that are killed somewhere: what test_kill.py and `make chaos` share."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from twinscore.batch.manifest import committed_run

TARGETS = ("driver", "worker", "raylet")

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
        environment = {**os.environ, "RAY_DEDUP_LOGS": "0"}
        with subprocess.Popen(
            self._command(DRIVER), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as driver:
            assert driver.stdout is not None
            lines = []
            for line in driver.stdout:
                lines.append(line)
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
            step = dice.choice(["snapshot", "start", "score", "score", "score", "score", "keys", "commit"])
            if self.once(dice.choice(TARGETS), step, dice.randrange(12) if step == "score" else 0) == 0:
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


def keys_of(folder: Path) -> list[str]:
    """Return every key that a run scored or refused, in order."""
    manifest = committed_run(folder)
    assert manifest is not None
    assert manifest["rows_in"] == manifest["rows_scored"] + manifest["rows_quarantined"]
    names = [part["name"] for part in manifest["files"]]
    return sorted(
        key for name in names for key in pq.read_table(folder / name, columns=["row_id"])["row_id"].to_pylist()
    )


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


__all__ = ["TARGETS", "Attempts", "Watching", "keys_of"]
