"""A load around what full service can answer, and a step far over it; writes benchmarks/results/ladder.json.

    python benchmarks/ladder.py [--boundary-s 600] [--step-s 60] [--factor 2] [--leave-s 60] [--out FILE]

One replica's own way in (listener, gateway, audit log, ladder) in a process of its own, without Ray. The live version
is made expensive, because the forests of this library are not: each of its rows takes 4 ms of the processor more. A
plain forest stands in for it. Capacity is what the replica's own figures say of full service at a small load. The
client sends at a rate whatever comes back, first at random rates from 0.9 to 1.1 of the capacity, then a calm load, a
step, and calm again until full service is back. Client and replica share the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from open_loop import open_loop

from twinscore.audit.places import model_folder
from twinscore.audit.reader import read_model
from twinscore.contract.rows import table_to_rows
from twinscore.online.cheaper import CheapEndpoint
from twinscore.online.degrade_spec import DegradeSpec
from twinscore.online.endpoint import Endpoint
from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.ladder_watch import LadderWatch
from twinscore.online.spec import AuditPolicy
from twinscore.settings import Settings
from twinscore.testing.models import make_bundle, make_rows
from twinscore.wiring import listener_roster

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.online.answer import Prediction

RESULTS = Path(__file__).parent / "results" / "ladder.json"
MODEL = "members"
TREES, FEW_TREES, COSTS_S = 100, 10, 0.004
SPEC = DegradeSpec(version="2", p99_ms=50.0, after_s=5.0, leave_s=60.0)
CALM, SEGMENT_S, CONNECTIONS = 0.3, 20.0, 64


class Costly(Endpoint):
    """A version whose score takes some milliseconds of the processor."""

    def _score_row(self, position: int, row: Mapping[str, Any], *, flagged: bool) -> Prediction:
        until = time.perf_counter() + COSTS_S
        while time.perf_counter() < until:
            pass
        return super()._score_row(position, row, flagged=flagged)


def replica(folder: Path, leave_s: float) -> None:
    """Answer until standard input ends, and print what the replica sees of itself, once a second."""
    settings = Settings(home=folder / "home")
    from twinscore.bundle.files import read_bundle

    gateway = Gateway(MODEL, Costly(read_bundle(folder / "full"), model=MODEL, version="1"))
    cheap = CheapEndpoint(read_bundle(folder / "few"), model=MODEL, version="2")
    front = Front(gateway, settings, listener_roster(settings), replica="r1", audit=AuditPolicy(reserve_mb=1))
    spec = replace(SPEC, leave_s=leave_s)
    watch = LadderWatch(gateway, spec, spec.rules(None), front.listener, lake=settings.lake, cheap=cheap)
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set())).start()
    while not over.wait(1.0):
        load = front.listener.load.state(3)
        said = {"at": time.time(), "port": front.listener.port, **watch.facts(), **load._asdict()}
        sys.stdout.write(f"{json.dumps(said)}\n")  # in one piece: the log is written there, too
        sys.stdout.flush()
    watch.close()
    front.close()


class Replica:
    """The other process, and everything that it said."""

    def __init__(self, folder: Path, leave_s: float) -> None:
        self.seen: list[dict[str, Any]] = []
        command = [sys.executable, __file__, "--replica", str(folder), "--leave-s", str(leave_s)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        while not self.seen:
            if self._process.poll() is not None:
                message = "The replica did not start."
                raise SystemExit(message)
            time.sleep(0.1)

    def since(self, at: float) -> list[dict[str, Any]]:
        """Return the seconds since a time."""
        return [one for one in list(self.seen) if one["at"] >= at]

    def end(self) -> None:
        """End it in order."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._thread.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # beside it goes the log
                self.seen.append(json.loads(line))


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Measure the boundary, the step and the way back."""
    rows = table_to_rows(make_rows("binary", 400, seed=9).drop_columns(["label"]))
    bodies = [json.dumps(row).encode() for row in rows]
    running = Replica(folder, given.leave_s)
    url = f"http://127.0.0.1:{running.seen[0]['port']}/{MODEL}/predict"
    try:
        open_loop(url, bodies, 40, 6, CONNECTIONS)
        calm = running.seen[-1]
        capacity = calm["answered_s"] / calm["busy"]
        found: dict[str, Any] = {"capacity_per_s": round(capacity, 1)}

        chance, began, sent = random.Random(1), time.time(), []
        while time.time() - began < given.boundary_s:
            factor = chance.uniform(0.9, 1.1)
            seconds = min(SEGMENT_S, given.boundary_s)
            sent.append({"factor": round(factor, 2), **open_loop(url, bodies, factor * capacity, seconds, CONNECTIONS)})
        found["boundary"] = phase(running.since(began), sent)

        print("boundary", json.dumps(found["boundary"]), flush=True)
        found["calm"] = until_full(running, url, bodies, CALM * capacity)
        stepped = time.time()
        load = open_loop(url, bodies, given.factor * capacity, given.step_s, CONNECTIONS)
        found["step"] = {"factor": given.factor, **phase(running.since(stepped), [load])}
        found["step"] |= in_time(running.since(stepped), stepped)
        print("step", json.dumps(found["step"]), flush=True)
        found["back"] = until_full(running, url, bodies, CALM * capacity)
    finally:
        running.end()
    records = [one.record for one in read_model(model_folder(Settings(home=folder / "home").lake, MODEL))]
    found["log"] = {
        "records_200": sum(one.status == 200 for one in records),
        "degraded_rows": sum(len(one.outputs) for one in records if one.degraded),
        "counted_rows": running.seen[-1]["rows"],
        "degraded_of_another_version": sum(one.degraded and one.version != "2" for one in records),
        "unmarked_of_the_cheap_version": sum(one.version == "2" and not one.degraded for one in records),
    }
    return found


def phase(seconds: list[dict[str, Any]], sent: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how often the share changed, and what the client got."""
    status: dict[str, int] = {}
    for one in sent:
        for name, counts in one["status"].items():
            status[name] = status.get(name, 0) + counts["count"]
    shares = [one["share"] for one in seconds]
    return {
        "seconds": round(seconds[-1]["at"] - seconds[0]["at"], 1),
        "changes": seconds[-1]["changes"] - seconds[0]["changes"],
        "steps_back": sum(new < old for old, new in pairwise(shares)),
        "shares": [share for place, share in enumerate(shares) if not place or share != shares[place - 1]],
        "over_seconds": sum(one["p99_ms"] > SPEC.rules(None).p99_ms for one in seconds),
        "status": status,
        "otherwise": sum(count for name, count in status.items() if name not in {"200", "503"}),
    }


def in_time(seconds: list[dict[str, Any]], began: float) -> dict[str, Any]:
    """Return when the first answers were labelled, and after when the p99 was within the bound."""
    bound = SPEC.rules(None).p99_ms
    labelled = [one["at"] for one in seconds if one["share"]]
    over = [one["at"] for one in seconds if one["p99_ms"] > bound]
    return {
        "labelled_after_s": round(labelled[0] - began, 1) if labelled else None,
        "p99_within_bound_after_s": round(max(over) - began + 1, 1) if over else 0.0,
        "p99_ms_at_the_end": seconds[-1]["p99_ms"],
    }


def until_full(running: Replica, url: str, bodies: list[bytes], rate: float) -> dict[str, Any]:
    """Send a calm load until full service is back, and return how long that took; at most a quarter of an hour."""
    began, sent = time.time(), []
    while time.time() - began < 900:
        sent.append(open_loop(url, bodies, rate, 5, CONNECTIONS))
        if running.seen[-1]["level"] == "normal":
            break
    back = [one["at"] for one in running.since(began) if not one["share"]]
    return {"full_after_s": round(back[0] - began, 1) if back else None, **phase(running.since(began), sent)}


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boundary-s", type=float, default=600.0)
    parser.add_argument("--step-s", type=float, default=60.0)
    parser.add_argument("--factor", type=float, default=2.0)
    parser.add_argument("--leave-s", type=float, default=SPEC.leave_s)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--replica", type=Path)
    given = parser.parse_args()
    if given.replica is not None:
        replica(given.replica, given.leave_s)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_bundle(folder / "full", "binary", trees=TREES)
        make_bundle(folder / "few", "binary", trees=FEW_TREES)
        found = measure(folder, given)
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "costs_ms": COSTS_S * 1e3}
    spec = {"p99_ms": SPEC.p99_ms, "after_s": SPEC.after_s, "leave_s": given.leave_s, "leave_below": SPEC.leave_below}
    given.out.write_text(json.dumps({"machine": machine, "degrade": spec, **found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
