"""Outcomes that became known after a run, joined to its predictions by key; knows files, no Ray and no models.

A label counts from the moment at which it was known, so that a past day can be looked at as it was: `as_of` leaves out
what was learnt later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinscore.batch.find import find_inputs
from twinscore.batch.footer import read_footer, read_footer_at
from twinscore.batch.key_set import KeySet
from twinscore.batch.plan import whole_files
from twinscore.batch.reading import read_piece
from twinscore.batch.recipe import Recipe
from twinscore.batch.snapshot import take_snapshot
from twinscore.contract.conform import canonical_type
from twinscore.contract.row_key import key_hashes
from twinscore.contract.show import show_cells
from twinscore.errors import InputError, SchemaMismatch, SettingsInvalid, near

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from twinscore.batch.read import CommittedRun
    from twinscore.batch.spec_parts import LabelsSpec

__all__ = ["AGES", "Coverage", "coverage_of", "instants_of", "join_labels", "label_type", "labelled_batches"]

AGES = {"1 day": timedelta(days=1), "7 days": timedelta(days=7), "30 days": timedelta(days=30),
        "90 days": timedelta(days=90)}  # fmt: skip
"""Ages at which the share of rows with an outcome is told."""

_MOMENT = pa.timestamp("us", "UTC")
_DELAY = pa.duration("us")
_TAKEN = ("score", "decision", "prediction_set", "lower", "upper", "version", "run_id")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many rows have an outcome."""

    rows: int
    labelled: int
    by_age: dict[str, tuple[int, int]]
    """Age to rows that have reached it, and those of them that had their outcome by then; empty without times."""

    @property
    def share(self) -> float:
        """Rows with an outcome, from 0 to 1."""
        return self.labelled / self.rows if self.rows else 0.0


def join_labels(
    run: CommittedRun, spec: LabelsSpec, *, as_of: datetime | None = None, since: str | None = None
) -> pa.Table:
    """Return a run's predictions with the outcomes that were known by `as_of`; see `labelled_batches`."""
    tables = list(labelled_batches(run, spec, as_of=as_of, since=since))
    return pa.concat_tables(tables) if tables else pa.table({})


def labelled_batches(
    run: CommittedRun, spec: LabelsSpec, *, as_of: datetime | None = None, since: str | None = None
) -> Iterator[pa.Table]:
    """Yield every scored row of a run with its outcome, in the order of the run, at most 65,536 rows at a time.

    Columns: the key, score, decision, prediction_set, lower, upper, version, run_id, then `label` (null while it is not
    known), `label_at` and `delay` (`label_at` less the row's own time). In memory: the labels of the run's rows, and
    8 bytes per row of the run.

    Args:
        spec: `key` names the labels' key columns in the order of the run's key; `path` must be absolute or a URI.
        as_of: leaves out labels that were known later; needs `spec.at`. A time without a zone is UTC.
        since: time column of the predictions, such as one of the key, that a delay counts from; None is `scored_at`.

    Raises:
        FileUnreadable, InputEmpty, StoreUnavailable: there are no labels to read.
        SchemaMismatch: a column is missing or of another type.
        SettingsInvalid: the spec names another number of keys than the run has, `as_of` lacks a time of the labels.
        InputError: two labels known by then have one key; an example is named.
    """
    names = list(run.manifest["key"])
    files = run.prediction_files()
    if not files:
        return
    schema = pq.read_schema(run.folder / files[0])
    key = pa.schema([schema.field(name) for name in names])
    if since is not None and (since not in schema.names or not pa.types.is_timestamp(schema.field(since).type)):
        times = [item.name for item in schema if pa.types.is_timestamp(item.type)]
        message = f"The predictions of run {run.manifest['run_id']} have no time column {since!r}. {near(since, times)}"
        raise SchemaMismatch(message, column=since)
    labels = _labels(run, spec, key, as_of)
    found = KeySet(labels.select(names))
    _refuse_repeated(found, spec)
    for batch in run.batches(list(dict.fromkeys([*names, *_TAKEN, since or "scored_at"]))):
        places = found.places(batch.select(names).cast(key))
        taken = labels.take(pa.array(places, mask=places < 0))
        began = instants_of(batch.column(since or "scored_at"))
        columns = [batch.column(name) for name in dict.fromkeys([*names, *_TAKEN])]
        columns += [taken["label"], taken["label_at"], pc.subtract(taken["label_at"], began).cast(_DELAY)]
        yield pa.table(columns, names=[*dict.fromkeys([*names, *_TAKEN]), "label", "label_at", "delay"])


def coverage_of(
    run: CommittedRun, spec: LabelsSpec, *, as_of: datetime | None = None, since: str | None = None
) -> Coverage:
    """Count the rows that have an outcome: all in all, and by the time at which they were so many days old.

    Raises:
        As `labelled_batches`.
    """
    end = _utc(as_of) if as_of else datetime.now(UTC)
    rows = labelled = 0
    reached, known = dict.fromkeys(AGES, 0), dict.fromkeys(AGES, 0)
    born = iter(run.batches([since or "scored_at"])) if spec.at else None
    for table in labelled_batches(run, spec, as_of=as_of, since=since):
        rows += table.num_rows
        labelled += table.num_rows - table["label"].null_count
        if born is None:
            continue
        # Both readings cut the same files into the same batches.
        age = pc.subtract(pa.scalar(end, _MOMENT), instants_of(next(born).column(0)))
        for name, limit in AGES.items():
            old = pc.fill_null(pc.greater_equal(age, pa.scalar(limit, _DELAY)), False).to_numpy()
            soon = pc.fill_null(pc.less_equal(table["delay"], pa.scalar(limit, _DELAY)), False).to_numpy()
            reached[name] += int(np.count_nonzero(old))
            known[name] += int(np.count_nonzero(old & soon))
    by_age = {name: (reached[name], known[name]) for name in AGES if reached[name]} if spec.at else {}
    return Coverage(rows, labelled, by_age)


def _labels(run: CommittedRun, spec: LabelsSpec, key: pa.Schema, as_of: datetime | None) -> pa.Table:
    """Return the labels of the run's rows that were known by then: key columns, label, label_at."""
    theirs = spec.key or tuple(key.names)
    if len(theirs) != len(key):
        run_id, own = run.manifest["run_id"], ", ".join(key.names)
        message = f"labels.key names {', '.join(theirs)}; the key of run {run_id} is {own}: name one for each."
        raise SettingsInvalid(message, setting="labels.key")
    if as_of is not None and spec.at is None:
        message = "Labels as of a time need labels.at: the column that says when each of them was known."
        raise SettingsInvalid(message, setting="labels.at")
    names = [f"key {name}" for name in key.names]
    renamed = {**dict(zip(names, theirs, strict=True)), "label": spec.column}
    fields = [*(item.with_name(name) for name, item in zip(names, key, strict=True))]
    place, found = find_inputs((spec.path,))
    fields.append(pa.field("label", label_type(spec.path, spec.column)))
    if spec.at is not None:
        renamed["label_at"] = spec.at
        kind = label_type(spec.path, spec.at)
        if not (pa.types.is_timestamp(kind) or pa.types.is_date32(kind)):
            message = f"The column {spec.at!r} of the labels {place.shown()} is {kind}; it must be a time or a day."
            raise SchemaMismatch(message, column=spec.at)
        fields.append(pa.field("label_at", kind))
    wanted = pa.schema(fields)
    recipe = Recipe(place=None if place.is_local else place, columns=renamed)
    snapshot = take_snapshot(
        spec.path, wanted, contract="labels", recipe=recipe, found=(place, found), may_be_empty=True
    )
    hashes_of_run = _hashes(run, key)
    tables = [wanted.empty_table()]
    for piece in whole_files(snapshot):
        for rows in read_piece(piece, wanted, recipe=recipe):
            table = rows.table
            hashes, whole = key_hashes(table.select(names))
            starts, ends = np.searchsorted(hashes_of_run, hashes), np.searchsorted(hashes_of_run, hashes, "right")
            mask = whole & (ends > starts) & ~pc.is_null(table["label"], nan_is_null=True).to_numpy()
            if spec.at is not None:
                moment = instants_of(table["label_at"])
                known = pc.less_equal(moment, pa.scalar(_utc(as_of), _MOMENT)) if as_of else pc.is_valid(moment)
                mask &= pc.fill_null(known, False).to_numpy()
            tables.append(table.filter(pa.array(mask)))
    labels = pa.concat_tables(tables).combine_chunks()
    moments = instants_of(labels["label_at"]) if spec.at is not None else pa.nulls(labels.num_rows, _MOMENT)
    columns = [*(labels[name] for name in names), labels["label"], moments]
    return pa.table(columns, names=[*key.names, "label", "label_at"])


def _hashes(run: CommittedRun, key: pa.Schema) -> NDArray[np.uint64]:
    parts = [key_hashes(batch.select(key.names))[0] for batch in run.batches(key.names)]
    return np.sort(np.concatenate([np.zeros(0, np.uint64), *parts]))


def _refuse_repeated(found: KeySet, spec: LabelsSpec) -> None:
    rows = found.repeated()
    if not len(rows):
        return
    some = found.keys.take(pa.array(rows)).group_by(found.keys.column_names, use_threads=False).aggregate([])
    columns = [show_cells(column.combine_chunks()).to_pylist() for column in some.slice(0, _SHOWN).columns]
    shown = "; ".join(", ".join(map(str, key)) for key in zip(*columns, strict=True))
    more = f" and {some.num_rows - _SHOWN:,} more keys" if some.num_rows > _SHOWN else ""
    message = (
        f"The labels {spec.path} say more than once what became of {shown}{more}. "
        "Keep one label per key, or name the key that tells them apart."
    )
    raise InputError(message, path=spec.path, keys=some.num_rows)


def label_type(path: str, column: str) -> pa.DataType:
    """Return the contract type of a column of the labels' first file."""
    place, found = find_inputs((path,))
    if place.is_local:
        metadata = read_footer(place.shown(found[0].name))[2]
    else:
        *_, metadata, file = read_footer_at(place, found[0].name)
        file.close()
    schema = metadata.schema.to_arrow_schema()
    shown = place.shown(found[0].name)
    if column not in schema.names:
        message = f"The labels {shown} have no column {column!r}. {near(column, schema.names)}"
        raise SchemaMismatch(message, column=column, path=shown)
    kind = canonical_type(schema.field(column).type)
    if kind is None:
        message = f"The column {column!r} of the labels {shown} is {schema.field(column).type}, which is no outcome."
        raise SchemaMismatch(message, column=column, path=shown)
    return kind


def instants_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return times or days as UTC moments; a time without a zone is UTC."""
    kind = column.type
    if pa.types.is_date32(kind):
        column = column.cast(pa.timestamp("us"))
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        return pc.assume_timezone(column.cast(pa.timestamp("us")), "UTC")
    return column.cast(_MOMENT)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
