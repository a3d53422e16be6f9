"""Features that were computed before, by entity key: a table as a keyed file, and a request filled from it.

Values are not coerced: a column of the table must have the contract's type, or one that it holds without loss.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from twinscore.cache.build import build_keyed
from twinscore.cache.freshness import Status, status_at
from twinscore.cache.hash_sort import by_hash, repeats
from twinscore.cache.keyed_file import HIDDEN, KeyedFile
from twinscore.contract.conform import conform
from twinscore.contract.model import Column, Contract
from twinscore.contract.rows import RowDecoder
from twinscore.errors import FileUnreadable, SchemaMismatch, near

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from twinscore.cache.spec import FeaturesSpec

__all__ = ["FeatureLookup", "Joined", "build_features", "feature_path", "without_features"]

_AS_OF = f"{HIDDEN}as_of"
_KIND = "features"
_BATCH_ROWS = 65_536
_MICROSECONDS = 1_000_000
_UNDATED = np.iinfo(np.int64).min


class Joined(NamedTuple):
    """A request's row with its features filled in."""

    row: dict[str, Any]
    """A copy; null where a feature is not PRESENT."""
    statuses: dict[str, Status]
    """Of each feature that was looked up: those that the request did not send itself."""
    age_s: float | None
    """Of the entity's values, None when there are none or their time is not known."""


def feature_path(lake: Path, model: str, spec: FeaturesSpec) -> Path:
    """Return where the file of a spec belongs: another table, key or column is another file, another age is not."""
    said = {name: value for name, value in asdict(spec).items() if name != "max_age_s"}
    said["columns"] = sorted(spec.columns)
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
    return lake / "cache" / model / "features" / f"{digest}.arrow"


def build_features(path: Path, table: Path, spec: FeaturesSpec, contract: Contract, *, now: datetime) -> int:
    """Write a table of features as a keyed file, and return how many entities are in it.

    Of several rows of one entity the newest counts; rows whose key has a missing part are left out.

    Args:
        path: of the file; it appears whole or not at all.
        table: Parquet file or folder.
        spec: which columns, by which key.
        contract: says the types of key and columns.
        now: is kept as the time at which the file was made.

    Raises:
        FileUnreadable: the table cannot be read.
        SchemaMismatch: a column is missing or of another type, or an entity has two rows of the same time.
        StoreUnavailable: the folder cannot be written.
    """
    key, values = _schemas(spec, contract)
    try:
        source = ds.dataset(str(table), format="parquet")
        rows = source.count_rows()
    except (OSError, pa.ArrowException) as error:
        message = f"The table of features {table} cannot be read: {error}."
        raise FileUnreadable(message, path=str(table)) from error
    wanted = [*key.names, *values.names]
    lacking = [name for name in (*wanted, *([spec.as_of] if spec.as_of else [])) if name not in source.schema.names]
    if lacking:
        message = f"The table of features {table} has no column {lacking[0]!r}. {near(lacking[0], source.schema.names)}"
        raise SchemaMismatch(message, path=str(table), columns=lacking)
    typed = Contract(str(table), 1, tuple(Column(item.name, item.type) for item in (*key, *values)), (), ())
    stored = pa.schema([*values, pa.field(_AS_OF, pa.int64())])

    def tables() -> Iterator[pa.Table]:
        columns = [*wanted, *([spec.as_of] if spec.as_of else [])]
        for batch in source.to_batches(columns=columns, batch_size=_BATCH_ROWS):
            found = pa.table(batch)
            moments = _moments(found.column(spec.as_of), table) if spec.as_of else pa.nulls(len(found), pa.int64())
            yield conform(found, typed, source=str(table)).append_column(_AS_OF, moments)

    def settle(bucket: pa.Table) -> pa.Table:
        return _newest(bucket, len(key), table)

    facts = {"kind": _KIND, "table": str(table), "made_at": now.isoformat()}
    return build_keyed(path, key, stored, tables(), rows=rows, settle=settle, facts=facts)


class FeatureLookup:
    """Features of entities, mapped; immutable, safe to share between threads.

    Raises:
        FileUnreadable: the file is missing, cut short, damaged, or holds no features.
        SchemaMismatch: it was built for other columns, another key or another contract.
    """

    def __init__(self, path: Path, contract: Contract, spec: FeaturesSpec, *, verify: bool = True) -> None:
        self._file = KeyedFile(path, verify=verify)
        self.facts = self._file.facts
        key, values = _schemas(spec, contract)
        if self.facts.get("kind") != _KIND or self._file.key != key or self._file.values != values:
            message = f"The file {path} was not built for these features and this contract. Build it again."
            raise SchemaMismatch(message, path=str(path))
        self.columns = tuple(spec.columns)
        self._max_age_s = spec.max_age_s
        decoder = Contract("key", 1, tuple(Column(item.name, item.type) for item in key), (), ())
        self._key = tuple(key.names)
        self._decode = RowDecoder(decoder).decode

    def __len__(self) -> int:
        return int(self._file.rows)

    def join(self, row: Mapping[str, Any], *, now_s: float) -> Joined:
        """Fill a row's features by its key.

        What the request sends itself, null included, stays as it is and has no status.

        Args:
            row: JSON or decoded; a key that is missing or of a wrong type finds nothing, and the contract says why.
            now_s: seconds since 1970, UTC.
        """
        wanted = [name for name in self.columns if name not in row]
        if not wanted:
            return Joined(dict(row), {}, None)
        (key,), broken = self._decode([{name: row.get(name) for name in self._key}])
        found = None if broken else self._file.find(key)
        if found is None:
            return without_features(row, wanted)
        page, at = found
        moment = page.hidden[0](at)
        age_s = None if moment is None else now_s - moment / _MICROSECONDS
        if self._max_age_s is not None and (
            age_s is None or status_at(now_s - age_s, now_s, self._max_age_s) is not Status.PRESENT
        ):
            return without_features(row, wanted, Status.OUTSIDE_MAX_AGE, age_s)
        filled, statuses = dict(row), {}
        for name, read in page.columns:
            if name not in row:
                filled[name] = value = read(at)
                statuses[name] = Status.NULL_VALUE if value is None else Status.PRESENT
        return Joined(filled, statuses, age_s)


def without_features(
    row: Mapping[str, Any], wanted: Sequence[str], status: Status = Status.NOT_FOUND, age_s: float | None = None
) -> Joined:
    """Return a row with null in the wanted columns that it does not hold itself."""
    lacking = [name for name in wanted if name not in row]
    return Joined({**row, **dict.fromkeys(lacking)}, dict.fromkeys(lacking, status), age_s)


def _schemas(spec: FeaturesSpec, contract: Contract) -> tuple[pa.Schema, pa.Schema]:
    """Return the key and the values in the contract's types."""
    known = [column.name for column in contract.columns]
    for name in (*spec.key, *spec.columns):
        if name not in known:
            message = f"cache.features speaks of {name!r}, and contract {contract.name!r} has none. {near(name, known)}"
            raise SchemaMismatch(message, contract=contract.name, column=name)
    names = spec.key or contract.key
    key, values = (
        [pa.field(name, contract.column(name).type) for name in part] for part in (names, sorted(spec.columns))
    )
    return pa.schema(key), pa.schema(values)


def _moments(column: pa.ChunkedArray, table: Path) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("us")).cast(pa.int64())
    if not pa.types.is_timestamp(kind):
        message = f"The time column of the features in {table} is {kind}; it must be a timestamp or a date."
        raise SchemaMismatch(message, path=str(table))
    return pc.cast(column, pa.timestamp("us", kind.tz), safe=False).cast(pa.int64())


def _newest(bucket: pa.Table, n_key: int, table: Path) -> pa.Table:
    """Keep the newest row of each key."""
    moments = pc.fill_null(bucket.column(_AS_OF), pa.scalar(int(_UNDATED))).to_numpy()
    ordered = by_hash(bucket, moments)
    columns = range(1, 1 + n_key)
    rows, code = repeats(ordered, columns)
    if not len(rows):
        return ordered
    # Within a hash they stand in order of time, so the last of each code is the newest.
    by_code = np.lexsort((rows, code))
    rows, code = rows[by_code], code[by_code]
    last = np.concatenate([code[1:] != code[:-1], [True]])
    times = pc.fill_null(ordered.column(_AS_OF), pa.scalar(int(_UNDATED))).to_numpy()[rows]
    tied = np.flatnonzero(last[1:] & ~last[:-1] & (times[1:] == times[:-1]))
    if len(tied):
        shown = ordered.select(columns).slice(int(rows[tied[0]]), 1).to_pylist()[0]
        message = (
            f"The table of features {table} has two newest rows of {shown}: which is meant cannot be told. "
            "Keep one row per key and time."
        )
        raise SchemaMismatch(message, path=str(table), key={name: str(value) for name, value in shown.items()})
    keep = np.ones(ordered.num_rows, bool)
    keep[rows[~last]] = False
    return ordered.filter(pa.array(keep))
