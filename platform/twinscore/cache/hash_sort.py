"""Rows of any number in order of their hashes, in memory that does not grow with them; knows no files but its own.

Rows are dealt into buckets on disk by the high bits of their hash, about 131,072 rows each, and every bucket is sorted
by itself. In memory at a time: one table that comes in, or one bucket, twice. Above 67 million rows buckets grow,
because a process may hold only so many open files.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from twinscore.contract.row_key import key_codes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["BUCKET_ROWS", "Buckets", "by_hash", "repeats"]

BUCKET_ROWS = 131_072
"""About how many rows are sorted at a time."""
_MOST_BUCKETS = 512
_BUFFER = 1 << 16


class Buckets:
    """Rows on disk by ranges of their hash, its first column; a context that closes its files.

    Args:
        folder: empty, the caller's to delete.
        schema: of the rows; the first column is the hash.
        rows: about how many there will be.
    """

    def __init__(self, folder: Path, schema: pa.Schema, rows: int) -> None:
        self._schema = schema
        self._count = min(max(-(-rows // BUCKET_ROWS), 1), _MOST_BUCKETS)
        self._paths = [folder / f"{number:03d}.arrows" for number in range(self._count)]
        self._files = contextlib.ExitStack()
        self._writers: list[pa.RecordBatchStreamWriter] = []

    def __enter__(self) -> Buckets:
        with contextlib.ExitStack() as opened:
            for path in self._paths:
                sink = opened.enter_context(pa.output_stream(str(path), buffer_size=_BUFFER))
                self._writers.append(opened.enter_context(pa.ipc.new_stream(sink, self._schema)))
            self._files = opened.pop_all()
        return self

    def __exit__(self, *unused: object) -> None:
        self._files.close()

    def add(self, table: pa.Table) -> None:
        """Deal rows out: (n_rows, schema)."""
        hashes = table.column(0).to_numpy()
        # The high 32 bits times the number of buckets: even ranges, without a division.
        bucket = ((hashes >> np.uint64(32)) * np.uint64(self._count) >> np.uint64(32)).astype(np.uint16)
        order = np.argsort(bucket, kind="stable")
        dealt = table.take(pa.array(order)).combine_chunks()
        edges = np.searchsorted(bucket[order], np.arange(self._count + 1))
        for number in np.flatnonzero(np.diff(edges)):
            self._writers[number].write_table(dealt.slice(edges[number], edges[number + 1] - edges[number]))

    def tables(self) -> Iterator[pa.Table]:
        """Yield each bucket's rows, in order of the buckets and in each as they came; its file is gone afterwards.

        Nothing can be added any more.
        """
        self._files.close()
        for path in self._paths:
            with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
                table = reader.read_all()
            if table.num_rows:
                yield table.combine_chunks()
            path.unlink()


def by_hash(table: pa.Table, then: NDArray[np.int64] | None = None) -> pa.Table:
    """Return the rows in order of their first column, the hash; of one hash in order of `then`, (n_rows,)."""
    hashes = table.column(0).to_numpy()
    order = np.argsort(hashes, kind="stable") if then is None else np.lexsort((then, hashes))
    return table.take(pa.array(order))


def repeats(table: pa.Table, key: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of a table in order of hash that share their key with another row.

    Returns:
        The rows, ascending, and a number per row that rows of the same key share: (n_repeated,) each.
    """
    hashes = table.column(0).to_numpy()
    same = hashes[1:] == hashes[:-1]
    rows = np.flatnonzero(np.concatenate([[False], same]) | np.concatenate([same, [False]]))
    code = key_codes(table.select(key).take(pa.array(rows)))
    twice = np.bincount(code)[code] > 1 if len(code) else np.zeros(0, bool)
    return rows[twice], code[twice]
