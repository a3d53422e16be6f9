"""Build a keyed file from rows in any order, in bounded memory, and make it visible by one rename.

<folder>/.lock                    held while a file is built: one at a time, a second waits
<folder>/.<name>.<hex>.unfinished rows on their way; what a killed builder left goes with the next one
<folder>/<name>                   the file; processes that map an older one of that name keep it
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinscore.cache.hash_sort import Buckets
from twinscore.cache.keyed_file import HASH, write_keyed
from twinscore.contract.row_key import key_hashes
from twinscore.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Hashed = Callable[[pa.Table], tuple[NDArray[np.uint64], NDArray[np.bool_]]]
    Settle = Callable[[pa.Table], pa.Table]

__all__ = ["build_keyed"]

_UNFINISHED = ".unfinished"


def build_keyed(
    path: Path,
    key: pa.Schema,
    values: pa.Schema,
    tables: Iterable[pa.Table],
    *,
    rows: int,
    settle: Settle,
    facts: Mapping[str, Any],
    hashed: Hashed = key_hashes,
) -> int:
    """Write the rows as a keyed file and return how many are in it; rows whose key has a missing part are left out.

    Args:
        path: of the file; its folder is made.
        tables: (n_rows, key + values) each, as large as memory allows one to be.
        rows: about how many rows there are.
        settle: sorts a bucket by its hash and decides about keys that it has twice.
        facts: what the file says of itself; `rows` and `rows_without_key` are added.
        hashed: tells the hash of each row's key and whether it has one.

    Raises:
        StoreUnavailable: the disk is full or the folder cannot be written.
    """
    schema = pa.schema([HASH, *key, *values])
    try:
        with _place(path) as folder:
            with Buckets(folder, schema, rows) as buckets:
                taken, left_out = _deal(tables, key, schema, buckets, hashed)
                hidden = folder / path.name
                count = {"rows": taken, "rows_without_key": left_out}
                written = write_keyed(hidden, key, values, map(settle, buckets.tables()), {**count, **facts})
            _sync(hidden)
            hidden.replace(path)
            _sync(path.parent)
    except OSError as error:
        message = f"The cache file {path} cannot be written: {error.strerror or error}. Nothing became visible."
        raise StoreUnavailable(message, path=str(path)) from error
    return written


def _deal(
    tables: Iterable[pa.Table], key: pa.Schema, schema: pa.Schema, buckets: Buckets, hashed: Hashed
) -> tuple[int, int]:
    taken = left_out = 0
    for table in tables:
        hashes, whole = hashed(table.select(range(len(key))))
        with_hash = pa.table([pa.array(hashes), *table.columns], schema=schema)
        if not whole.all():
            with_hash = with_hash.filter(pa.array(whole))
        buckets.add(with_hash)
        taken += with_hash.num_rows
        left_out += table.num_rows - with_hash.num_rows
    return taken, left_out


@contextlib.contextmanager
def _place(path: Path) -> Iterator[Path]:
    """Make a hidden folder beside the file, alone in its folder, and delete it in the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The file stays for ever, so that all lock the same one.
    lock = os.open(path.parent / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in path.parent.glob(f".*{_UNFINISHED}"):
            shutil.rmtree(left, ignore_errors=True)
        folder = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{_UNFINISHED}")
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
