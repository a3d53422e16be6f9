"""A committed run beside its input: the rows that it read, and the scores that it wrote for them; no Ray, no HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinscore.batch.aside import AsideFile
from twinscore.batch.intake import open_intake
from twinscore.batch.key_set import KeySet
from twinscore.batch.parts import QUARANTINE
from twinscore.batch.plan import whole_files
from twinscore.batch.reading import read_piece
from twinscore.batch.spec import ScoreSpec
from twinscore.batch.spec_parts import JoinSpec, QuarantineLimit
from twinscore.errors import FileUnreadable, InputEmpty, StoreConflict
from twinscore.scoring.parity import StoredScores
from twinscore.scoring.table import SCORE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from twinscore.batch.intake import Intake
    from twinscore.batch.read import CommittedRun
    from twinscore.bundle.files import Bundle

__all__ = ["in_quarantine", "refuse_without_scores", "same_input", "stored_scores"]


def stored_scores(run: CommittedRun, bundle: Bundle, rows: int, *, source: str | None = None) -> StoredScores:
    """Read the first `rows` rows of a run's input again, and what the run has on disk for them.

    Rows that a retry brought home are read from elsewhere and are not among them: here they are refused.

    Args:
        run: committed.
        bundle: what it was scored with.
        rows: of the input, from the start; rows that the filter leaves out do not count.
        source: where the input is now; None is where the run read it.

    Raises:
        FileUnreadable, SchemaMismatch, StoreUnavailable: the input or the run cannot be read.
        StoreConflict: the input is no longer what the run read.
        InputEmpty: the run took no row in, or was refused as a whole.
    """
    manifest = run.manifest
    refuse_without_scores(run)
    run.verify()
    intake = same_input(run, bundle, source)
    table, files, numbers = _first_rows(intake, rows)
    names = list(manifest["key"])
    stored = _first_scores(run, table.num_rows).cast(
        pa.schema([*(table.schema.field(name) for name in names), *SCORE_SCHEMA])
    )
    places = KeySet(stored.select(names)).places(table.select(names))
    scored = places >= 0
    # A row that the contract accepts and that is in quarantine was refused for its key: asked alone it would pass.
    known = table.select(bundle.contract.schema.names)
    fine = bundle.checker.check(known).accepted
    by_key = fine & ~scored & in_quarantine(run, files, numbers)
    kept = ~by_key
    return StoredScores(
        model=manifest["model"],
        version=manifest["version"],
        run_id=manifest["run_id"],
        bundle_digest=manifest["bundle_digest"],
        table=known.filter(pa.array(kept)),
        scores=stored.select(SCORE_SCHEMA.names).take(pa.array(places[scored])),
        accepted=tuple(np.flatnonzero(scored[kept]).tolist()),
        n_by_key=int(by_key.sum()),
    )


def refuse_without_scores(run: CommittedRun) -> None:
    """Raise where a run has nothing to compare.

    Raises:
        InputEmpty: it took no row in, or was refused as a whole.
    """
    manifest = run.manifest
    if "refused" in manifest or not manifest["rows_in"]:
        message = f"Run {manifest['run_id']} at {run.folder} has no scores to compare."
        raise InputEmpty(message, run_id=manifest["run_id"])


def same_input(run: CommittedRun, bundle: Bundle, source: str | None = None) -> Intake:
    """Open the input as the run did, and prove that it is the same.

    Raises:
        FileUnreadable, SchemaMismatch, StoreUnavailable: it cannot be read.
        StoreConflict: it is no longer what the run read.
    """
    manifest = run.manifest
    was = manifest["input"]
    path = source or was["path"]
    spec = ScoreSpec(
        model=manifest["model"],
        input=path if isinstance(path, str) else tuple(path),
        output=str(run.folder),
        key=tuple(manifest["key"]),
        columns=was["columns"],
        filter=was["filter"],
        join=tuple(_join(one) for one in was["joins"]),
        quarantine=QuarantineLimit(**manifest["quarantine_limit"]),
        empty="commit",
    )
    aside = {one["name"]: AsideFile(**one) for one in was.get("set_aside", ())}
    intake = open_intake(spec, bundle.contract, aside=aside)
    sides = [one["snapshot"] for one in was["joins"]] != [side.token for side in intake.recipe.sides]
    if sides or intake.snapshot.digest != was["snapshot"]:
        what = "a side table of it" if sides else str(intake.shown)
        message = (
            f"The input of run {manifest['run_id']} changed: {what} is no longer what the run read, so its scores "
            "cannot be asked for again. Score it anew, or say where the old input is."
        )
        raise StoreConflict(message, run_id=manifest["run_id"], input=str(intake.shown))
    return intake


def _join(plain: Mapping[str, Any]) -> JoinSpec:
    name, column = next(iter(plain["columns"].items()))
    prefix = name.removesuffix(column)
    return JoinSpec(path=plain["path"], on=plain["on"], columns=tuple(plain["columns"].values()), prefix=prefix)


def _first_rows(intake: Intake, rows: int) -> tuple[pa.Table, NDArray[np.str_], NDArray[np.int64]]:
    """Return rows with the wanted columns, and for each its file's name and its row in it, from 0."""
    tables, files, numbers = [intake.wanted.empty_table()], [np.zeros(0, str)], [np.zeros(0, np.int64)]
    left = rows
    for piece in whole_files(intake.snapshot):
        at = piece.first_row
        for table, which, read in read_piece(piece, intake.wanted, recipe=intake.recipe):
            some = table.slice(0, left)
            tables.append(some)
            files.append(np.full(some.num_rows, piece.name))
            numbers.append((at + np.arange(read) if which is None else which)[: some.num_rows])
            at += read
            left -= some.num_rows
            if not left:
                break
        if not left:
            break
    return pa.concat_tables(tables).combine_chunks(), np.concatenate(files), np.concatenate(numbers)


def _first_scores(run: CommittedRun, rows: int) -> pa.Table:
    """Return keys and scores of the run's first rows: they are in the order of the input, without the refused."""
    columns = [*run.manifest["key"], *SCORE_SCHEMA.names]
    tables: list[pa.Table] = []
    left = rows
    for part in run.manifest["files"]:
        if left > 0 and "/" not in part["name"]:
            try:
                table = pq.ParquetFile(run.folder / part["name"]).read(columns=columns).slice(0, left)
            except (OSError, pa.ArrowException) as error:
                message = f"The file {run.folder / part['name']} cannot be read: {error}."
                raise FileUnreadable(message, path=str(run.folder / part["name"])) from error
            tables.append(table.select(columns))
            left -= table.num_rows
    return pa.concat_tables(tables)


def in_quarantine(run: CommittedRun, files: NDArray[np.str_], numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which rows have a line in the run's own quarantine, by file and row: (n_rows,)."""
    found = np.zeros(len(numbers), bool)
    for part in run.manifest["files"]:
        if part["name"].startswith(f"{QUARANTINE}/"):
            lines = pq.ParquetFile(run.folder / part["name"]).read(columns=["file", "row"])
            names = lines["file"].cast(pa.string())
            for name in pc.unique(names).to_pylist():
                refused = lines["row"].filter(pc.equal(names, name)).to_numpy()
                found |= (files == name) & np.isin(numbers, refused)
    return found
