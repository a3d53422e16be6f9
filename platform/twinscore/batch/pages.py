"""Read row groups of a file as conformed tables of bounded size; knows Parquet and folders, no filter and no join."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from twinscore.batch.footer import read_footer, read_footer_at
from twinscore.batch.place import masked
from twinscore.batch.recipe import Recipe, partition_value
from twinscore.contract.conform import conform
from twinscore.contract.model import Column, Contract
from twinscore.errors import FileUnreadable, StoreConflict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twinscore.batch.plan import Piece

__all__ = ["read_pages"]

_OF_THE_STORE = re.compile(r"AWS Error|google::cloud|Azure|HTTP|curl|[Tt]imed? ?out|[Cc]onnection")
"""What a message of a store says; a corrupt page is an OSError too."""


def read_pages(
    piece: Piece,
    schema: pa.Schema,
    recipe: Recipe,
    *,
    rows: int,
    seen_columns: Callable[[tuple[str, ...]], None] | None = None,
) -> Iterator[pa.Table]:
    """Yield the columns of `schema` from a piece, from file or folder, cast without loss, in order.

    A file of a store is read by row group, so that no more than one of them waits in memory.

    Raises:
        FileUnreadable: a page is corrupt; file and row groups are named.
        StoreConflict: the file is not the one that the snapshot saw.
        SchemaMismatch: a value does not survive the cast to its type.
        StoreUnavailable: the store does not answer.
    """
    with contextlib.ExitStack() as stack:
        source: Any = piece.path
        if recipe.place is None or recipe.place.is_local:
            size, digest, metadata = read_footer(piece.path)
        else:
            size, digest, metadata, source = read_footer_at(recipe.place, piece.name)
            stack.callback(source.close)
        if (size, digest) != (piece.size, piece.footer):
            message = (
                f"The file {piece.path} changed while the run was reading it. "
                "Run again when nobody writes to the input any more."
            )
            raise StoreConflict(message, path=piece.path)
        names = metadata.schema.to_arrow_schema().names
        if seen_columns is not None:
            seen_columns(_as_rows_call_them(names, recipe, piece.path))
        yield from _batches(piece, schema, recipe, source, metadata, set(names), rows)


def _batches(
    piece: Piece, schema: pa.Schema, recipe: Recipe, source: Any, metadata: pq.FileMetaData, names: set[str], rows: int
) -> Iterator[pa.Table]:
    places = {item.name: recipe.in_file(item.name) for item in schema}
    from_file = list(dict.fromkeys(place for place in places.values() if place in names))
    folders = {
        item.name: partition_value(piece.path, places[item.name], item.type)
        for item in schema
        if places[item.name] not in names
    }
    contract = Contract("input", 1, tuple(Column(item.name, item.type) for item in schema), (), ())
    groups = list(range(piece.first_group, piece.end_group))
    remote = not isinstance(source, str)
    seen = 0
    try:
        with pq.ParquetFile(source, metadata=metadata, page_checksum_verification=True, pre_buffer=remote) as file:
            for some in [[group] for group in groups] if remote else [groups]:
                for batch in file.iter_batches(rows, row_groups=some, columns=from_file):
                    columns = {
                        item.name: batch.column(places[item.name])
                        if item.name not in folders
                        else _repeated(folders[item.name], batch.num_rows)
                        for item in schema
                        if folders.get(item.name, True) is not None
                    }
                    yield conform(pa.table(columns), contract, source=f"The file {piece.path}")
                    seen += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        problem = masked((str(error) or type(error).__name__).splitlines()[0].rstrip("."))
        if remote and _OF_THE_STORE.search(problem):
            raise recipe.place.failed(error, piece.name) from error  # type: ignore[union-attr]
        message = (
            f"The file {piece.path} is corrupt in row groups {piece.first_group} to {piece.end_group - 1}, "
            f"after row {piece.first_row + seen}: {problem}. Nothing became visible."
        )
        raise FileUnreadable(message, path=piece.path, first_group=piece.first_group) from error
    if seen != piece.rows:
        message = f"The file {piece.path} has {seen} rows where its footer says {piece.rows}."
        raise FileUnreadable(message, path=piece.path, rows=seen)


def _repeated(value: pa.Scalar, rows: int) -> pa.Array:
    return pa.repeat(value, rows) if value.is_valid else pa.nulls(rows, value.type)


def _as_rows_call_them(names: list[str], recipe: Recipe, location: str) -> tuple[str, ...]:
    """Return the columns of a row: the file's, renamed, those of the folders, and the joined ones."""
    from twinscore.batch.find import hive_values

    back = {place: name for name, place in recipe.columns.items()}
    folders = [name for name in hive_values(location) if name not in names]
    called = (back.get(name, name) for name in (*names, *folders))
    return tuple(dict.fromkeys((*called, *recipe.joined)))
