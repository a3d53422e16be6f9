"""Linked runs: rows that a retry brings home into a committed run, by one rename of one file; knows files only.

    <run>/_linked/<id>.json                 the linked run's manifest
    <run>/_quarantine/part-r<id>.parquet    rows that it refused again
    <run>/part-r<id>.parquet                its predictions; last to appear: without it, the linked run is none
    <run>/_linked/.<id>/                    while it is written
    <run>/_linked/.lock                     held by the process that writes

Any Parquet reader that opens the run's folder sees the file with its first whole byte, or does not see it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twinscore.batch.checkpoint import KEYS, SHARDS, write_whole
from twinscore.batch.manifest import unavailable
from twinscore.batch.parts import EXPLANATIONS, QUARANTINE
from twinscore.errors import FileUnreadable, StoreConflict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

__all__ = ["LINKED", "LinkedWriter", "linked_manifests", "part_name", "unlinked_files"]

LINKED = "_linked"
"""Folder of the linked runs' manifests inside a run's; readers skip names that begin with `_`."""
_LOCK = ".lock"


def part_name(linked_id: str) -> str:
    """Return the name of a linked run's file.

    >>> part_name("0123456789abcdef")
    'part-r0123456789abcdef.parquet'
    """
    return f"part-r{linked_id}.parquet"


def linked_manifests(folder: Path) -> tuple[dict[str, Any], ...]:
    """Return the manifests of the linked runs of the run at `folder`, in the order in which they were committed.

    Raises:
        FileUnreadable: the manifest of a committed one cannot be read.
    """
    found = []
    for path in sorted((folder / LINKED).glob("[!.]*.json")):
        if not (folder / part_name(path.stem)).exists():
            continue
        try:
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            found.append((manifest["number"], manifest["run_id"], manifest))
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"The manifest {path} of a linked run cannot be read: {error}. Restore it from a copy."
            raise FileUnreadable(message, path=str(path)) from error
    return tuple(manifest for *_, manifest in sorted(found, key=lambda one: one[:2]))


def unlinked_files(folder: Path) -> set[str]:
    """Return the Parquet files that a retry wrote before it died, or writes now: they are no part of the run."""
    left = {path.relative_to(folder).as_posix() for path in (folder / LINKED).glob(".*/**/*.parquet")}
    for path in (*(folder / QUARANTINE).glob("part-r*.parquet"), *(folder / EXPLANATIONS).glob("part-r*.parquet")):
        if not (folder / path.name).exists():
            left.add(path.relative_to(folder).as_posix())
    return left


@dataclass(slots=True)
class LinkedWriter:
    """The right to add to a run, held by one process at a time; a context.

    What an earlier process left unfinished goes when the right is taken, and what this one leaves when it is given up.

    Args:
        target: the committed run's folder.

    Raises:
        StoreConflict: another process adds to the run right now.
        StoreUnavailable: the folder cannot be written.
    """

    target: Path
    _held: int = -1

    def __enter__(self) -> LinkedWriter:
        try:
            (self.target / LINKED).mkdir(exist_ok=True)
            # The file stays for ever, so that all lock the same one.
            self._held = os.open(self.target / LINKED / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._held, 0)
            os.write(self._held, str(os.getpid()).encode())
            self._sweep()
        except BlockingIOError:
            writer = os.pread(self._held, 32, 0).decode(errors="replace") or "unknown"
            os.close(self._held)
            message = (
                f"Process {writer} retries rows of the run at {self.target} right now. Wait for it, then call again."
            )
            raise StoreConflict(message, output=str(self.target), process=writer) from None
        except OSError as error:
            if self._held >= 0:
                os.close(self._held)
            raise unavailable(self.target, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._sweep()
        os.close(self._held)

    def staging(self, linked_id: str) -> Path:
        """Make the hidden folder that a shard is scored into.

        Raises:
            StoreUnavailable: the folder cannot be written.
        """
        folder = self.target / LINKED / f".{linked_id}"
        try:
            for name in (QUARANTINE, EXPLANATIONS, KEYS, SHARDS):
                (folder / name).mkdir(parents=True)
        except OSError as error:
            raise unavailable(self.target, error) from error
        return folder

    def commit(self, staging: Path, moves: Mapping[str, str], manifest: Mapping[str, Any]) -> None:
        """Make a linked run visible: first its manifest and quarantine, then, by one rename, its predictions.

        Args:
            staging: where its files are.
            moves: name below `staging` to name below the run, of each file.

        Raises:
            StoreUnavailable: the file system refuses.
        """
        last = part_name(manifest["run_id"])
        try:
            for source, name in moves.items():
                if name != last:
                    (self.target / name).parent.mkdir(exist_ok=True)
                    (staging / source).rename(self.target / name)
                    _sync((self.target / name).parent)
            content = json.dumps(manifest, indent=1, ensure_ascii=False).encode() + b"\n"
            write_whole(self.target / LINKED / f"{manifest['run_id']}.json", content)
            _sync(self.target / LINKED)
            _sync(self.target)
            (staging / next(source for source, name in moves.items() if name == last)).rename(self.target / last)
            _sync(self.target)
        except OSError as error:
            raise unavailable(self.target, error) from error

    def _sweep(self) -> None:
        """Delete what is no part of the run: nobody else writes, because this process holds the lock."""
        for name in unlinked_files(self.target):
            (self.target / name).unlink(missing_ok=True)
        for path in (self.target / LINKED).iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _LOCK and not (self.target / part_name(path.stem)).exists():
                path.unlink()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
