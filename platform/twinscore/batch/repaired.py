"""Repaired rows before they are scored: which columns they have, whose keys they are; knows files, no Ray."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twinscore.batch.intake import open_intake
from twinscore.batch.key_set import KeySet
from twinscore.batch.linked import part_name
from twinscore.batch.parts import QUARANTINE
from twinscore.batch.reading import read_piece
from twinscore.batch.spec import ScoreSpec
from twinscore.contract.cells import Cells
from twinscore.contract.conform import canonical_type
from twinscore.contract.hashing import hash_rows
from twinscore.contract.model import type_name
from twinscore.contract.show import show_cells
from twinscore.errors import InputError, SchemaMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from twinscore.batch.intake import Intake
    from twinscore.batch.plan import Shard
    from twinscore.batch.read import CommittedRun
    from twinscore.bundle.files import Bundle

__all__ = ["keys_and_digest", "open_repaired", "refuse_strangers"]

_SHOWN = 5


def open_repaired(run: CommittedRun, bundle: Bundle, repaired: str) -> Intake:
    """Hold repaired rows against the contract: named as the contract has it, or as the run's input had it.

    Raises:
        FileUnreadable, InputEmpty: there is nothing to read.
        SchemaMismatch: a column is missing or of another type, or a key of another than in the run.
    """
    manifest = run.manifest
    known = {*bundle.contract.schema.names, *manifest["key"]}
    joined = {name for join in manifest["input"].get("joins", ()) for name in join["columns"]}
    renamed = {name: place for name, place in manifest["input"].get("columns", {}).items() if name in known - joined}
    spec = ScoreSpec(model=manifest["model"], input=repaired, output=str(run.folder), key=tuple(manifest["key"]))
    try:
        intake = open_intake(spec, bundle.contract)
    except SchemaMismatch:
        if not renamed:
            raise
        intake = open_intake(replace(spec, columns=renamed), bundle.contract)
    own = _key_types(run)
    for item in intake.key:
        if own is not None and own[item.name] != item.type:
            message = (
                f"The key column {item.name!r} is {type_name(item.type)} in {intake.shown} and "
                f"{type_name(own[item.name])} in run {manifest['run_id']}. Write it with the type of the run."
            )
            raise SchemaMismatch(message, column=item.name, path=str(intake.shown))
    return intake


def _key_types(run: CommittedRun) -> dict[str, pa.DataType] | None:
    for name in run.prediction_files():
        schema = pq.read_schema(run.folder / name)
        return {key: canonical_type(schema.field(key).type) for key in run.manifest["key"]}
    return None


def keys_and_digest(shard: Shard, intake: Intake) -> tuple[KeySet, str]:
    """Return the keys of the repaired rows, in order, and a digest of all that is scored of them.

    The digest is that of the rows, whatever the file is called and however it was written.
    """
    digest = hashlib.sha256()
    keys = [intake.key.empty_table()]
    for piece in shard.pieces:
        for rows in read_piece(piece, intake.wanted, recipe=intake.recipe):
            keys.append(rows.table.select(intake.key.names))
            digest.update(hash_rows([Cells(column.combine_chunks()) for column in rows.table.columns]).tobytes())
    return KeySet(pa.concat_tables(keys)), digest.hexdigest()


def refuse_strangers(run: CommittedRun, keys: KeySet, linked: Sequence[Mapping[str, Any]]) -> None:
    """Refuse keys that no row in quarantine has, and those that were brought home before.

    In memory: the repaired keys, and a batch of the run's.

    Raises:
        InputError: there are such keys; some are named.
    """
    names = keys.keys.column_names
    waiting = np.zeros(len(keys), bool)
    for part in run.manifest["files"]:
        if part["name"].startswith(f"{QUARANTINE}/"):
            _mark(run.folder / part["name"], names, keys, waiting)
    home = np.zeros(len(keys), bool)
    for one in linked:
        _mark(run.folder / part_name(one["run_id"]), names, keys, home)
    # A key that stands twice among the repaired rows is marked at its first place only.
    first = keys.places(keys.keys)
    known = first >= 0
    waiting[known], home[known] = waiting[first[known]], home[first[known]]
    if not waiting.all():
        message = (
            f"{_shown(keys, ~waiting)} not in the quarantine of run {run.manifest['run_id']} at {run.folder}. "
            "A retry takes rows that this run refused; score others in a run of their own."
        )
        raise InputError(message, run_id=run.manifest["run_id"], rows=int((~waiting).sum()))
    if home.any():
        message = (
            f"{_shown(keys, home)} brought home to run {run.manifest['run_id']} at {run.folder} before. "
            "Leave them out of the repaired rows."
        )
        raise InputError(message, run_id=run.manifest["run_id"], rows=int(home.sum()))


def _mark(path: Path, names: list[str], keys: KeySet, mask: NDArray[np.bool_]) -> None:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=names):
            places = keys.places(pa.Table.from_batches([batch]).select(names))
            mask[places[places >= 0]] = True


def _shown(keys: KeySet, mask: NDArray[np.bool_]) -> str:
    rows = np.flatnonzero(mask)
    some = keys.keys.take(pa.array(rows[:_SHOWN])).combine_chunks()
    columns = [show_cells(column.combine_chunks()).to_pylist() for column in some.columns]
    shown = "; ".join(", ".join(map(str, key)) for key in zip(*columns, strict=True))
    more = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
    one = len(rows) == 1
    return f"The key {shown} of the repaired rows is" if one else f"The keys {shown}{more} of the repaired rows are"
