"""Open a committed run and prove that it is what was committed; knows files only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twinscore.batch.checkpoint import sha256_of
from twinscore.batch.key_set import KeySet
from twinscore.batch.linked import linked_manifests, unlinked_files
from twinscore.batch.manifest import committed_run
from twinscore.batch.parts import QUARANTINE
from twinscore.errors import FileUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["CommittedRun", "QuarantinePart", "open_run"]

_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class QuarantinePart:
    """The lines of one quarantine file."""

    run_id: str
    """The run, or linked run, that refused the rows."""
    lines: pa.Table
    """One per reason why a row was refused."""
    home: NDArray[np.bool_]
    """Lines of rows that a linked run brought home later: (n_lines,)."""
    replaced: NDArray[np.bool_]
    """Lines of rows that a later linked run refused again, for reasons of its own: (n_lines,)."""

    @property
    def current(self) -> NDArray[np.bool_]:
        """Lines that say why a row is still refused: (n_lines,)."""
        return ~(self.home | self.replaced)


@dataclass(frozen=True, slots=True)
class CommittedRun:
    """A run on disk, and its manifest.

    The manifest speaks of the first run alone; `linked` lists what retries added to it.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def linked(self) -> tuple[dict[str, Any], ...]:
        """Manifests of the linked runs that are committed by now, in order; see `linked`."""
        return linked_manifests(self.folder)

    def verify(self, *, contents: bool = True) -> None:
        """Compare every file with the manifests: its size and, unless `contents` is False, its SHA-256.

        Raises:
            FileUnreadable: a file is missing, changed, or in no manifest.
        """
        # Files first: a linked run that is committed in between is then in the manifests, and only there.
        present = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*.parquet")}
        unlinked = unlinked_files(self.folder)
        listed = {part["name"]: part for part in self._files()}
        problems = [f"{name} is missing" for name in sorted(set(listed) - present) if not self._is_there(name)]
        problems += [f"{name} is not in the manifest" for name in sorted(present - set(listed) - unlinked)]
        for name in sorted(present & set(listed)):
            size, wanted = (self.folder / name).stat().st_size, listed[name]
            if size != wanted["bytes"]:
                problems.append(f"{name} has {size} bytes instead of {wanted['bytes']}")
            elif contents and sha256_of(self.folder / name) != wanted["sha256"]:
                problems.append(f"{name} has another SHA-256")
        if problems:
            message = (
                f"Run {self.manifest['run_id']} at {self.folder} is not as it was committed: "
                f"{'; '.join(problems[:5])}. Move the folder away and run again."
            )
            raise FileUnreadable(message, folder=str(self.folder), problems=problems)

    def predictions(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the scored rows: the first run's in the order of the input, then each linked run's."""
        tables = [pq.ParquetFile(self.folder / name).read(columns=columns) for name in self.prediction_files()]
        return pa.concat_tables(tables) if tables else pa.table({})

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the scored rows in the order of `predictions`, at most 65,536 at a time."""
        for name in self.prediction_files():
            with pq.ParquetFile(self.folder / name) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                    yield pa.Table.from_batches([batch])

    def quarantine(self) -> pa.Table:
        """Return one line per reason why a row is still refused; without a column when there is none.

        Rows that a linked run brought home are left out; of a row that was refused again, the last reasons count.
        """
        tables = [part.lines.filter(pa.array(part.current)) for part in self.quarantine_parts()]
        return pa.concat_tables(tables) if tables else pa.table({})

    def quarantine_parts(self) -> Iterator[QuarantinePart]:
        """Yield every quarantine file, in order of the runs, with what became of its rows later.

        In memory at a time: one file, and the keys that linked runs brought home or refused again.
        """
        linked = self.linked
        names = list(self.manifest["key"])
        home = [self._keys(one["files"], names, quarantine=False) for one in linked]
        again = [self._keys(one["files"], names, quarantine=True) for one in linked]
        for at, manifest in enumerate((self.manifest, *linked)):
            for part in manifest["files"]:
                if not _is_quarantine(part):
                    continue
                lines = pq.ParquetFile(self.folder / part["name"]).read()
                keys = lines.select(names)
                yield QuarantinePart(manifest["run_id"], lines, _in_any(home[at:], keys), _in_any(again[at:], keys))

    def prediction_files(self) -> list[str]:
        """Return the names of the files with scored rows, those of linked runs last."""
        return [part["name"] for part in self._files() if "/" not in part["name"]]

    def _files(self) -> list[dict[str, Any]]:
        return [part for manifest in (self.manifest, *self.linked) for part in manifest["files"]]

    def _keys(self, files: Sequence[Mapping[str, Any]], names: list[str], *, quarantine: bool) -> KeySet | None:
        wanted = [part["name"] for part in files if (_is_quarantine(part) if quarantine else "/" not in part["name"])]
        tables = [pq.ParquetFile(self.folder / name).read(columns=names) for name in wanted]
        return KeySet(pa.concat_tables(tables)) if tables else None

    def _is_there(self, name: str) -> bool:
        return (self.folder / name).exists()


def open_run(folder: Path) -> CommittedRun:
    """Open the run at `folder`.

    Raises:
        FileUnreadable: no run is there.
        StoreConflict: something is there that is no run.
    """
    manifest = committed_run(folder)
    if manifest is None:
        message = f"There is no run at {folder}: score something there first, or check the path."
        raise FileUnreadable(message, folder=str(folder))
    return CommittedRun(folder, manifest)


def _is_quarantine(part: Mapping[str, Any]) -> bool:
    return str(part["name"]).startswith(f"{QUARANTINE}/")


def _in_any(sets: Sequence[KeySet | None], keys: pa.Table) -> NDArray[np.bool_]:
    found = np.zeros(keys.num_rows, bool)
    for one in sets:
        if one is not None:
            found |= one.holds(keys)
    return found
