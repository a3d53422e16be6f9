"""The scores of one batch run by entity key: written from its rows, answered from the mapped file; knows no run folder.

A file holds the run's key columns and every column of SCORE_SCHEMA. Rows that retries brought home later have a source
of their own, with its own run id and time.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from twinscore.cache.build import build_keyed
from twinscore.cache.freshness import Status, status_at
from twinscore.cache.hash_sort import by_hash, repeats
from twinscore.cache.keyed_file import KeyedFile
from twinscore.contract.model import type_name
from twinscore.contract.row_key import KeyReader, key_hashes
from twinscore.errors import FileUnreadable, SchemaMismatch
from twinscore.scoring.table import SCORE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from twinscore.cache.build import Hashed
    from twinscore.contract.model import Contract

__all__ = ["Cached", "Missing", "ScoreCache", "Source", "build_scores"]

_SOURCE = pa.field("__source", pa.int32(), nullable=False)
_VALUES = pa.schema([*SCORE_SCHEMA, _SOURCE])
_KIND = "scores"


class Source(NamedTuple):
    """Where rows come from: the run, or a retry of it."""

    run_id: str
    scored_at: datetime


class Cached(NamedTuple):
    """A score that was made in batch and may be used."""

    status: Status
    """PRESENT."""
    values: dict[str, Any]
    """The keys of SCORE_SCHEMA, the values as `RowScorer.score` gives them."""
    run_id: str
    age_s: float


class Missing(NamedTuple):
    """No score that may be used: NOT_FOUND, NULL_VALUE or OUTSIDE_MAX_AGE."""

    status: Status
    run_id: str | None = None
    age_s: float | None = None


def build_scores(
    path: Path,
    key: pa.Schema,
    parts: Iterable[tuple[Source, Iterable[pa.Table]]],
    *,
    rows: int,
    facts: Mapping[str, Any],
    hashed: Hashed = key_hashes,
) -> int:
    """Write the scored rows of a run as a file that `ScoreCache` opens, and return how many they are.

    Args:
        path: of the file; it appears whole or not at all.
        key: the key columns, as a contract has them.
        parts: each source and its rows, (n_rows, key + SCORE_SCHEMA) a table.
        rows: about how many rows there are.
        facts: of the run; at least bundle_digest and contract_digest.
        hashed: see `build_keyed`.

    Raises:
        SchemaMismatch: a key is there twice; it is named.
        StoreUnavailable: the folder cannot be written.
    """
    listed = list(parts)
    sources = [[source.run_id, source.scored_at.isoformat()] for source, _ in listed]

    def tables() -> Iterator[pa.Table]:
        for number, (_, found) in enumerate(listed):
            for table in found:
                yield table.append_column(_SOURCE, pa.array([number] * table.num_rows, _SOURCE.type))

    def settle(table: pa.Table) -> pa.Table:
        ordered = by_hash(table)
        twice, _ = repeats(ordered, range(1, 1 + len(key)))
        if len(twice):
            shown = ordered.select(range(1, 1 + len(key))).slice(twice[0], 1).to_pylist()[0]
            message = f"The run has two scores of {shown}: which is meant cannot be told. Score with a key that is one."
            raise SchemaMismatch(message, key={name: str(value) for name, value in shown.items()})
        return ordered

    said = {"kind": _KIND, "sources": sources, **facts}
    return build_keyed(path, key, _VALUES, tables(), rows=rows, settle=settle, facts=said, hashed=hashed)


class ScoreCache:
    """The scores of one run, mapped; immutable, safe to share between threads.

    The file may be replaced or deleted while it is open: what is mapped stays.
    """

    def __init__(self, file: KeyedFile) -> None:
        self.file = file
        self.facts = file.facts
        """What the file says of the run: model, version, bundle_digest, contract_digest, run_id, rows and more."""
        self._find = file.find
        self._sources = [(run_id, datetime.fromisoformat(at).timestamp()) for run_id, at in self.facts["sources"]]

    @classmethod
    def open(
        cls,
        path: Path,
        contract: Contract,
        *,
        verify: bool = True,
        reader: Callable[[pa.Schema], KeyReader] = KeyReader,
    ) -> ScoreCache:
        """Open a file for rows of a contract.

        Args:
            path: of a file that `build_scores` wrote.
            contract: of the live version; its rows must have the key's columns.
            verify: read the whole file and compare its checksums.
            reader: what reads the key of a row.

        Raises:
            FileUnreadable: the file is missing, cut short, damaged, or holds no scores.
            SchemaMismatch: rows of the contract lack a key column of the run, or have it in another type.
        """
        file = KeyedFile(path, verify=verify, reader=reader)
        if file.facts.get("kind") != _KIND:
            message = f"The cache file {path} holds {file.facts.get('kind')}, not scores."
            raise FileUnreadable(message, path=str(path))
        types = {column.name: column.type for column in contract.columns}
        off = [item for item in file.key if types.get(item.name) != item.type]
        if off:
            listed = ", ".join(f"{item.name} ({type_name(item.type)})" for item in off)
            message = (
                f"The run in {path} has the key {listed}, which rows of contract {contract.name!r} do not have so: "
                "no request could be looked up. Score with a key of the contract."
            )
            raise SchemaMismatch(message, path=str(path), columns=[item.name for item in off])
        return cls(file)

    def __len__(self) -> int:
        return int(self.file.rows)

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that a row is found by."""
        return tuple(self.file.key.names)

    def find(self, row: Mapping[str, Any], *, now_s: float, ttl_s: float) -> Cached | Missing:
        """Look up the score of a row by its key.

        Args:
            row: decoded, as for `RowScorer.score`; columns other than the key's do not matter.
            now_s: seconds since 1970, UTC.
            ttl_s: a score is used while its age is at least 0 and below this.
        """
        found = self._find(row)
        if found is None:
            return _NOT_FOUND
        page, at = found
        run_id, scored_s = self._sources[page.hidden[0](at)]
        age_s = now_s - scored_s
        status = status_at(scored_s, now_s, ttl_s)
        if status is not Status.PRESENT:
            return Missing(status, run_id, age_s)
        values = {name: read(at) for name, read in page.columns}
        if values["score"] is None:
            return Missing(Status.NULL_VALUE, run_id, age_s)
        return Cached(status, values, run_id, age_s)


_NOT_FOUND = Missing(Status.NOT_FOUND)
