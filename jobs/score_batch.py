"""Score Parquet in bulk, as a Ray job or by hand; parses, builds, calls and exits.

ray job submit --working-dir jobs -- python score_batch.py --spec specs/loans.yaml --set output=predictions/today
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from twinscore.batch.progress import json_lines, log_progress
from twinscore.batch.run import run_batch
from twinscore.batch.spec import load_score_spec
from twinscore.errors import TwinscoreError
from twinscore.settings import load_settings


def main() -> int:
    """Return 0 when the run is committed (now or before), 1 when it was refused or failed."""
    parser = argparse.ArgumentParser(description="Score Parquet in bulk with one version of a model.")
    parser.add_argument("--spec", type=Path, required=True, help="YAML file; relative paths in it lie in the lake")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="wins over the spec's value")
    given = parser.parse_args()
    json_lines()
    try:
        report = run_batch(load_settings(), load_score_spec(given.spec, given.set), progress=log_progress)
    except TwinscoreError as error:
        print(json.dumps({"event": "failed", "code": error.code, "message": error.message}), file=sys.stderr)
        return 1
    print(json.dumps({"event": "committed", **report.summary()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
