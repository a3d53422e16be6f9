"""Open a committed run and prove that it is what was committed; knows files only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from twinscore.batch.checkpoint import sha256_of
from twinscore.batch.manifest import committed_run
from twinscore.batch.parts import QUARANTINE
from twinscore.errors import FileUnreadable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["CommittedRun", "open_run"]


@dataclass(frozen=True, slots=True)
class CommittedRun:
    """A run on disk, and its manifest."""

    folder: Path
    manifest: Mapping[str, Any]

    def verify(self, *, contents: bool = True) -> None:
        """Compare every file with the manifest: its size and, unless `contents` is False, its SHA-256.

        Raises:
            FileUnreadable: a file is missing, changed, or not in the manifest.
        """
        listed = {part["name"]: part for part in self.manifest["files"]}
        present = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*.parquet")}
        problems = [f"{name} is missing" for name in sorted(set(listed) - present)]
        problems += [f"{name} is not in the manifest" for name in sorted(present - set(listed))]
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
        """Return the scored rows, in the order of the input."""
        return self._read(quarantine=False, columns=columns)

    def quarantine(self) -> pa.Table:
        """Return one line per reason why a row was refused; without a column when none was."""
        return self._read(quarantine=True, columns=None)

    def _read(self, *, quarantine: bool, columns: Sequence[str] | None) -> pa.Table:
        names = [part["name"] for part in self.manifest["files"]]
        wanted = [name for name in names if (name.startswith(f"{QUARANTINE}/") if quarantine else "/" not in name)]
        tables = [pq.ParquetFile(self.folder / name).read(columns=columns) for name in wanted]
        return pa.concat_tables(tables) if tables else pa.table({})


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
