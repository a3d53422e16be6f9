"""Watch models: count what is new of their audit logs and runs, as a Ray job or by hand; parses, calls and exits.

ray job submit --working-dir jobs -- python watch_models.py --model loans --spec deployments/loans.yaml --every 5m
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from twinscore import api
from twinscore.batch.progress import json_lines
from twinscore.errors import TwinscoreError
from twinscore.monitoring.spec import period

if TYPE_CHECKING:
    from datetime import timedelta

    from twinscore.batch.watch import Look


def main() -> int:
    """Return 0 when every model was looked at and nothing waits, 1 when not; with --every it does not return."""
    parser = argparse.ArgumentParser(description="Count what is new of models' audit logs and runs.")
    parser.add_argument("--model", action="append", required=True, help="name of a model; repeat it")
    parser.add_argument("--spec", action="append", default=[], type=Path, help="deployment file of each, in order")
    parser.add_argument("--every", type=_period, help="look again after so long, such as 5m")
    given = parser.parse_args()
    if len(given.spec) > len(given.model):
        parser.error("more --spec than --model")
    specs = [*given.spec, *[None] * (len(given.model) - len(given.spec))]
    json_lines()
    while True:
        began = time.monotonic()
        failed = 0
        for model, spec in zip(given.model, specs, strict=True):
            failed += not _watched(model, spec)
        if given.every is None:
            return 1 if failed else 0
        time.sleep(max(given.every.total_seconds() - (time.monotonic() - began), 0.0))


def _watched(model: str, spec: Path | None) -> bool:
    """Look at a model, print what was done, and return whether all of it was."""
    try:
        look: Look | None = api.watch(model, spec)
    except TwinscoreError as error:
        failed = {"event": "failed", "model": model, "code": error.code, "message": error.message}
        print(json.dumps(failed), file=sys.stderr, flush=True)
        return False
    assert look is not None
    print(json.dumps({"event": "watched", "model": model, **look.to_plain()}), flush=True)
    return not look.waiting


def _period(text: str) -> timedelta:
    return period(text, "--every")


if __name__ == "__main__":
    raise SystemExit(main())
