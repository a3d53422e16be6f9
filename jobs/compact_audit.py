"""Compact the audit log of a model, and remove what is old; as a Ray job, from cron or by hand.

ray job submit --working-dir jobs -- python compact_audit.py --model loans

With --spec deployments/loans.yaml, days older than its `audit.keep` are removed afterwards.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from dataclasses import asdict
from pathlib import Path

from twinscore.audit.compaction import compact_model
from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_key, contracts_in, open_log
from twinscore.control.expiry import expire_log
from twinscore.errors import TwinscoreError
from twinscore.online.spec import load_serve_spec
from twinscore.settings import load_settings
from twinscore.wiring import bundle_store


def main() -> int:
    """Return 0 when all that was sealed is compacted, 1 when something is to be looked at."""
    parser = argparse.ArgumentParser(description="Turn sealed audit segments into Parquet.")
    parser.add_argument("--model", required=True, help="name of the model")
    parser.add_argument("--spec", type=Path, help="deployment file; days older than its audit.keep are removed")
    given = parser.parse_args()
    settings = load_settings()
    try:
        key = load_secret(audit_key(settings.home))
        bundles = bundle_store(settings)
        contract_of = contracts_in(bundles.path, bundles.digests)
        spec = None if given.spec is None else load_serve_spec(given.spec)
        done = compact_model(open_log(settings.lake, given.model), key, contract_of)
        print(json.dumps({"event": "compacted", "model": given.model, **asdict(done)}))
        if spec is not None and spec.audit.keep is not None:
            gone = expire_log(settings, given.model, spec, by=getpass.getuser())
            print(json.dumps({"event": "expired", "model": given.model, **asdict(gone)}))
    except TwinscoreError as error:
        print(json.dumps({"event": "failed", "code": error.code, "message": error.message}), file=sys.stderr)
        return 1
    return 1 if done.conflicts or done.damaged or done.waiting else 0


if __name__ == "__main__":
    raise SystemExit(main())
