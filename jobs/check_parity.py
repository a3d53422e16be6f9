"""Check both paths of a model on samples of what they did, as a Ray job, from cron or by hand; parses, calls and exits.

ray job submit --working-dir jobs -- python check_parity.py --model loans --sample 10000
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from twinscore import api
from twinscore.batch.progress import json_lines
from twinscore.errors import TwinscoreError


def main() -> int:
    """Return 0 when nothing differs, 1 when something does or the check failed, 5 when nothing could be compared."""
    parser = argparse.ArgumentParser(description="Check that both paths of a model give the same bits.")
    parser.add_argument("--model", required=True, help="name of the model")
    parser.add_argument("--sample", type=int, default=1_000, help="rows of each direction, at most")
    parser.add_argument("--since", type=_instant, help="ISO 8601, UTC unless it says otherwise; default: a day ago")
    parser.add_argument("--until", type=_instant, help="the same")
    parser.add_argument("--direction", choices=["online", "batch", "both"], default="both", help="whose rows")
    parser.add_argument("--spec", type=Path, help="the deployment file, for joined features")
    given = parser.parse_args()
    json_lines()
    try:
        found = api.check_parity(
            given.model, given.sample, since=given.since, until=given.until, direction=given.direction, spec=given.spec
        )
    except TwinscoreError as error:
        print(json.dumps({"event": "failed", "code": error.code, "message": error.message}), file=sys.stderr)
        return 1
    print(json.dumps({"event": "checked", **found.to_plain()}, default=str))
    if not found.equal:
        return 1
    return 0 if found.checked else 5


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


if __name__ == "__main__":
    raise SystemExit(main())
