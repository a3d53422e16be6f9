"""What a run reads: the files, their sizes and footers, held against the contract before a row is read; knows no Ray.

The snapshot is part of a run's fingerprint, so it holds relative paths only: the same data at another place is the
same snapshot. A footer names every column chunk with its offset, size and statistics; its digest changes with the data.
"""

from __future__ import annotations

import glob
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from twinscore.contract.conform import canonical_type
from twinscore.contract.model import type_name
from twinscore.errors import FileUnreadable, InputEmpty, SchemaMismatch, near

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["InputFile", "Snapshot", "find_files", "read_footer", "take_snapshot"]

SUFFIXES = (".parquet", ".parq", ".pq")
"""Files of a folder that are input; names that start with `_` or `.` never are, as every Parquet reader has it."""
_MAGIC = b"PAR1"
_FOOTER_THREADS = 16
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class InputFile:
    """One Parquet file as it was when the run began."""

    path: str
    """Absolute."""
    name: str
    """Relative to the input folder, with forward slashes."""
    size: int
    """Bytes."""
    groups: tuple[int, ...]
    """Rows of each row group."""
    footer: str
    """SHA-256 of the footer, in hex."""

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return sum(self.groups)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every file of the input, in order of name."""

    files: tuple[InputFile, ...]

    @property
    def rows(self) -> int:
        """Rows in the input."""
        return sum(file.rows for file in self.files)

    @property
    def digest(self) -> str:
        """SHA-256 in hex over names, sizes, rows and footers."""
        return hashlib.sha256(json.dumps(self.to_plain(), separators=(",", ":")).encode()).hexdigest()

    def to_plain(self) -> list[dict[str, Any]]:
        """Return what the manifest keeps of each file."""
        return [
            {"name": file.name, "bytes": file.size, "rows": file.rows, "footer_sha256": file.footer}
            for file in self.files
        ]


def take_snapshot(source: str | Path, wanted: pa.Schema, *, contract: str) -> Snapshot:
    """Read every footer and hold its columns against the wanted ones.

    Args:
        source: file, folder or glob.
        wanted: columns that every file must have, in types that it can be cast to without loss.
        contract: name to call the wanted columns by.

    Raises:
        FileUnreadable: a file is missing, empty, truncated or not Parquet.
        SchemaMismatch: a column is missing or of another type; file, column and both types are named.
        InputEmpty: there is no file, or no row.
    """
    paths = find_files(source)
    root = Path(source) if Path(source).is_dir() else Path(_common_folder(paths))

    def read(path: Path) -> tuple[InputFile, list[str]]:
        size, digest, metadata = read_footer(path)
        groups = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
        file = InputFile(str(path), path.relative_to(root).as_posix(), size, groups, digest)
        return file, _schema_faults(metadata, wanted)

    with ThreadPoolExecutor(min(_FOOTER_THREADS, len(paths))) as threads:
        answers = list(threads.map(read, paths))
    faults = [f"{file.name}: {fault}" for file, found in answers for fault in found]
    if faults:
        more = f" And {len(faults) - _SHOWN} more." if len(faults) > _SHOWN else ""
        message = f"{source} does not fit contract {contract!r}: {' '.join(faults[:_SHOWN])}{more} Nothing was scored."
        raise SchemaMismatch(message, source=str(source), contract=contract, faults=faults)
    snapshot = Snapshot(tuple(sorted((file for file, _ in answers), key=lambda file: file.name)))
    if not snapshot.rows:
        message = f"{source} holds {len(paths)} Parquet file(s) and no row: there is nothing to score."
        raise InputEmpty(message, source=str(source), files=len(paths))
    return snapshot


def find_files(source: str | Path) -> list[Path]:
    """Return the Parquet files that a file, folder or glob names, in order of path.

    Raises:
        FileUnreadable: the file or folder does not exist.
        InputEmpty: the folder or glob holds no Parquet file.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [
            item
            for item in path.rglob("*")
            if item.suffix in SUFFIXES
            and item.is_file()
            and not any(part.startswith(("_", ".")) for part in item.relative_to(path).parts)
        ]
        if not found:
            there = sorted(item.name for item in path.iterdir())[:_SHOWN]
            holds = f"it holds {', '.join(there)}" if there else "it is empty"
            message = f"The folder {path} has no Parquet file ({', '.join(SUFFIXES)}): {holds}."
            raise InputEmpty(message, source=str(path))
        return sorted(found)
    if glob.has_magic(str(source)):
        # Path.glob wants a folder and a relative pattern; here the pattern may begin at the root.
        names = glob.glob(str(source), recursive=True)  # noqa: PTH207
        matched = sorted(Path(name) for name in names if Path(name).is_file())
        if not matched:
            message = f"No file matches {source}."
            raise InputEmpty(message, source=str(source))
        return matched
    beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = near(path.name, beside) if beside else f"Nor does {path.parent}."
    message = f"The input {path} does not exist. {hint}"
    raise FileUnreadable(message, path=str(path))


def read_footer(path: Path) -> tuple[int, str, pq.FileMetaData]:
    """Return the size of a Parquet file, the SHA-256 of its footer, and what the footer says.

    Raises:
        FileUnreadable: the file is missing, empty, truncated or not Parquet.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size < 3 * len(_MAGIC):
                raise _unreadable(path, "is empty (0 bytes)" if not size else f"is truncated ({size} bytes)")
            file.seek(0)
            head = file.read(len(_MAGIC))
            file.seek(-8, 2)
            tail = file.read(8)
            if head != _MAGIC:
                raise _unreadable(path, "is not Parquet: it does not begin with PAR1")
            length = int.from_bytes(tail[:4], "little")
            if tail[4:] != _MAGIC or length > size - 12:
                raise _unreadable(path, "is truncated or corrupt: it does not end with a Parquet footer")
            file.seek(-8 - length, 2)
            footer = file.read(length + 8)
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror or error}") from error
    try:
        metadata = pq.read_metadata(pa.BufferReader(footer))
        metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, f"has a corrupt footer: {_first_line(error)}") from error
    return size, hashlib.sha256(footer).hexdigest(), metadata


def _schema_faults(metadata: pq.FileMetaData, wanted: pa.Schema) -> list[str]:
    schema = metadata.schema.to_arrow_schema()
    faults = []
    for field in wanted:
        places = schema.get_all_field_indices(field.name)
        if len(places) != 1:
            problem = (
                f"is missing. {near(field.name, schema.names)}" if not places else f"is there {len(places)} times."
            )
            faults.append(f"column {field.name!r} ({type_name(field.type)}) {problem}")
            continue
        found = schema.field(places[0]).type
        # A whole number becomes a float when every value fits; the cast itself proves that, row by row.
        fits = canonical_type(found) == field.type or (pa.types.is_integer(found) and field.type == pa.float64())
        if not fits and found != field.type and not _all_null(metadata, field.name):
            faults.append(f"column {field.name!r} is {type_name(found)}, the contract wants {type_name(field.type)}.")
    return faults


def _all_null(metadata: pq.FileMetaData, name: str) -> bool:
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        chunks = [group.column(place) for place in range(group.num_columns)]
        for chunk in chunks:
            if chunk.path_in_schema == name and (
                chunk.statistics is None or chunk.statistics.null_count != chunk.num_values
            ):
                return False
    return True


def _common_folder(paths: Sequence[Path]) -> Path:
    folder = paths[0].parent
    while not all(path.is_relative_to(folder) for path in paths):
        folder = folder.parent
    return folder


def _unreadable(path: Path, problem: str) -> FileUnreadable:
    return FileUnreadable(f"The file {path} {problem}.", path=str(path))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
