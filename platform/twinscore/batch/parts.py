"""The Parquet files of a run: what is in them, and a writer that digests what it writes; knows no Ray.

The files carry no Arrow schema: what repeats in every row is written as a dictionary, which costs nothing, and any
reader sees plain text.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twinscore.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "EXPLANATIONS",
    "QUARANTINE",
    "UNFINISHED",
    "PartFile",
    "PartWriter",
    "constant",
    "prediction_schema",
    "quarantine_schema",
]

QUARANTINE = "_quarantine"
"""Folder of refused rows inside a run's; readers skip names that begin with `_`."""

EXPLANATIONS = "_explanations"
"""Folder of contributions inside a run's, when they are not columns of the predictions."""
UNFINISHED = ".unfinished"
"""End of the name of a file that is being written."""

_GROUP_ROWS = 131_072


@dataclass(frozen=True, slots=True)
class PartFile:
    """One file that a run wrote."""

    name: str
    """Relative to the run's folder."""
    rows: int
    bytes: int
    sha256: str

    def to_plain(self) -> dict[str, Any]:
        """Return what the manifest keeps of it."""
        return asdict(self)


class PartWriter:
    """Writes one Parquet file under a hidden name, its SHA-256 on the way; on disk under its own name when closed.

    The hidden name is this attempt's alone: a worker that was given up, and writes on, disturbs nobody.

    Raises:
        StoreUnavailable: the disk is full or the folder cannot be written.
    """

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self._path = folder / name
        self._hidden = folder / f".{name}.{uuid.uuid4().hex[:8]}{UNFINISHED}"
        self._name = name
        self._schema = schema
        self._rows = 0
        try:
            self._sink = _Digested(self._hidden)
            self._writer = pq.ParquetWriter(
                self._sink, schema, compression="snappy", store_schema=False, use_dictionary=_dictionary_columns(schema)
            )
        except OSError as error:
            raise self._failed(error) from error

    def write(self, table: pa.Table) -> None:
        """Append rows: (n_rows, schema)."""
        try:
            self._writer.write_table(table.cast(self._schema), row_group_size=_GROUP_ROWS)
        except OSError as error:
            raise self._failed(error) from error
        self._rows += table.num_rows

    def close(self) -> PartFile:
        """Finish the file, put it on disk and say what it is."""
        try:
            self._writer.close()
            self._sink.sync()
            self._hidden.replace(self._path)
        except OSError as error:
            raise self._failed(error) from error
        return PartFile(self._name, self._rows, self._sink.size, self._sink.digest)

    def abandon(self) -> None:
        """Let go of the file and delete it."""
        # The writer must be closed, else it closes itself when collected; what it writes then is dropped.
        # On a full disk closing fails, too: what was not flushed is given up.
        with contextlib.suppress(OSError):
            self._sink.close()
        with contextlib.suppress(pa.ArrowException, OSError):
            self._writer.close()
        with contextlib.suppress(OSError):
            self._hidden.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> StoreUnavailable:
        message = f"The file {self._path} cannot be written: {error.strerror or error}. Nothing became visible."
        return StoreUnavailable(message, path=str(self._path))


class _Digested:
    """A file object for Arrow that hashes what passes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._hash = hashlib.sha256()
        self.size = 0
        self.closed = False
        self.dropped = False

    def write(self, data: Any) -> int:
        view = memoryview(data)
        if self.dropped:
            return view.nbytes
        self._hash.update(view)
        self._file.write(view)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._file.flush()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()

    def close(self) -> None:
        self.dropped = True
        self._file.close()

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def prediction_schema(
    key: pa.Schema, scores: pa.Schema, constants: Mapping[str, Any], more: pa.Schema | None = None
) -> pa.Schema:
    """Return key columns, scores, `more`, then what is the same in every row of the run."""
    return pa.schema(
        [*key, *scores, *(more or ()), *(pa.field(name, _type_of(value)) for name, value in constants.items())]
    )


def quarantine_schema(key: pa.Schema) -> pa.Schema:
    """Return key columns, then where a refused row stands and which rule it broke with which value."""
    return pa.schema(
        [
            *key,
            pa.field("file", pa.dictionary(pa.int32(), pa.string())),
            pa.field("row", pa.int64()),
            pa.field("shard", pa.int32()),
            *(pa.field(name, pa.string()) for name in ("column", "rule", "expected", "value", "severity")),
        ]
    )


def constant(value: Any, rows: int) -> pa.Array:
    """Return the value repeated: (rows,); text as a dictionary of one word."""
    if isinstance(value, str):
        return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([value], pa.string()))
    return pa.repeat(pa.scalar(value, _type_of(value)), rows)


def _type_of(value: Any) -> pa.DataType:
    return pa.dictionary(pa.int32(), pa.string()) if isinstance(value, str) else pa.timestamp("us", tz="UTC")


def _dictionary_columns(schema: pa.Schema) -> list[str]:
    """Return the columns that repeat: everything but keys and scores, whose values hardly do."""
    return [
        field.name
        for field in schema
        if pa.types.is_dictionary(field.type) or pa.types.is_timestamp(field.type) or field.name in _REPEATING
    ]


_REPEATING = {
    "decision",
    "review",
    "review_reason",
    "prediction_set",
    "shard",
    "column",
    "rule",
    "expected",
    "severity",
}
