"""Compact the audit log of a model, as a Ray job, from cron or by hand; parses, builds, calls and exits.

ray job submit --working-dir jobs -- python compact_audit.py --model loans
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from twinscore.audit.compaction import compact_model
from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_key, contracts_in, open_log
from twinscore.errors import TwinscoreError
from twinscore.settings import load_settings
from twinscore.wiring import bundle_store


def main() -> int:
    """Return 0 when all that was sealed is compacted, 1 when something is to be looked at."""
    parser = argparse.ArgumentParser(description="Turn sealed audit segments into Parquet.")
    parser.add_argument("--model", required=True, help="name of the model")
    given = parser.parse_args()
    settings = load_settings()
    try:
        key = load_secret(audit_key(settings.home))
        contract_of = contracts_in(bundle_store(settings).path)
        done = compact_model(open_log(settings.lake, given.model), key, contract_of)
    except TwinscoreError as error:
        print(json.dumps({"event": "failed", "code": error.code, "message": error.message}), file=sys.stderr)
        return 1
    print(json.dumps({"event": "compacted", "model": given.model, **asdict(done)}))
    return 1 if done.conflicts or done.damaged or done.waiting else 0


if __name__ == "__main__":
    raise SystemExit(main())
