"""How a run becomes visible: written beside its target under a hidden name, then renamed; knows files only.

    .<name>.<run id>/          while it is written; a reader that lists the folder does not see it
    .<name>.<run id>.lock      held by the process that writes; a second writer of the same run is refused
    <name>/                    the committed run, from one rename on the same file system
    <name>.refused-<run id>/   what was refused, when a run broke its limits; holds no prediction

A folder is renamed onto nothing or onto an empty folder, never onto another run.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from twinscore.batch.parts import QUARANTINE
from twinscore.errors import StoreConflict, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

__all__ = ["MANIFEST", "Staging", "committed_run"]

MANIFEST = "_manifest.json"
"""The one small file that says what a run is; last to be written."""


def committed_run(target: Path) -> dict[str, Any] | None:
    """Return the manifest of the run at `target`, or None when nothing is there.

    Raises:
        StoreConflict: something else is there.
    """
    try:
        present = sorted(path.name for path in target.iterdir())
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        if not target.is_file():
            raise _unavailable(target, error) from error
        message = f"The output {target} is a file; a run becomes a folder. Choose another output."
        raise StoreConflict(message, output=str(target)) from None
    except OSError as error:
        raise _unavailable(target, error) from error
    if not present:
        return None
    if MANIFEST not in present:
        shown = ", ".join(present[:5])
        message = f"The output {target} holds {shown} and is no run. Choose another output, or move that away."
        raise StoreConflict(message, output=str(target), present=present[:5])
    try:
        manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
        _ = manifest["run_id"], manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"The manifest {target / MANIFEST} cannot be read: {error}. Move the folder away, or restore it."
        raise StoreConflict(message, output=str(target)) from error
    found: dict[str, Any] = manifest
    return found


class Staging:
    """A run that is being written: a context that leaves nothing behind unless committed or refused.

    Args:
        target: the folder that the run becomes.
        run_id: the run's fingerprint.

    Raises:
        StoreUnavailable: the folder beside the target cannot be written.
        StoreConflict: another process writes the same run.
    """

    def __init__(self, target: Path, run_id: str) -> None:
        self.target = target
        self.run_id = run_id
        self.folder = target.parent / f".{target.name}.{run_id}"
        self._lock = target.parent / f".{target.name}.{run_id}.lock"
        self._held: int | None = None

    def __enter__(self) -> Staging:
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            held = self._hold()
            os.ftruncate(held, 0)
            os.write(held, str(os.getpid()).encode())
            # What an earlier process of this run left when it died; it holds no lock any more.
            shutil.rmtree(self.folder, ignore_errors=True)
            (self.folder / QUARANTINE).mkdir(parents=True)
        except BlockingIOError:
            writer = self._lock.read_text(encoding="utf-8") or "unknown"
            self._release(remove=False)
            message = f"Run {self.run_id} is being written to {self.target} by process {writer} right now. Wait for it."
            raise StoreConflict(message, run_id=self.run_id, process=writer) from None
        except OSError as error:
            self._release(remove=self._held is not None)
            raise _unavailable(self.target, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._release(remove=True)

    def commit(self, manifest: Mapping[str, Any]) -> None:
        """Make the run visible, whole, by one rename.

        Raises:
            StoreConflict: another run became visible there meanwhile; it is named.
            StoreUnavailable: the file system refuses.
        """
        self._seal(manifest)
        try:
            self.folder.rename(self.target)
        except OSError as error:
            other = committed_run(self.target)
            if other is None:
                raise _unavailable(self.target, error) from error
            message = (
                f"Run {self.run_id} is superseded by run {other['run_id']}, which became visible at {self.target} "
                "first. Choose another output, or move that run away."
            )
            raise StoreConflict(message, output=str(self.target), run_id=other["run_id"]) from error
        _sync(self.target.parent)

    def refuse(self, report: Mapping[str, Any]) -> Path:
        """Keep the quarantine and a report beside the target, drop the predictions, and return where."""
        place = self.target.with_name(f"{self.target.name}.refused-{self.run_id}")
        for part in self.folder.glob("part-*"):
            part.unlink()
        self._seal(report)
        try:
            if place.exists():
                shutil.rmtree(place)
            self.folder.rename(place)
        except OSError as error:
            raise _unavailable(place, error) from error
        _sync(place.parent)
        return place

    def _seal(self, manifest: Mapping[str, Any]) -> None:
        """Put the manifest and the names of all files on disk."""
        try:
            quarantine = self.folder / QUARANTINE
            if any(quarantine.iterdir()):
                _sync(quarantine)
            else:
                quarantine.rmdir()
            with (self.folder / MANIFEST).open("w", encoding="utf-8") as file:
                json.dump(manifest, file, indent=1, ensure_ascii=False)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            _sync(self.folder)
        except OSError as error:
            raise _unavailable(self.target, error) from error

    def _hold(self) -> int:
        """Lock the lock file; one that its last holder deleted meanwhile does not count."""
        while True:
            self._held = held = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if self._lock.stat().st_ino == os.fstat(held).st_ino:
                    return held
            os.close(held)

    def _release(self, *, remove: bool) -> None:
        if self._held is None:
            return
        if remove:
            with contextlib.suppress(OSError):
                self._lock.unlink()
        os.close(self._held)
        self._held = None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unavailable(target: Path, error: OSError) -> StoreUnavailable:
    message = f"The output {target} cannot be written: {error.strerror or error}. Choose another, or mend its rights."
    return StoreUnavailable(message, output=str(target))
