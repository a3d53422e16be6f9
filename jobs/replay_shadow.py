"""Score a past window of the audit log with a candidate and compare, as a Ray job or by hand; parses, calls and exits.

ray job submit --working-dir jobs -- python replay_shadow.py --model loans --version 4 --since 2026-03-01
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from twinscore import api
from twinscore.batch.progress import json_lines
from twinscore.comparison.page import in_words
from twinscore.errors import TwinscoreError


def main() -> int:
    """Return 0 when the report is written, 1 when it is not."""
    parser = argparse.ArgumentParser(description="Compare a candidate with the live version on a past window.")
    parser.add_argument("--model", required=True, help="name of the model")
    parser.add_argument("--version", required=True, help="the candidate: a version, or @ALIAS")
    parser.add_argument("--since", type=_instant, help="ISO 8601, UTC unless it says otherwise")
    parser.add_argument("--until", type=_instant, help="the same")
    parser.add_argument("--against", help="the live version to compare with")
    parser.add_argument("--segment", action="append", default=[], help="column to divide the rows by")
    parser.add_argument("--output", type=Path, help="folder of the report, seen by every node")
    given = parser.parse_args()
    json_lines()
    try:
        made = api.shadow_report(
            given.model, given.version, since=given.since, until=given.until, replay=True, against=given.against,
            segments=given.segment, output=given.output,
        )  # fmt: skip
    except TwinscoreError as error:
        print(json.dumps({"event": "failed", "code": error.code, "message": error.message}), file=sys.stderr)
        return 1
    print(json.dumps({"event": "compared", "report": str(made.folder), "summary": in_words(made.report)}))
    return 0


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


if __name__ == "__main__":
    raise SystemExit(main())
