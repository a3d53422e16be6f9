"""What a shadow of every request costs the live answers; writes benchmarks/results/shadow.json.

    python benchmarks/shadow_cost.py [--rounds 6] [--seconds 6] [--rate 500] [--place FOLDER] [--out FILE]

One stack, one replica, one rate, sent whether answers come or not. The shadow is switched on and off in turns, so that
what else the machine does meets both alike. Each figure is a median over the rounds; the ratio is of medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

from online_costs import compared, told
from online_model import flat, make_reference, read_bodies, write_bodies
from online_stack import stack
from open_loop import open_loop

RESULTS = Path(__file__).parent / "results" / "shadow.json"
WAYS: dict[str, dict[str, Any]] = {
    "alone": {"routing": {}},
    "with_shadow": {"routing": {"shadows": [{"version": "2", "sampling": "100%"}]}},
}
CONNECTIONS = 64


def main() -> None:
    """Read the options, measure, write the file and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load")
    parser.add_argument("--rate", type=float, default=500.0, help="requests per second")
    parser.add_argument("--place", type=Path, help="folder for model and requests, kept and used again")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory(prefix="tsb-") as scratch:
        reference = make_reference((given.place or Path(scratch)).absolute() / "reference")
        bodies = read_bodies(write_bodies(reference, flat))
        with stack(reference) as running:
            for number in range(given.rounds):
                for name in sorted(WAYS, reverse=number % 2 == 1):
                    url = running.serve(WAYS[name])
                    open_loop(url, bodies, given.rate, 1.0, CONNECTIONS)
                    rounds[name].append(told(name, open_loop(url, bodies, given.rate, given.seconds, CONNECTIONS)))
    document = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared with the load",
        "stated": f"medians of {given.rounds} rounds of {given.seconds:g} s each, in turns, at {given.rate:g}/s",
        **compared(rounds, "alone", "with_shadow"),
        "rounds": rounds,
    }
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps({name: value for name, value in document.items() if name != "rounds"}, indent=1))


if __name__ == "__main__":
    main()
