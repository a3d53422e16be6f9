"""What a run has done so far: one small file per finished shard, so that a restart goes on from there; no Ray.

    <staging>/_shards/00003.json   the result of shard 3, written last: the shard is done when this file is there
    <staging>/_shards/00003.tries  a byte for each time that a worker began with it
    <staging>/_keys/00003.npy      the sorted hashes of its keys, see `keys`

Both are dropped before the run becomes visible.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from twinscore.batch.parts import UNFINISHED
from twinscore.batch.shard_result import ShardResult
from twinscore.errors import PredictFailed, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from twinscore.batch.plan import Shard

__all__ = ["KEYS", "SHARDS", "begin_shard", "finished_shards", "save_result", "sha256_of", "write_whole"]

KEYS = "_keys"
SHARDS = "_shards"
_TRIES = 10


def begin_shard(folder: Path, shard: Shard) -> None:
    """Count a try of a shard: Ray starts a worker that died again, and again, with the same shard.

    Raises:
        PredictFailed: it was tried too often; the shard and its rows are named.
        StoreUnavailable: the folder cannot be written.
    """
    path = folder / SHARDS / f"{shard.number:05d}.tries"
    try:
        with path.open("ab") as file:
            file.write(b".")
            tries = file.tell()
    except OSError as error:
        raise _unavailable(path, error) from error
    if tries > _TRIES:
        first, last = shard.pieces[0], shard.pieces[-1]
        message = (
            f"Shard {shard.number} ({shard.rows:,} rows, from row {first.first_row} of {first.name} to row "
            f"{last.first_row + last.rows - 1} of {last.name}) was begun {_TRIES} times and never finished: its "
            "workers died. Look for killed processes (memory?) on the nodes, or set a smaller shard_rows."
        )
        raise PredictFailed(message, shard=shard.number, tries=_TRIES)


def save_result(folder: Path, result: ShardResult) -> None:
    """Say that a shard is done; its parts are on disk.

    Raises:
        StoreUnavailable: the folder cannot be written, or the run was committed or given up meanwhile.
    """
    write_whole(folder / SHARDS / f"{result.number:05d}.json", json.dumps(result.to_plain()).encode())


def finished_shards(folder: Path, shards: Sequence[Shard], *, threads: int) -> dict[int, ShardResult]:
    """Return the results of an earlier attempt by shard number: those whose parts are still what was written.

    Args:
        folder: the run's staging folder.
        shards: the run's plan.
        threads: parts that are digested at the same time.
    """
    planned = {shard.number: shard.rows for shard in shards}

    def verified(path: Path) -> ShardResult | None:
        try:
            result = ShardResult.from_plain(json.loads(path.read_text(encoding="utf-8")))
            kept = {part.name: part.sha256 for part in result.parts} | {result.keys.name: result.keys.sha256}
            whole = all(sha256_of(folder / name) == digest for name, digest in kept.items())
        except (OSError, ValueError, KeyError, TypeError):
            return None  # the shard is scored again, which writes the same bytes
        return result if whole and planned.get(result.number) == result.rows_in + result.rows_filtered else None

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(verified, sorted((folder / SHARDS).glob("*.json"))))
    return {result.number: result for result in found if result is not None}


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file that is there whole or not at all, and on disk.

    Raises:
        StoreUnavailable: the file system refuses.
    """
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{UNFINISHED}")
    try:
        with hidden.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            hidden.unlink(missing_ok=True)
        raise _unavailable(path, error) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unavailable(path: Path, error: OSError) -> StoreUnavailable:
    message = f"The file {path} cannot be written: {error.strerror or error}. Nothing became visible."
    return StoreUnavailable(message, path=str(path))
