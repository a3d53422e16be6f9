"""What makes two runs the same run: pure arithmetic over digests; knows no files and no Ray."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FORMAT", "fingerprint"]

FORMAT = 2
"""Version of the output's layout; a new one makes every run a new run."""


def fingerprint(
    *,
    model: str,
    version: str,
    bundle: str,
    contract: str,
    snapshot: str,
    key: Sequence[str],
    shard_rows: int | None,
    recipe: Mapping[str, Any] | None = None,
) -> str:
    """Return the run id: 16 hex digits over everything that decides what the run's rows are.

    Args:
        model, version: written into every row.
        bundle, contract, snapshot: digests of what is scored with, checked by and read.
        key: columns that identify a row.
        shard_rows: decides how rows are spread over files.
        recipe: renamed columns, filter and joins.

    >>> fingerprint(model="m", version="1", bundle="b", contract="c", snapshot="s", key=["id"], shard_rows=None)
    '617386f3a73630f9'
    """
    facts = {
        "bundle": bundle,
        "contract": contract,
        "format": FORMAT,
        "key": list(key),
        "model": model,
        "recipe": dict(recipe or {}),
        "shard_rows": shard_rows,
        "snapshot": snapshot,
        "version": version,
    }
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
