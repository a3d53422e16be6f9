"""What watching costs those who are answered meanwhile; writes benchmarks/results/watch_live.json.

    python benchmarks/watch_live.py [--by job] [--rounds 4] [--seconds 20] [--rate 500] [--rows 4000000] [--out FILE]

One stack, one replica, one rate, sent whether answers come or not, through the edge. In turns the machine does nothing
else, or the audit log of another model is counted all the time: by a job on the same Ray, or as the control does it by
itself, in rounds that are begun again as soon as they end. Each figure is a median over the rounds; the ratio is of
medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import watch
from online_costs import compared, told
from online_model import flat, make_reference, read_bodies, write_bodies
from online_stack import Stack, stack
from open_loop import open_loop

RESULTS = Path(__file__).parent / "results" / "watch_live.json"
JOB = Path(__file__).parents[1] / "jobs" / "watch_models.py"
CONNECTIONS = 64


def while_watching(running: Stack, measure: Any) -> dict[str, Any]:
    """Measure while a job counts everything anew; say how far it got."""
    shutil.rmtree(running.settings.lake / "windows" / watch.MODEL, ignore_errors=True)
    command = [sys.executable, str(JOB), "--model", watch.MODEL]
    with subprocess.Popen(
        command, env=running.environment, cwd=running.settings.home, stdout=subprocess.PIPE, text=True
    ) as job:
        try:
            # Its start is not what is measured: workers count once the first piece is put down.
            parts = running.settings.lake / "windows" / watch.MODEL / "parts"
            while job.poll() is None and not any(parts.glob("*")):
                time.sleep(0.1)
            found = measure()
            found["job"] = "ended meanwhile" if job.poll() is not None else "ran all the time"
            found["pieces"] = len(list(parts.glob("*")))
        finally:
            job.terminate()
    return found


def while_looked_at(running: Stack, measure: Any) -> dict[str, Any]:
    """Measure while the control's rounds follow each other, each counting everything anew; say how many there were."""
    over, ended = threading.Event(), 0
    command = [sys.executable, "-m", "twinscore.control.watch_round", "--model", watch.MODEL]

    def look() -> None:
        nonlocal ended
        while not over.is_set():
            shutil.rmtree(running.settings.lake / "windows" / watch.MODEL, ignore_errors=True)
            subprocess.run(command, env=running.environment, cwd=running.settings.home, check=True, timeout=300)
            ended += 1

    looking = threading.Thread(target=look)
    looking.start()
    try:
        found = measure()
        found["rounds_of_the_control"] = ended
    finally:
        over.set()
        looking.join()
    return found


BY = {"job": while_watching, "control": while_looked_at}


def main() -> None:
    """Read the options, measure, write the file and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--by", choices=BY, default="job", help="who counts")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--rate", type=float, default=500.0, help="requests per second")
    parser.add_argument("--rows", type=int, default=4_000_000, help="of the log that is counted")
    parser.add_argument("--place", type=Path, help="folder for model and requests, kept and used again")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    rounds: dict[str, list[dict[str, Any]]] = {"alone": [], "watching": []}
    with tempfile.TemporaryDirectory(prefix="tsb-") as scratch:
        watch.make_home(Path(scratch) / "log", given.rows)
        reference = make_reference((given.place or Path(scratch)).absolute() / "reference")
        bodies = read_bodies(write_bodies(reference, flat))
        with stack(reference) as running:
            lake = running.settings.lake
            for part in ("bundles", "audit"):
                shutil.copytree(Path(scratch) / "log" / "lake" / part, lake / part, dirs_exist_ok=True)
            url = running.serve({})

            def measure() -> dict[str, Any]:
                open_loop(url, bodies, given.rate, 1.0, CONNECTIONS)
                return dict(told("load", open_loop(url, bodies, given.rate, given.seconds, CONNECTIONS)))

            for _ in range(given.rounds):
                rounds["alone"].append(measure())
                rounds["watching"].append(BY[given.by](running, measure))
    document = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared with the load",
        "by": given.by,
        "stated": f"medians of {given.rounds} rounds of {given.seconds:g} s each, in turns, at {given.rate:g}/s",
        **compared(rounds, "alone", "watching"),
        "rounds": rounds,
    }
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps({name: value for name, value in document.items() if name != "rounds"}, indent=1))


if __name__ == "__main__":
    main()
