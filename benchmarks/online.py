"""The online path beside its peers, on one machine with the load; writes benchmarks/results/online.json.

    python benchmarks/online.py [--seconds 6] [--rounds 3] [--connections 1 8 32 64] [--place FOLDER] [--only NAME ...]

One-row JSON requests to 200 trees of depth 6 over 20 numbers. Only one server runs at a time, the ways take turns, and
the best of the rounds counts. Every answer is checked once before a server is measured. Needs wrk; peers are installed
into environments of their own under --place, and kept there. The ways:

    ceiling              uvloop, httptools and our single-row scorer, nothing else
    fastapi, granian     hand-written, one worker; fastapi_2 and granian_2 two
    kserve, mlserver, bentoml, litserve, mlflow      model servers, one worker; _2 two
    ray_serve, ray_serve_haproxy                     Ray Serve as it comes, and behind its HAProxy
    twinscore            through the edge, everything on; _2 two replicas, _no_audit, _shadow (at 100 %)
    twinscore_direct     the replica's own listener; twinscore_backup Serve's own ingress
    costs                pace, bulk requests, restart and memory; needs fastapi and twinscore
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import online_costs
from online_load import Refused, check, wrk
from online_model import Reference, flat, make_reference, read_bodies, write_bodies
from online_stack import VARIANTS, Stack, stack
from online_summary import best_rate, summary
from online_ways import WAYS, cpu_s, memory_mb, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twinscore.stack.processes import Process

RESULTS = Path(__file__).parent / "results" / "online.json"
WARM_S = 2.0
BESIDE = ("twinscore_direct", "twinscore_backup")
"""Other addresses of the same deployment."""
OURS = [*VARIANTS, *BESIDE]
FAILURES = (Refused, OSError, HTTPException, subprocess.SubprocessError, ValueError, LookupError, TypeError)
"""What a server, its installation or its answer can do; the rest is measured all the same."""
ALL = [*WAYS, *OURS, "costs"]


class Measurement:
    """One run of the command: what is measured, how, and what was found."""

    def __init__(self, given: argparse.Namespace, reference: Reference) -> None:
        self.given = given
        self.reference = reference
        self.runs: dict[str, list[dict[str, Any]]] = {}
        self.unavailable: dict[str, str] = {}
        self.costs: dict[str, Any] = {}

    def peer(self, name: str) -> None:
        """Start one peer, check it, load it and end it."""
        peer = WAYS[name]
        listed = write_bodies(self.reference, peer.form)
        with self.reported(name), served(peer, self.reference, self.given.place) as running:
            check(running.url, read_bodies(listed), self.reference.scores, peer.read, exact=False)
            found = self.load(running.url, listed, running.processes)
            found["memory_mb"] = memory_mb(running.processes())
            self._keep(name, {"start_s": round(running.start_s, 2), **found})

    def ours(self, running: Stack) -> None:
        """Load every way of twinscore that is wanted on a stack that is up."""
        for name, options in VARIANTS.items():
            same = [name, *BESIDE] if name == "twinscore" else [name]
            wanted = [one for one in same if one in self.given.only]
            if not wanted:
                continue
            with self.reported(*wanted):
                addresses = {name: running.serve(options), **dict(zip(BESIDE, running.beside(), strict=True))}
                for one in wanted:
                    with self.reported(one):
                        self._ours_at(one, addresses[one], running)

    def _ours_at(self, name: str, address: str | None, running: Stack) -> None:
        if address is None:
            message = "this version has no such address"
            raise Refused(message)
        listed = write_bodies(self.reference, flat)
        check(address, read_bodies(listed), self.reference.own_scores, online_costs.own_score, exact=True)
        found = self.load(address, listed, running.processes)
        self._keep(name, {**found, "memory_mb": running.memory_mb()["replica"]})

    def load(self, url: str, listed: Path, processes: Callable[[], list[Process]]) -> dict[str, Any]:
        """Load an address with each number of connections, and count the processor time of the server's processes."""
        found: dict[str, Any] = {}
        for connections in self.given.connections:
            wrk(url, listed, connections, min(WARM_S, self.given.seconds))
            known = processes()
            before = cpu_s(known)
            told = wrk(url, listed, connections, self.given.seconds)
            told["cpu_us"] = round((cpu_s(known) - before) / max(told["answered"], 1) * 1e6, 1)
            found[f"c{connections}"] = told
        return found

    def measure_costs(self) -> None:
        """Measure pace, bulk, restart and memory; the pace is half of what the best FastAPI does."""
        seconds, reference = self.given.seconds, self.reference
        capacity = {name: best_rate(self.runs, name, "c8") for name in ("fastapi", "fastapi_2", "twinscore")}
        fastapi = max(("fastapi", "fastapi_2"), key=lambda name: capacity[name] or 0.0)
        if not capacity[fastapi]:
            self.unavailable["costs"] = "the pace is half of what FastAPI does at 8 connections, which was not measured"
            return
        listed = write_bodies(reference, flat)
        rates = {"half_of_fastapi": (capacity[fastapi] or 0.0) / 2}
        found = self.costs
        found["booster_bulk"] = online_costs.booster_bulk(reference)
        with self.reported("pace of fastapi"), served(WAYS[fastapi], reference, self.given.place) as running:
            found["pace"] = {fastapi: online_costs.under_pace(running.url, listed, rates, seconds)}
        if capacity["twinscore"]:
            rates["half_of_own"] = capacity["twinscore"] / 2
        with self.reported("costs"), stack(reference) as up:
            found.setdefault("pace", {}).update(online_costs.compare_variants(up, reference, listed, rates, seconds))
            url = up.serve(VARIANTS["twinscore"])
            found["memory_mb"] = up.memory_mb()
            found["bulk"] = online_costs.bulk_requests(reference, url, seconds)
            found["restart"] = online_costs.told("restart", up.restart(url, read_bodies(listed)[0]))

    @contextmanager
    def reported(self, *names: str) -> Iterator[None]:
        """Keep the reason when something cannot be measured, and go on with the rest."""
        try:
            yield
        except FAILURES as error:
            reason = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
            self.unavailable.update(dict.fromkeys(names, reason))
            print(f"{', '.join(names)}: {reason}", file=sys.stderr, flush=True)

    def _keep(self, name: str, found: dict[str, Any]) -> None:
        self.runs.setdefault(name, []).append(found)
        print(name, json.dumps(found), file=sys.stderr, flush=True)


@contextmanager
def alone(path: Path | None) -> Iterator[None]:
    """Hold the lock of a machine on which others measure or test, when there is one."""
    if path is None:
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def measure_all(given: argparse.Namespace) -> dict[str, Any]:
    """Measure the wanted ways in turn, and return everything."""
    found = Measurement(given, make_reference(given.place / "reference"))
    for _ in range(given.rounds):
        for name in [name for name in WAYS if name in given.only and name not in found.unavailable]:
            with alone(given.lock):
                found.peer(name)
        if any(name in given.only for name in OURS):
            with alone(given.lock), found.reported("the stack"), stack(found.reference) as running:
                found.ours(running)
    if "costs" in given.only:
        with alone(given.lock):
            found.measure_costs()
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared with the load",
        "model": "200 trees, depth 6, 20 numbers; one-row JSON",
        "stated": f"best of {given.rounds} rounds of {given.seconds} s after {WARM_S} s, one thread of wrk",
        **summary(found.runs, found.costs),
        "unavailable": found.unavailable,
        "versions": {name: version(name) for name in ("xgboost", "ray", "mlflow", "uvloop", "httptools", "numpy")},
        "environments": {name: list(peer.needs) for name, peer in WAYS.items() if peer.needs and peer.workers == 1},
        "costs": found.costs,
        "runs": found.runs,
    }


def main() -> None:
    """Read the options, measure, write the file and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--only", nargs="+", default=ALL, choices=ALL, metavar="NAME")
    parser.add_argument("--place", type=Path, help="folder for environments, model and requests, kept and used again")
    parser.add_argument("--lock", type=Path, help="file to hold while a way is measured, where others measure too")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not on PATH: on Debian and Ubuntu, `apt-get install wrk`.")
    # A plain SIGTERM would leave the server that is measured behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    with tempfile.TemporaryDirectory(prefix="tsb-") as scratch:
        given.place = (given.place or Path(scratch)).absolute()
        given.place.mkdir(parents=True, exist_ok=True)
        figures = measure_all(given)
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps({name: value for name, value in figures.items() if name not in {"runs", "costs"}}, indent=1))


if __name__ == "__main__":
    main()
