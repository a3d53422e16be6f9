"""Up to three times the requests that a served model can answer, through the edge; writes results/overload.json.

    python benchmarks/overload.py [--seconds 60] [--factor 3] [--rows 1 40] [--place FOLDER] [--out FILE]

A whole stack with one replica and everything on. Capacity is what some connections get that ask again at once. Unloaded
is a tenth of it, open loop, before and after the overload; half of it is told beside. Overload is open loop, too: the
client sends at the rate whatever comes back. Client and stack share the machine, so a request of one row loads client
and edge as much as the replica; with more rows a request it is the replica alone that is short.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import platform
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from online_costs import told
from online_load import wrk
from online_model import MODEL, make_reference, write_files
from online_stack import VARIANTS, Stack, stack
from online_ways import cpu_s
from open_loop import open_loop

from twinscore.edge.config import ADMIN_SOCKET
from twinscore.edge.runtime_api import ask
from twinscore.stack.state import read_state

if TYPE_CHECKING:
    from online_model import Reference

    from twinscore.stack.processes import Process

RESULTS = Path(__file__).parent / "results" / "overload.json"
CONNECTIONS = (8, 16, 32, 64)
"""Of the loads that measure capacity: the most answers with a score in any of them count."""
UNLOADED = 0.1
"""Share of the capacity."""
LEAST_S = 4.0
MOST_SENT = 30_000.0
"""Requests per second that the client can send in time on a core that it shares; more would measure the client."""


def bodies_of(reference: Reference, rows: int) -> list[bytes]:
    """Return requests of some rows."""
    if rows == 1:
        return [json.dumps(row).encode() for row in reference.rows]
    doubled = reference.rows * 2
    return [json.dumps({"instances": doubled[at : at + rows]}).encode() for at in range(len(reference.rows))]


def measure(running: Stack, reference: Reference, rows: int, given: argparse.Namespace) -> dict[str, Any]:
    """Measure capacity, unloaded, overload and unloaded again with requests of some rows."""
    url = running.serve(VARIANTS["twinscore"])
    bodies = bodies_of(reference, rows)
    listed = write_files(reference.folder / "bodies" / f"overload-{rows}", bodies)
    brief = min(LEAST_S, given.seconds)
    wrk(url, listed, CONNECTIONS[0], 3)
    loads = {f"c{number}": wrk(url, listed, number, brief / 2) for number in CONNECTIONS}
    capacity = max(load["per_s"] * (1 - load["failed"] / load["answered"]) for load in loads.values())
    found: dict[str, Any] = {"rows": rows, "capacity_per_s": round(capacity, 1), "loads": loads}
    found["unloaded"] = [open_loop(url, bodies, UNLOADED * capacity, brief, max(CONNECTIONS))]
    found["half"] = open_loop(url, bodies, capacity / 2, brief, max(CONNECTIONS))
    before = edge_counts(running)
    with Watch(running) as watch:
        rate = min(given.factor * capacity, MOST_SENT)
        found["times_capacity"] = round(rate / capacity, 2)
        found["overload"] = open_loop(url, bodies, rate, given.seconds, given.connections)
    after = edge_counts(running)
    found["overload"] |= {**watch.found(), **after, "sent_again": after["sent_again"] - before["sent_again"]}
    found["unloaded"].append(open_loop(url, bodies, UNLOADED * capacity, brief, max(CONNECTIONS)))
    return {"rows": rows, **figures(found), **found}


def figures(found: dict[str, Any]) -> dict[str, Any]:
    """Return what the promise is about."""
    over = found["overload"]["status"]
    calm = {name: [one["status"]["200"][name]["p99"] for one in found["unloaded"]] for name in ("ms", "from_sent_ms")}
    refused = over.get("503", {"ms": {"p99": None}, "from_sent_ms": {"p99": None}})
    return {
        "p99_ratio_to_unloaded": round(over["200"]["ms"]["p99"] / max(calm["ms"]), 2),
        "p99_from_sent_ratio_to_unloaded": round(over["200"]["from_sent_ms"]["p99"] / max(calm["from_sent_ms"]), 2),
        "accepted_share_of_capacity": round(over["200"]["per_s"] / found["capacity_per_s"], 2),
        "refused_p99_ms": refused["ms"]["p99"],
        "refused_p99_from_sent_ms": refused["from_sent_ms"]["p99"],
        "client_late_p99_ms": found["overload"]["client"]["late_ms"]["p99"],
        "refused_without_retry_after": found["overload"]["without_retry_after"],
        "otherwise": sum(one["count"] for status, one in over.items() if status not in {"200", "503"}),
        "sent_again": found["overload"]["sent_again"],
        "grown_mb": found["overload"]["grown_mb"],
    }


class Watch:
    """Memory and processor time of the stack's parts while something is measured."""

    def __init__(self, running: Stack) -> None:
        self._parts = {"replica": running.replicas(), "edge": edge_of(running), "stack": running.processes()}
        self._seen: list[dict[str, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._cpu = {name: cpu_s(part) for name, part in self._parts.items()}
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._over.set()
        self._thread.join()
        self._cpu = {name: round(cpu_s(part) - self._cpu[name], 2) for name, part in self._parts.items()}

    def found(self) -> dict[str, Any]:
        """Return the processor time, and memory at first, at most and at last in MB."""
        rows = {name: [seen[name] for seen in self._seen] for name in self._seen[0]}
        return {
            "cpu_s": self._cpu,
            "rss_mb": {name: {"first": row[0], "most": max(row), "last": row[-1]} for name, row in rows.items()},
            "grown_mb": {name: round(max(row) - row[0], 1) for name, row in rows.items()},
        }

    def _look(self) -> None:
        while True:
            self._seen.append({name: resident_mb(self._parts[name]) for name in ("replica", "edge")})
            if self._over.wait(2):
                return


def resident_mb(processes: list[Process]) -> float:
    """Return resident memory; from `statm`, because the exact sums of `smaps` stop a process for milliseconds."""
    pages = sum(int(Path(f"/proc/{one.pid}/statm").read_text().split()[1]) for one in processes)
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def edge_of(running: Stack) -> list[Process]:
    """Return the processes of the edge's proxy."""
    folder = edge_folder(running)
    return [one for one in running.processes() if f"{folder}/haproxy.cfg".encode() in command(one)]


def edge_folder(running: Stack) -> str:
    """Return where the edge has its sockets."""
    state = read_state(running.settings)
    assert state is not None
    return state.edge.folder


def edge_counts(running: Stack) -> dict[str, int]:
    """Return what the edge tells of the model: requests sent again, average times, and the room of the replica."""
    said = ask(Path(edge_folder(running)) / ADMIN_SOCKET, "show stat -1 6 -1")
    rows = [row for row in csv.DictReader(io.StringIO(said)) if row["# pxname"] == f"model-{MODEL}"]
    whole = next(row for row in rows if row["svname"] == "BACKEND")
    return {
        "sent_again": int(whole["wretr"]),
        "queued_ms": int(whole["qtime"]),
        "inside_ms": int(whole["rtime"]),
        "room": max(int(row["slim"] or 0) for row in rows if row["svname"].startswith("s")),
    }


def command(process: Process) -> bytes:
    """Return the command of a process, nothing when it has ended."""
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        return b""


def main() -> None:
    """Read the options, measure, write the file and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the overload")
    parser.add_argument("--factor", type=float, default=3.0, help="of the capacity")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 40], help="of a request; measured in turn")
    parser.add_argument("--connections", type=int, default=1_000, help="of the overload")
    parser.add_argument("--place", type=Path, help="folder for model and requests, kept and used again")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    given.out.parent.mkdir(exist_ok=True)
    document: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared with the load",
        "model": "200 trees, depth 6, 20 numbers; JSON; one replica through the edge, everything on",
        "stated": f"{given.factor:g} times the capacity for {given.seconds:g} s, at most {MOST_SENT:g} requests/s; "
        "unloaded is a tenth of the capacity",
    }
    with tempfile.TemporaryDirectory(prefix="tsb-") as scratch:
        reference = make_reference((given.place or Path(scratch)).absolute() / "reference")
        with stack(reference, connections=given.connections + max(CONNECTIONS)) as running:
            for rows in given.rows:
                document[f"rows_{rows}"] = told(f"{rows} rows", measure(running, reference, rows, given))
                given.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
