"""Counts and figures of watched windows as Parquet files of the lake, each written whole by one rename.

    <lake>/windows/<model>/parts/<source>.parquet      what one source adds, a row for each window and segment
    <lake>/windows/<model>/parts/many-<digest>.parquet the same of many sources, taken together
    <lake>/windows/<model>/figures/2026-03-01.parquet  the figures of the windows that begin on a day
    <lake>/windows/<model>/.lock                       held by the job that looks for what is due

A file of counts names its sources with their revisions in its metadata. Of a source that stands in several files, as
it does between the writing of a `many` file and the removal of those that went into it, the newest revision counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinscore.errors import StoreConflict, StoreUnavailable
from twinscore.monitoring.figure import FIGURES, figures_of, table_of
from twinscore.monitoring.window_key import WindowKey
from twinscore.ports.window_store import SourceEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from twinscore.monitoring.figure import Figure
    from twinscore.ports.window_store import Counted

__all__ = ["PARTS", "WindowFolder"]

_INSTANT = pa.timestamp("us", "UTC")
_KEY = [pa.field(name, pa.string(), nullable=False)
        for name in ("model", "version", "bundle_digest", "role", "path", "segment")]  # fmt: skip
PARTS = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        *_KEY,
        pa.field("start", _INSTANT, nullable=False),
        pa.field("end", _INSTANT, nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("tally", pa.string(), nullable=False),
    ]
)
"""Columns of a file of counts; `tally` is JSON of `WindowTally`, `digest` its SHA-256."""
_SOURCES = b"twinscore.sources"
_STAMPS = b"twinscore.stamps"
_MANY = "many-"
_SINGLES = 64
"""Files of one source from which on they are taken together."""


class _File(NamedTuple):
    """What a file of counts says of itself."""

    path: Path
    sources: dict[str, tuple[int, dict[str, Any]]]
    """Revision and state by source."""
    windows: dict[str, tuple[tuple[datetime, datetime, str], ...]]


class WindowFolder:
    """The store of one model in a folder that every node sees."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts, self._figures = folder / "parts", folder / "figures"
        self._known: dict[tuple[str, int, int], _File] = {}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who looks for what is due; others may read.

        Raises:
            StoreConflict: another job is at it.
            StoreUnavailable: the folder cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _unavailable(self._folder, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            message = f"Another job is watching into {self._folder}; wait for it, or read what it wrote."
            raise StoreConflict(message, folder=str(self._folder)) from error
        try:
            yield
        finally:
            os.close(handle)

    def entries(self) -> dict[str, SourceEntry]:
        """Return what is known of every source, by its name."""
        return {
            source: SourceEntry(source, file.sources[source][1], file.windows.get(source, ()))
            for source, file in self._newest().items()
        }

    def put(self, counted: Counted) -> None:
        """Write what a source adds; what it added before is gone in the same step.

        Raises:
            StoreUnavailable: the folder refuses; what was there stays.
        """
        known = self._newest().get(counted.source)
        revision = 0 if known is None else known.sources[counted.source][0] + 1
        if counted.tallies is not None:
            table = _rows_of(counted.source, counted.tallies)
        elif known is not None:
            table = pq.read_table(known.path, schema=PARTS, filters=pc.field("source") == counted.source)
        else:
            table = PARTS.empty_table()
        self._write_parts(self._parts / f"{counted.source}.parquet", table, {counted.source: (revision, counted.state)})

    def tallies(
        self, starts: Sequence[datetime], keep: Callable[[WindowKey], bool] | None = None
    ) -> Iterator[tuple[WindowKey, dict[str, Any]]]:
        """Yield what each source adds to the windows that begin then, of the keys that are kept, in no order."""
        wanted = set(starts)
        newest = self._newest()
        for path in {file.path: None for file in newest.values()}:
            mine = [
                source for source, file in newest.items()
                if file.path == path and any(start in wanted for start, _, _ in file.windows.get(source, ()))
            ]  # fmt: skip
            if not mine:
                continue
            table = pq.read_table(path, filters=pc.field("source").isin(mine) & pc.field("start").isin(list(wanted)))
            for row in table.to_pylist():
                names = [item.name for item in _KEY]
                key = WindowKey(**{name: row[name] for name in names}, start=row["start"], end=row["end"])
                if keep is None or keep(key):
                    yield key, json.loads(row["tally"])

    def consolidate(self, singles: int = _SINGLES) -> int:
        """Take files of one source together when there are more than `singles`, and return how many went away."""
        files = self._files()
        loose = [file for file in files if not file.path.name.startswith(_MANY)]
        many = [file for file in files if file.path.name.startswith(_MANY)]
        if len(loose) <= singles:
            return 0
        taken = loose + (many if len(many) > singles else [])
        newest = self._newest()
        sources = {
            source: file.sources[source]
            for source, file in sorted(newest.items())
            if file.path in {f.path for f in taken}
        }
        tables = [PARTS.empty_table()]
        for file in taken:
            mine = [source for source in file.sources if newest[source].path == file.path]
            tables.append(pq.read_table(file.path, schema=PARTS).filter(pc.field("source").isin(mine)))
        content = json.dumps({source: revision for source, (revision, _) in sources.items()}, sort_keys=True)
        name = f"{_MANY}{hashlib.sha256(content.encode()).hexdigest()[:16]}.parquet"
        self._write_parts(self._parts / name, pa.concat_tables(tables).sort_by("start"), sources)
        for file in taken:
            if file.path.name != name:
                file.path.unlink(missing_ok=True)
        return len(taken)

    def stamps(self) -> dict[datetime, str]:
        """Return for each window that has figures what they were made of, by the window's start."""
        found: dict[datetime, str] = {}
        for path in self._days():
            found |= _stamps_of(path)
        return found

    def write(self, windows: Mapping[datetime, tuple[str, Sequence[Figure]]]) -> None:
        """Replace the figures of windows, and what they were made of, by start.

        Raises:
            StoreUnavailable: the folder refuses.
        """
        by_day: dict[str, dict[datetime, tuple[str, Sequence[Figure]]]] = {}
        for start, given in windows.items():
            by_day.setdefault(start.astimezone(UTC).date().isoformat(), {})[start] = given
        for day, mine in sorted(by_day.items()):
            path = self._figures / f"{day}.parquet"
            kept, stamps = FIGURES.empty_table(), {}
            if path.exists():
                stamps = _stamps_of(path)
                kept = pq.read_table(path, schema=FIGURES)
                kept = kept.filter(pc.invert(pc.is_in(kept["start"], value_set=pa.array(list(mine), _INSTANT))))
            stamps |= {start: stamp for start, (stamp, _) in mine.items()}
            fresh = table_of([figure for _, figures in mine.values() for figure in figures])
            order = [(name, "ascending") for name in FIGURES.names if name not in {"value", "low", "high", "p_value"}]
            table = pa.concat_tables([kept, fresh]).sort_by(order)
            told = {start.isoformat(): stamp for start, stamp in sorted(stamps.items())}
            _write(path, table.replace_schema_metadata({_STAMPS: json.dumps(told).encode()}))

    def read(
        self, since: datetime | None = None, until: datetime | None = None, keep: Callable[[Figure], bool] | None = None
    ) -> list[Figure]:
        """Return the figures of windows that begin in a span of time, in order of time."""
        found: list[Figure] = []
        for path in self._days():
            if (since and path.stem < since.astimezone(UTC).date().isoformat()) or (
                until and path.stem > until.astimezone(UTC).date().isoformat()
            ):
                continue
            for figure in figures_of(pq.read_table(path, schema=FIGURES)):
                inside = (since is None or figure.start >= since) and (until is None or figure.start < until)
                if inside and (keep is None or keep(figure)):
                    found.append(figure)
        return found

    def _newest(self) -> dict[str, _File]:
        newest: dict[str, _File] = {}
        for file in self._files():
            for source, (revision, _) in file.sources.items():
                known = newest.get(source)
                if known is None or revision > known.sources[source][0]:
                    newest[source] = file
        return newest

    def _files(self) -> list[_File]:
        """Read what every file of counts says of itself; what was read before is known by size and time."""
        known: dict[tuple[str, int, int], _File] = {}
        for path in sorted(self._parts.glob("[!.]*.parquet")) if self._parts.is_dir() else []:
            try:
                facts = path.stat()
                key = path.name, facts.st_size, facts.st_mtime_ns
                known[key] = self._known.get(key) or _file(path)
            except FileNotFoundError:
                continue  # taken together with others meanwhile
        self._known = known
        return list(known.values())

    def _days(self) -> list[Path]:
        return sorted(self._figures.glob("[!.]*.parquet")) if self._figures.is_dir() else []

    def _write_parts(self, path: Path, table: pa.Table, sources: Mapping[str, tuple[int, Mapping[str, Any]]]) -> None:
        told = {source: [revision, dict(state)] for source, (revision, state) in sources.items()}
        _write(path, table.replace_schema_metadata({_SOURCES: json.dumps(told).encode()}))


def _rows_of(source: str, tallies: Sequence[tuple[WindowKey, Mapping[str, Any]]]) -> pa.Table:
    texts = [json.dumps(tally, sort_keys=True, separators=(",", ":")) for _, tally in tallies]
    keys = [key for key, _ in tallies]
    columns: dict[str, list[Any]] = {"source": [source] * len(keys)}
    columns |= {name: [getattr(key, name) for key in keys] for name in (*(f.name for f in _KEY), "start", "end")}
    columns |= {"digest": [hashlib.sha256(text.encode()).hexdigest() for text in texts], "tally": texts}
    return pa.table([columns[name] for name in PARTS.names], schema=PARTS)


def _file(path: Path) -> _File:
    with pq.ParquetFile(path) as file:
        told = json.loads(file.schema_arrow.metadata[_SOURCES])
        rows = file.read(columns=["source", "start", "end", "digest"]).to_pylist()
    windows: dict[str, list[tuple[datetime, datetime, str]]] = {}
    for row in rows:
        windows.setdefault(row["source"], []).append((row["start"], row["end"], row["digest"]))
    sources = {source: (int(revision), state) for source, (revision, state) in told.items()}
    return _File(path, sources, {source: tuple(sorted(found)) for source, found in windows.items()})


def _stamps_of(path: Path) -> dict[datetime, str]:
    told = json.loads(pq.read_schema(path).metadata[_STAMPS])
    return {datetime.fromisoformat(start): stamp for start, stamp in told.items()}


def _write(path: Path, table: pa.Table) -> None:
    """Write a file that is there whole or not at all, and on disk."""
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with hidden.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            hidden.unlink(missing_ok=True)
        raise _unavailable(path, error) from error


def _unavailable(path: Path, error: OSError) -> StoreUnavailable:
    message = f"The counts of watched windows at {path} cannot be written: {error.strerror or error}."
    return StoreUnavailable(message, path=str(path))
