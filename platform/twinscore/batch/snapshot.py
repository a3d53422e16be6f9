"""What a run reads: the files, their sizes and footers, held against the contract before a row is read; knows no Ray.

The snapshot is part of a run's fingerprint, so it holds relative paths only: the same data at another place is the
same snapshot. A footer names every column chunk with its offset, size and statistics; its digest changes with the data.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinscore.batch.aside import AsideFile, is_of_the_file, set_aside
from twinscore.batch.bounds import FileColumns, left_out
from twinscore.batch.find import find_inputs, hive_values
from twinscore.batch.footer import read_footer, read_footer_at
from twinscore.batch.place import Place
from twinscore.batch.recipe import Recipe, partition_value
from twinscore.contract.conform import canonical_type
from twinscore.contract.model import type_name
from twinscore.errors import FileUnreadable, InputEmpty, SchemaMismatch, StoreConflict, near

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow.parquet as pq

    from twinscore.batch.aside import Allowance
    from twinscore.batch.place import Found

__all__ = ["InputFile", "Snapshot", "find_files", "no_row_passes", "read_footer", "take_snapshot"]

_STORE_THREADS = 16
"""Footers that are asked of a store at the same time; each waits for the network most of its time."""
_DISK_THREADS = 4
_PER_TASK = 64
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class InputFile:
    """One Parquet file as it was when the run began."""

    path: str
    """Where it is, as people may see it: absolute, or a URI without options."""
    name: str
    """Relative to the input's place, with forward slashes."""
    size: int
    """Bytes."""
    groups: tuple[int, ...]
    """Rows of each row group."""
    footer: str
    """SHA-256 of the footer, in hex."""
    left_out: tuple[int, ...] = ()
    """Row groups in which no row can pass the filter; they are never read."""
    folders: tuple[tuple[str, str | None], ...] = ()
    """Columns that the file's folders give, with their text; only those that the run uses."""

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return sum(self.groups)

    @property
    def rows_left_out(self) -> int:
        """Rows in the row groups that are never read."""
        return sum(self.groups[group] for group in self.left_out)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every file of the input, in order of name."""

    files: tuple[InputFile, ...]
    place: Place | None = field(default=None, compare=False)
    """Where the files lie; None for this machine."""
    aside: tuple[AsideFile, ...] = ()
    """Files of which no row is read, in order of name."""

    @property
    def rows(self) -> int:
        """Rows in the input."""
        return sum(file.rows for file in self.files)

    @property
    def rows_left_out(self) -> int:
        """Rows that the filter leaves out before they are read."""
        return sum(file.rows_left_out for file in self.files)

    @property
    def digest(self) -> str:
        """SHA-256 in hex over names, sizes, rows, footers and folders, and over what is set aside."""
        facts: Any = self.to_plain()
        if self.aside:
            facts = {"files": facts, "aside": [[file.name, *file.content] for file in self.aside]}
        return hashlib.sha256(json.dumps(facts, separators=(",", ":")).encode()).hexdigest()

    def to_plain(self) -> list[dict[str, Any]]:
        """Return what the manifest keeps of each file."""
        return [
            {"name": file.name, "bytes": file.size, "rows": file.rows, "footer_sha256": file.footer}
            | ({"folders": dict(file.folders)} if file.folders else {})
            for file in self.files
        ]


def take_snapshot(
    source: str | Path | Sequence[str],
    wanted: pa.Schema,
    *,
    contract: str,
    recipe: Recipe | None = None,
    found: tuple[Place, list[Found]] | None = None,
    may_be_empty: bool = False,
    allowance: Allowance | None = None,
) -> Snapshot:
    """Read every footer and hold its columns against the wanted ones.

    Args:
        source: file, folder, glob or URI, or a list of them.
        wanted: columns that every file must have, in types that it can be cast to without loss.
        contract: name to call the wanted columns by.
        recipe: where columns come from and which rows stay.
        found: the files, when they are known already.
        may_be_empty: whether files without a row that stays are an answer, and no error.
        allowance: set files that do not fit aside; None raises instead.

    Raises:
        FileUnreadable: a file is missing, empty, truncated or not Parquet.
        SchemaMismatch: a column is missing or of another type; file, column and both types are named.
        InputEmpty: there is no file, or no row, or the filter leaves none.
        RunRefused: more files than allowed, or all, would be set aside.
        StoreConflict: a file of a store changed since it was listed.
        StoreUnavailable: an object store does not answer.
    """
    recipe = recipe or Recipe()
    locations = (str(source),) if isinstance(source, str | Path) else tuple(source)
    place, names = found or find_inputs(locations)
    check: Callable[[Found], tuple[InputFile | AsideFile, list[str]]]
    check = _FileCheck(place, recipe, recipe.read_schema(wanted), frozenset(wanted.names))
    if allowance is not None:
        check = partial(_kept_or_aside, check, place, allowance.known)
    # One task per file would cost more than a small file's footer.
    tasks = [names[start : start + _PER_TASK] for start in range(0, len(names), _PER_TASK)]
    if not place.is_local:
        tasks = [[name] for name in names]
    with ThreadPoolExecutor(_DISK_THREADS if place.is_local else _STORE_THREADS) as threads:
        answers = [answer for some in threads.map(lambda task: [check(one) for one in task], tasks) for answer in some]
    faults = [f"{file.name}: {fault}" for file, faulty in answers for fault in faulty]
    shown = ", ".join(Place.at(location).shown() for location in locations)
    if faults:
        more = f" And {len(faults) - _SHOWN} more." if len(faults) > _SHOWN else ""
        message = f"{shown} does not fit contract {contract!r}: {' '.join(faults[:_SHOWN])}{more} Nothing was scored."
        raise SchemaMismatch(message, source=shown, contract=contract, faults=faults)
    snapshot = Snapshot(
        tuple(file for file, _ in answers if isinstance(file, InputFile)),
        None if place.is_local else place,
        tuple(file for file, _ in answers if isinstance(file, AsideFile)),
    )
    if allowance is not None:
        allowance.check(snapshot.aside, shown, len(names))
    if may_be_empty:
        return snapshot
    if not snapshot.rows:
        message = f"{shown} holds {len(names)} Parquet file(s) and no row: there is nothing to score."
        raise InputEmpty(message, source=shown, files=len(names))
    if snapshot.rows == snapshot.rows_left_out:
        raise no_row_passes(recipe, shown, snapshot.rows)
    return snapshot


def _kept_or_aside(
    check: Callable[[Found], tuple[InputFile | AsideFile, list[str]]],
    place: Place,
    known: Mapping[str, AsideFile],
    found: Found,
) -> tuple[InputFile | AsideFile, list[str]]:
    """Return a file as its check does, or what is kept of one that cannot be scored."""
    try:
        file, faults = check(found)
    except (FileUnreadable, SchemaMismatch) as error:
        if not is_of_the_file(error):
            raise
        return set_aside(place, found, error), []
    if faults:
        return set_aside(place, found, SchemaMismatch(" ".join(faults))), []
    before = known.get(found.name)
    same = before is not None and isinstance(file, InputFile) and before.content == (file.size, file.footer)
    return before if before is not None and same else file, []


def no_row_passes(recipe: Recipe, shown: str, rows: int) -> InputEmpty:
    """Return the error for an input of which the filter leaves nothing."""
    message = (
        f"The filter {recipe.filter} leaves none of the {rows:,} rows of {shown}: there is nothing to score. "
        "Change the filter, or set empty: commit when that may happen."
    )
    return InputEmpty(message, source=shown, filter=str(recipe.filter), rows=rows)


def find_files(source: str | Path) -> list[Path]:
    """Return the Parquet files that a file, folder or glob of this machine names, in order of path.

    Raises:
        FileUnreadable: the file or folder does not exist.
        InputEmpty: the folder or glob holds no Parquet file.
    """
    place, found = find_inputs((str(source),))
    return [Path(place.shown(file.name)) for file in found]


class _FileCheck:
    """Reads one footer after the other; what files have in common is worked out once.

    Files of one writer have one schema, so its faults and the places of its columns are kept and compared by the
    footer's own schema. Threads may work them out twice; the answer is the same.
    """

    def __init__(self, place: Place, recipe: Recipe, schema: pa.Schema, wanted: frozenset[str]) -> None:
        self._place = place
        self._wanted = wanted
        self._recipe = recipe
        self._schema = schema
        self._last: tuple[Any, FileColumns] | None = None

    def __call__(self, found: Found) -> tuple[InputFile, list[str]]:
        """Return a file of the input, and what is wrong with it."""
        shown = self._place.shown(found.name)
        if self._place.is_local:
            size, digest, metadata = read_footer(shown)
        else:
            size, digest, metadata, file = read_footer_at(self._place, found.name)
            file.close()
            if found.size is not None and size != found.size:
                message = (
                    f"The file {shown} had {found.size} bytes when it was listed and has {size} now. "
                    "Run again when nobody writes to the input any more."
                )
                raise StoreConflict(message, path=shown)
        columns = self._columns(metadata)
        values = self._folders(shown, columns)
        faults = self._faults(metadata, columns, shown, frozenset(values))
        groups = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
        pruned: tuple[int, ...] = ()
        if self._recipe.filter is not None and not faults:
            pruned = left_out(metadata, columns, self._recipe, values)
        texts = hive_values(shown) if values else {}
        folders = tuple((name, texts[self._recipe.in_file(name)]) for name in sorted(values))
        return InputFile(shown, found.name, size, groups, digest, pruned, folders), faults

    def _columns(self, metadata: pq.FileMetaData) -> FileColumns:
        # What Arrow wrote of its own types is compared too: Parquet's schema knows fewer.
        key = (metadata.metadata or {}).get(b"ARROW:schema"), metadata.schema
        last = self._last
        if last is not None and last[0][0] == key[0] and last[0][1].equals(key[1]):
            return last[1]
        columns = FileColumns.of(metadata)
        self._last = key, columns
        return columns

    def _folders(self, shown: str, columns: FileColumns) -> dict[str, pa.Scalar]:
        """Return the values that folders give to columns which the file has not."""
        values: dict[str, pa.Scalar] = {}
        if "=" not in shown:
            return values
        for item in self._schema:
            place = self._recipe.in_file(item.name)
            if place not in columns.names:
                value = partition_value(shown, place, item.type)
                if value is not None:
                    values[item.name] = value
        return values

    def _faults(
        self, metadata: pq.FileMetaData, columns: FileColumns, shown: str, from_folders: frozenset[str]
    ) -> list[str]:
        if columns.fits == from_folders:
            return []
        exact = True
        faults = []
        for item in self._schema:
            place = self._recipe.in_file(item.name)
            if item.name in from_folders:
                continue
            called = repr(item.name) if place == item.name else f"{item.name!r} (in the files: {place!r})"
            places = columns.schema.get_all_field_indices(place)
            if len(places) != 1:
                known = [*columns.schema.names, *hive_values(shown)]
                problem = f"is missing. {near(place, known)}" if not places else f"is there {len(places)} times."
                faults.append(f"column {called} ({type_name(item.type)}) {problem}")
                continue
            kind = columns.schema.field(places[0]).type
            # A whole number becomes a float when every value fits; the cast itself proves that, row by row.
            fits = canonical_type(kind) == item.type or (pa.types.is_integer(kind) and item.type == pa.float64())
            if not fits and kind != item.type and not pa.types.is_null(kind):
                exact = False
                if not columns.all_null(metadata, place):
                    who = "the contract" if item.name in self._wanted else "the run"
                    faults.append(f"column {called} is {type_name(kind)}, {who} wants {type_name(item.type)}.")
        for name, side in self._recipe.joined.items():
            if name in columns.names:
                faults.append(
                    f"column {name!r} is in the file and in the side table {side.shown}. Give the join a prefix, "
                    "or name the file's column otherwise with columns."
                )
        # Whether a column is without any value differs by file; the rest is the same for every file of the schema.
        columns.fits = from_folders if exact and not faults else None
        return faults
