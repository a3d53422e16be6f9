"""Rows found by key in a mapped Arrow IPC file that is sorted by the keys' hashes; knows no scores and no features.

    __hash        uint64, ascending over the whole file
    key columns   what tells two keys of one hash apart
    values        whatever the file is for

The file is not compressed, so its pages are those of the page cache: the processes of a machine that map it share
them. Each record batch carries a CRC-32 of its own buffers and of all before them, and of the facts.
"""

from __future__ import annotations

import json
import zlib
from bisect import bisect_left
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinscore.cache.cells import buffer_view, stored_cells, value_cells
from twinscore.contract.row_key import KeyReader
from twinscore.errors import FileUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

__all__ = ["HASH", "HIDDEN", "PAGE_ROWS", "KeyedFile", "Page", "read_facts", "write_keyed"]

HASH = pa.field("__hash", pa.uint64(), nullable=False)
"""The first column."""
HIDDEN = "__"
"""Names of values that begin so are the file's own."""
PAGE_ROWS = 131_072
"""Most rows in one record batch."""
_FORMAT = 1
_FACTS, _CHECK = b"twinscore", b"crc32"


def write_keyed(
    path: Path, key: pa.Schema, values: pa.Schema, pages: Iterable[pa.Table], facts: Mapping[str, Any]
) -> int:
    """Write pages of sorted rows, (n_rows, HASH + key + values) each, and return how many rows they were.

    Args:
        path: of the file, which is written in place: the caller makes it visible.
        facts: what the file says of itself; plain values.
    """
    plain = json.dumps({"format": _FORMAT, "key": key.names, **facts}, sort_keys=True, default=str).encode()
    schema = pa.schema([HASH, *key, *values], metadata={_FACTS: plain})
    check, rows = zlib.crc32(plain), 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for table in pages:
            for batch in table.cast(schema).combine_chunks().to_batches(max_chunksize=PAGE_ROWS):
                # As it will be read: writing drops what lies outside a slice, and pads.
                written = pa.ipc.read_record_batch(batch.serialize(), schema)
                check = _checksum(written, check)
                writer.write_batch(written, custom_metadata={_CHECK: str(check).encode()})
                rows += written.num_rows
    return rows


def read_facts(path: Path) -> dict[str, Any]:
    """Return what a keyed file says of itself, without reading its rows.

    Raises:
        FileUnreadable: it is missing, cut short, or no keyed file.
    """
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            return _facts(path, reader.schema)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


class Page:
    """One record batch of the file, as what reads its cells."""

    __slots__ = ("columns", "hashes", "hidden", "key")

    def __init__(self, batch: pa.RecordBatch, n_key: int) -> None:
        self.hashes = buffer_view(batch.column(0), 1, "Q")[: batch.num_rows]
        """Ascending: (n_rows,)."""
        self.key = _joined([stored_cells(column) for column in batch.columns[1 : 1 + n_key]])
        """Reads the key of a row, as `RowKey` has it."""
        cells = list(zip(batch.schema.names, batch.columns, strict=True))[1 + n_key :]
        self.columns = tuple((name, value_cells(column)) for name, column in cells if not name.startswith(HIDDEN))
        """Name of each value and what reads it."""
        self.hidden = tuple(value_cells(column) for name, column in cells if name.startswith(HIDDEN))
        """What reads each value that is nobody's but the file's."""


def _joined(reads: list[Callable[[int], Any]]) -> Callable[[int], Any]:
    if len(reads) == 1:
        return reads[0]
    return lambda at: tuple(read(at) for read in reads)


class KeyedFile:
    """An open file; immutable, safe to share between threads, valid for as long as anybody holds it.

    Args:
        path: what `write_keyed` wrote.
        verify: read it whole and compare its checksums, about a second per GB; the pages are warm afterwards.
        reader: what reads the key of a row.

    Raises:
        FileUnreadable: the file is missing, cut short, damaged, or not one of these.
    """

    def __init__(
        self, path: Path, *, verify: bool = True, reader: Callable[[pa.Schema], KeyReader] = KeyReader
    ) -> None:
        self.path = path
        try:
            opened = pa.ipc.open_file(pa.memory_map(str(path)))
            self.facts = _facts(path, opened.schema)
            found = [opened.get_batch_with_custom_metadata(number) for number in range(opened.num_record_batches)]
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, error) from error
        if verify:
            _verify(path, opened.schema, [(one.batch, one.custom_metadata) for one in found])
        n_key = len(self.facts["key"])
        self.key = pa.schema(list(opened.schema)[1 : 1 + n_key])
        self.values = pa.schema([item for item in list(opened.schema)[1 + n_key :] if not item.name.startswith(HIDDEN)])
        self.rows = sum(one.batch.num_rows for one in found)
        self.bytes = path.stat().st_size
        self._read_key = reader(self.key).read
        self._pages = tuple(Page(one.batch, n_key) for one in found if one.batch.num_rows)
        self._firsts = [page.hashes[0] for page in self._pages]

    def find(self, row: Mapping[str, Any]) -> tuple[Page, int] | None:
        """Return where the row with this row's key stands, or None.

        Args:
            row: decoded; columns other than the key's do not matter.
        """
        key = self._read_key(row)
        if key is None:
            return None
        wanted, value = key
        number = bisect_left(self._firsts, wanted) - 1
        # Nearly always one page is looked at: the next only when rows of one hash lie on both sides of its end.
        for page in islice(self._pages, max(number, 0), None):
            hashes = page.hashes
            # On the mapped buffer itself, in C: faster than numpy's searchsorted or a compiled loop for one value.
            at, rows = bisect_left(hashes, wanted), len(hashes)
            while at < rows:
                if hashes[at] != wanted:
                    return None
                if page.key(at) == value:
                    return page, at
                at += 1
        return None


def _facts(path: Path, schema: pa.Schema) -> dict[str, Any]:
    plain = (schema.metadata or {}).get(_FACTS)
    try:
        facts: dict[str, Any] = json.loads(plain or b"")
    except ValueError:
        facts = {}
    if facts.get("format") != _FORMAT or schema.names[:1] != [HASH.name]:
        message = f"The file {path} is no cache file of this version of twinscore. Build it again."
        raise FileUnreadable(message, path=str(path))
    return facts


def _verify(path: Path, schema: pa.Schema, found: list[tuple[pa.RecordBatch, Any]]) -> None:
    check = zlib.crc32(schema.metadata[_FACTS])
    for number, (batch, metadata) in enumerate(found):
        check = _checksum(batch, check)
        if metadata is None or metadata.get(_CHECK) != str(check).encode():
            message = f"The file {path} is damaged: page {number} of {len(found)} has another checksum. Build it again."
            raise FileUnreadable(message, path=str(path), page=number)


def _checksum(batch: pa.RecordBatch, check: int) -> int:
    for column in batch.columns:
        for buffer in column.buffers():
            if buffer is not None:
                check = zlib.crc32(buffer, check)
    return check


def _unreadable(path: Path, error: Exception) -> FileUnreadable:
    message = f"The cache file {path} cannot be read: {error}. Build it again."
    return FileUnreadable(message, path=str(path))
