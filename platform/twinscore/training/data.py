"""Training data as one checked table: read, named, keyed and labelled; knows nothing of models.

What is wrong with a file is said before anything is trained: a missing column, a null or repeated key, no label.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinscore.errors import FileUnreadable, InputEmpty, InputError, SchemaMismatch, near

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Columns", "TrainingData", "load_data", "snapshot_of"]


@dataclass(frozen=True, slots=True)
class Columns:
    """What each named column is for; every other column is a feature."""

    key: tuple[str, ...]
    label: str | None = None
    time: str | None = None
    groups: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    """Told apart in the reference profile, as groups are."""

    @property
    def not_features(self) -> tuple[str, ...]:
        """Columns that the model never sees as they are; a time may enter through derived features."""
        named = (*self.key, self.label, self.time, *self.drop)
        return tuple(dict.fromkeys(name for name in named if name is not None))


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The rows to learn from.

    Args:
        table: (n_rows, every column of the input).
        columns: what the columns are for.
        snapshot_id: SHA-256 of what the input held, whatever its files were called.
        labelled: (n_rows,) rows whose label is there; all of them when no label was named.
        source: the input's name, for messages.
    """

    table: pa.Table
    columns: Columns
    snapshot_id: str
    labelled: NDArray[np.bool_]
    source: str

    @property
    def n_unlabelled(self) -> int:
        """Rows that cannot be learned from."""
        return int(len(self.labelled) - self.labelled.sum())


def load_data(data: Path | str | pa.Table, columns: Columns) -> TrainingData:
    """Read a Parquet file, a folder of them, or take a table, and check its key and label.

    Raises:
        FileUnreadable: a file is missing, empty, corrupt or not Parquet.
        InputEmpty: no rows, or none with a label.
        SchemaMismatch: a named column is missing.
        InputError: a key is null or repeated, or a column was named for two things.
    """
    if isinstance(data, pa.Table):
        table, snapshot, source = data, _digest_of_table(data), "the table"
    else:
        files = _files(Path(data))
        table, snapshot, source = _read(files), snapshot_of(files), str(data)
    if table.num_rows == 0:
        message = f"{source} has no rows; there is nothing to train on."
        raise InputEmpty(message, source=source)
    _check_names(table, columns, source)
    _check_key(table, columns.key, source)
    labelled = np.ones(table.num_rows, dtype=bool)
    if columns.label is not None:
        labelled = ~pc.is_null(table[columns.label], nan_is_null=True).to_numpy()
        if not labelled.any():
            message = f"The label {columns.label!r} is null in every row of {source}; name the column with the outcome."
            raise InputEmpty(message, source=source, label=columns.label)
    return TrainingData(table, columns, snapshot, labelled, source)


def snapshot_of(files: Sequence[Path]) -> str:
    """Return the SHA-256 of what Parquet files hold: footer, rows and size of each, in any order, whatever their names.

    The footer lists every column chunk with its sizes and statistics, so rewritten data changes it.
    """
    facts = []
    for file in files:
        size = file.stat().st_size
        with file.open("rb") as handle:
            handle.seek(-8, os.SEEK_END)
            length = int.from_bytes(handle.read(4), "little")
            handle.seek(-8 - length, os.SEEK_END)
            footer = hashlib.sha256(handle.read(length)).hexdigest()
        facts.append(f"{footer} {pq.read_metadata(file).num_rows} {size}")
    return hashlib.sha256("\n".join(sorted(facts)).encode()).hexdigest()


def _digest_of_table(table: pa.Table) -> str:
    sink = hashlib.sha256()
    sink.update(table.schema.remove_metadata().serialize())
    for batch in table.combine_chunks().to_batches():
        sink.update(batch.replace_schema_metadata(None).serialize())
    return sink.hexdigest()


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.parquet") if not file.name.startswith(("_", ".")))
        if not files:
            message = f"The folder {path} holds no *.parquet file."
            raise FileUnreadable(message, path=str(path))
        return files
    if not path.exists():
        beside = [file.name for file in path.parent.glob("*.parquet")] if path.parent.is_dir() else []
        message = f"There is no file {path}. {near(path.name, beside)}"
        raise FileUnreadable(message, path=str(path))
    return [path]


def _read(files: Sequence[Path]) -> pa.Table:
    tables = []
    for file in files:
        try:
            tables.append(pq.ParquetFile(file).read())
        except (pa.ArrowInvalid, OSError) as error:
            cause = "it is empty" if file.stat().st_size == 0 else str(error).splitlines()[0].rstrip(".")
            message = (
                f"{file} is not a readable Parquet file: {cause}. Write it as Parquet (for example df.to_parquet)."
            )
            raise FileUnreadable(message, path=str(file)) from error
    first = tables[0].schema
    for file, table in zip(files, tables, strict=True):
        if not table.schema.equals(first, check_metadata=False):
            odd = next(
                (n for n in {*first.names, *table.schema.names} if not _same(first, table.schema, n)),
                "the column order",
            )
            message = f"{file} and {files[0]} have different columns or types, first at {odd!r}; write them alike."
            raise SchemaMismatch(message, path=str(file), column=odd)
    return pa.concat_tables(tables)


def _same(a: pa.Schema, b: pa.Schema, name: str) -> bool:
    return name in a.names and name in b.names and a.field(name).type == b.field(name).type


def _check_names(table: pa.Table, columns: Columns, source: str) -> None:
    if not columns.key:
        message = f"Name at least one key column (--key) that tells the rows of {source} apart."
        raise InputError(message, source=source)
    repeated = {name for name in table.column_names if table.column_names.count(name) > 1}
    if repeated:
        message = f"{source} has more than one column called {min(repeated)!r}; rename them."
        raise SchemaMismatch(message, source=source, column=min(repeated))
    named = [("key", name) for name in columns.key]
    named += [("label", columns.label)] if columns.label is not None else []
    named += [("time", columns.time)] if columns.time is not None else []
    named += [("group", name) for name in columns.groups] + [("drop", name) for name in columns.drop]
    named += [("segment", name) for name in columns.segments]
    for role, name in named:
        if name not in table.column_names:
            message = f"{source} has no column {name!r}, named as {role}. {near(name, table.column_names)}"
            raise SchemaMismatch(message, source=source, column=name, role=role)
    if columns.label is not None and columns.label in (*columns.key, columns.time, *columns.groups, *columns.segments):
        message = f"The column {columns.label!r} is named as the label and as something else; it can be only one."
        raise InputError(message, column=columns.label)


def _check_key(table: pa.Table, key: tuple[str, ...], source: str) -> None:
    for name in key:
        if table[name].null_count:
            message = f"The key {name!r} is null in {table[name].null_count} rows of {source}; every row needs its key."
            raise InputError(message, column=name, rows=table[name].null_count)
    counts = table.select(list(key)).group_by(list(key)).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if repeated.num_rows:
        examples = [tuple(row[name] for name in key) for row in repeated.slice(0, 5).to_pylist()]
        shown = ", ".join(str(one[0] if len(one) == 1 else one) for one in examples)
        message = (
            f"The key ({', '.join(key)}) is not unique in {source}: {repeated.num_rows} values occur more than once, "
            f"such as {shown}. Name a key that tells the rows apart, or remove the copies."
        )
        raise InputError(message, key=list(key), repeated=repeated.num_rows)
