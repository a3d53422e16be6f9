"""Outcomes for what is watched: read once, looked up by key or by request id, with the age that rows must have.

Where an outcome is told more than once, the one that was known last counts; without times of knowing, that is refused.
"""

from __future__ import annotations

import hashlib
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.batch.find import find_inputs
from twinscore.batch.key_set import KeySet
from twinscore.batch.labels import instants_of, label_type
from twinscore.batch.plan import whole_files
from twinscore.batch.reading import read_piece
from twinscore.batch.recipe import Recipe
from twinscore.batch.snapshot import take_snapshot
from twinscore.errors import InputEmpty, InputError, SchemaMismatch, SettingsInvalid

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from twinscore.batch.place import Found, Place
    from twinscore.contract.model import Contract
    from twinscore.monitoring.spec import WatchedLabels

__all__ = ["KnownLabels", "Outcomes", "labels_token", "placed_labels"]

_MOMENT = pa.timestamp("us", "UTC")
_REQUEST = "request"
_DAY_US = 86_400_000_000
_NEVER = np.iinfo(np.int64).max


def placed_labels(labels: WatchedLabels, lake: Path) -> str:
    """Return where labels lie: a relative path is one of the lake."""
    return labels.path if "://" in labels.path else str(lake / labels.path)


def labels_token(labels: WatchedLabels, path: str) -> str:
    """Return what tells one content of the labels from another, from names, sizes and footers; empty without a file.

    Raises:
        FileUnreadable, SchemaMismatch, StoreUnavailable: they cannot be read.
    """
    try:
        place, found = _find(path)
        wanted = pa.schema([pa.field("label", label_type(path, labels.column))])
        recipe = Recipe(place=None if place.is_local else place, columns={"label": labels.column})
        snapshot = take_snapshot(
            path, wanted, contract="labels", recipe=recipe, found=(place, found), may_be_empty=True
        )
    except InputEmpty:
        return ""
    return snapshot.digest


class Outcomes(NamedTuple):
    """What became of rows."""

    value: pa.Array
    """(n_rows,) as the labels have it; null where it is not known or not counted yet."""
    delay_s: NDArray[np.float64] | None
    """(n_rows,) seconds from the score to the moment at which it was first known, below 0 where that was before the
    score, NaN where it is not known; None where the labels do not say."""


class _Set(NamedTuple):
    """Labels by key."""

    keys: KeySet
    values: pa.Array
    first_us: NDArray[np.int64] | None
    """When the first outcome of each key was known, microseconds since 1970; `_NEVER` where no label says."""


class KnownLabels:
    """Labels in memory, read when the first rows ask, once for each key that versions have.

    Args:
        labels: which columns.
        path: where they lie.
        now: rows younger than the labels' maturity, reckoned from then, have no outcome yet.
    """

    def __init__(self, labels: WatchedLabels, path: str, now: datetime) -> None:
        self._labels, self._path = labels, path
        self._mature = labels.mature_from(now)
        self._sets: dict[tuple[tuple[str, str], ...], _Set] = {}
        self._digest = hashlib.sha256()

    def begin(self) -> Self:
        """Return itself, for the rows of another source: the digest begins anew."""
        self._digest = hashlib.sha256()
        return self

    @property
    def digest(self) -> str:
        """Of every outcome that was given since the beginning, in order."""
        return self._digest.hexdigest()

    def outcomes(
        self, columns: pa.Table, contract: Contract, request_id: pa.ChunkedArray | None, moments: pa.ChunkedArray
    ) -> Outcomes:
        """Return the outcome of each row, and how long it took.

        Args:
            columns: (n_rows, raw columns).
            contract: names the key.
            request_id: of each row; None for a run's, which have none.
            moments: when each row was scored.

        Raises:
            InputError: a key has several outcomes.
            SettingsInvalid: the spec names another number of keys than the contract has.
        """
        n_rows = len(moments)
        if self._labels.request is not None:
            keys = None if request_id is None else pa.table({_REQUEST: request_id.cast(pa.string())})
        else:
            known = [name in columns.column_names for name in contract.key]
            types = {column.name: column.type for column in contract.columns}
            keys = _cast(columns.select(contract.key), types) if all(known) else None
        if keys is None:
            outcome = pa.nulls(n_rows, pa.string())
            delay_s = None if self._labels.at is None else np.full(n_rows, np.nan)
        else:
            found = self._set(keys.schema)
            places = found.keys.places(keys)
            old = pc.less_equal(moments, pa.scalar(self._mature, _MOMENT))
            unknown = (places < 0) | ~pc.fill_null(old, False).to_numpy()
            outcome = found.values.take(pa.array(places, mask=unknown))
            delay_s = None if found.first_us is None else _delays(found.first_us, places, unknown, moments)
        self._digest.update(_words(outcome, delay_s))
        return Outcomes(outcome, delay_s)

    def _set(self, key: pa.Schema) -> _Set:
        name = tuple((item.name, str(item.type)) for item in key)
        if name not in self._sets:
            self._sets[name] = self._read(key)
        return self._sets[name]

    def _read(self, key: pa.Schema) -> _Set:
        labels = self._labels
        theirs = (labels.request,) if labels.request is not None else labels.key or tuple(key.names)
        if len(theirs) != len(key):
            message = (
                f"monitor.labels.key names {', '.join(theirs)}; the model's key is {', '.join(key.names)}: name one "
                "for each."
            )
            raise SettingsInvalid(message, setting="monitor.labels.key")
        names = [f"key {at}" for at in range(len(key))]
        fields = [item.with_name(name) for name, item in zip(names, key, strict=True)]
        renamed = {**dict(zip(names, theirs, strict=True)), "label": labels.column}
        try:
            place, found = _find(self._path)
        except InputEmpty:
            first_us = None if labels.at is None else np.zeros(0, np.int64)
            return _Set(KeySet(key.empty_table()), pa.array([], pa.string()), first_us)
        fields.append(pa.field("label", label_type(self._path, labels.column)))
        if labels.at is not None:
            renamed["at"] = labels.at
            fields.append(pa.field("at", _time_type(self._path, labels.at)))
        wanted = pa.schema(fields)
        recipe = Recipe(place=None if place.is_local else place, columns=renamed)
        snapshot = take_snapshot(
            self._path, wanted, contract="labels", recipe=recipe, found=(place, found), may_be_empty=True
        )
        tables = [wanted.empty_table()]
        for piece in whole_files(snapshot):
            read = read_piece(piece, wanted, recipe=recipe)
            tables += [one.table.filter(pc.invert(pc.is_null(one.table["label"], nan_is_null=True))) for one in read]
        table = pa.concat_tables(tables).combine_chunks()
        known_us = None
        if labels.at is not None:
            # The last known first: of a key that is there twice, a set gives the first place.
            known_us = pc.fill_null(instants_of(table["at"]).cast(pa.int64()), _NEVER).to_numpy()
            order = np.argsort(-np.where(known_us == _NEVER, 0, known_us), kind="stable")
            # What was known on a day was so by its end.
            known_us = np.where(
                known_us == _NEVER, _NEVER, known_us + (_DAY_US if pa.types.is_date32(table["at"].type) else 0)
            )
            table, known_us = table.take(pa.array(order)), known_us[order]
        keys = KeySet(table.select(names).rename_columns(key.names))
        if known_us is None:
            self._refuse_repeated(keys, table["label"])
        return _Set(keys, table["label"].combine_chunks(), None if known_us is None else _first_known(keys, known_us))

    def _refuse_repeated(self, keys: KeySet, label: pa.ChunkedArray) -> None:
        rows = keys.repeated()
        if not len(rows):
            return
        own = keys.places(keys.keys.take(pa.array(rows)))
        differ = pc.not_equal(label.take(pa.array(rows)), label.take(pa.array(own))).to_numpy()
        if differ.any():
            example = keys.keys.take(pa.array(rows[differ][:1])).to_pylist()[0]
            shown = ", ".join(f"{name}={value}" for name, value in example.items())
            message = (
                f"The labels {self._path} say different things of {shown}. Keep one label per key, or name in "
                "monitor.labels.at the column that says when each was known: the last one counts."
            )
            raise InputError(message, path=self._path, keys=int(np.count_nonzero(differ)))


def _find(path: str) -> tuple[Place, list[Found]]:
    """Return the files of the labels; a folder that is not there yet has none.

    Raises:
        InputEmpty: there is no file.
        FileUnreadable, StoreUnavailable: they cannot be looked for.
    """
    if "://" not in path and not has_magic(path) and not Path(path).exists():
        message = f"There are no labels at {path} yet."
        raise InputEmpty(message, source=path)
    return find_inputs((path,))


def _first_known(keys: KeySet, known_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return at the place of each key when the first of its outcomes was known: (n_keys,).

    Corrections say something else about the same row later; how long the outcome took is told by the first.
    """
    repeated = keys.repeated()
    if len(repeated):
        own = keys.places(keys.keys.take(pa.array(repeated)))
        known_us = known_us.copy()
        np.minimum.at(known_us, own, known_us[repeated])
    return known_us


def _delays(
    first_us: NDArray[np.int64], places: NDArray[np.int64], unknown: NDArray[np.bool_], moments: pa.ChunkedArray
) -> NDArray[np.float64]:
    """Return the seconds from each row's moment to its outcome: (n_rows,), NaN where it is not known."""
    scored_us = pc.fill_null(moments.cast(_MOMENT).cast(pa.int64()), 0).to_numpy()
    delay_s = np.full(len(places), np.nan)
    told = np.flatnonzero(~unknown)
    told = told[first_us[places[told]] != _NEVER]
    delay_s[told] = (first_us[places[told]] - scored_us[told]) / 1e6
    return delay_s


def _words(outcome: pa.Array, delay_s: NDArray[np.float64] | None) -> bytes:
    """Return as many bytes for each outcome, so that the digest of all does not depend on how they came."""
    coded = outcome.dictionary_encode()
    words = [hashlib.blake2b(str(value).encode(), digest_size=8).digest() for value in coded.dictionary.to_pylist()]
    table = np.frombuffer(b"".join([*words, bytes(8)]), np.uint64)
    found = table[pc.fill_null(coded.indices, -1).to_numpy()]
    told: bytes = (found if delay_s is None else np.column_stack([found, delay_s.view(np.uint64)])).tobytes()
    return told


def _cast(table: pa.Table, types: dict[str, pa.DataType]) -> pa.Table | None:
    """Return columns in the contract's types; None where the log has hashes of them."""
    try:
        return table.cast(pa.schema([(name, types[name]) for name in table.column_names]))
    except pa.ArrowException:
        return None


def _time_type(path: str, column: str) -> pa.DataType:
    kind = label_type(path, column)
    if not (pa.types.is_timestamp(kind) or pa.types.is_date32(kind)):
        message = f"The column {column!r} of the labels {path} is {kind}; it must be a time or a day."
        raise SchemaMismatch(message, column=column)
    return kind
