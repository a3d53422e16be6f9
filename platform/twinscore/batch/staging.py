"""How a run becomes visible: written beside its target under a hidden name, then renamed; knows files only.

    .<name>.<run id>/          while it is written, over as many attempts as it takes; readers do not see it
    .<name>.<run id>.lock      held by the process that writes; a second writer of the same run is refused
    <name>/                    the committed run, from one rename on the same file system
    <name>.refused-<run id>/   what was refused, when a run broke its limits; holds no prediction

A folder is renamed onto nothing or onto an empty folder, never onto another run.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import shutil
import time
import uuid
from typing import TYPE_CHECKING, Any

from twinscore.batch.checkpoint import KEYS, SHARDS, write_whole
from twinscore.batch.manifest import MANIFEST, committed_run, unavailable
from twinscore.batch.parts import EXPLANATIONS, QUARANTINE, UNFINISHED
from twinscore.errors import PredictFailed, StackBroken, StoreConflict, StoreUnavailable, TwinscoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

__all__ = [
    "FACTS",
    "Staging",
    "drop_interrupted",
    "interrupted_runs",
    "is_current",
    "may_go_on",
]

FACTS = "_run.json"
"""What an attempt must know of the first one, as long as the run is not committed."""
_DROP_S = 2.0
_AGAIN_S = 0.05
_FOLDERS = (QUARANTINE, EXPLANATIONS, KEYS, SHARDS)


class Staging:
    """A run that is being written, over as many attempts as it takes: a context for one of them.

    What is finished stays for the next attempt when this one dies, is interrupted, or fails for a reason outside the
    data; it goes when the run is committed or refused, or can never be.

    Args:
        target: the folder that the run becomes.
        run_id: the run's fingerprint.
        facts: what the first attempt keeps for the later ones, as JSON can hold it.
        restart: drop what an earlier attempt finished.

    Raises:
        StoreUnavailable: the folder beside the target cannot be written.
        StoreConflict: another process writes the same run.
    """

    def __init__(
        self, target: Path, run_id: str, facts: Mapping[str, Any] | None = None, *, restart: bool = False
    ) -> None:
        self.target = target
        self.run_id = run_id
        self.folder = _folder(target, run_id)
        self.facts = dict(facts or {})
        """What the first attempt kept, from `__enter__` on."""
        self.resumed = False
        """There was an earlier attempt."""
        self.attempt = ""
        """Names this attempt; see `is_current`."""
        self._restart = restart
        self._lock = self.folder.with_name(f"{self.folder.name}.lock")
        self._held: int | None = None
        self._ended = False

    def __enter__(self) -> Staging:
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            held = self._hold()
            os.ftruncate(held, 0)
            self.attempt = f"{os.getpid()} {uuid.uuid4().hex}"
            os.write(held, self.attempt.encode())
            self._take_over()
        except BlockingIOError:
            writer = (self._lock.read_text(encoding="utf-8") or "unknown").split()[0]
            self._release(remove=False)
            message = f"Run {self.run_id} is being written to {self.target} by process {writer} right now. Wait for it."
            raise StoreConflict(message, run_id=self.run_id, process=writer) from None
        except OSError as error:
            self._release(remove=self._held is not None)
            raise unavailable(self.target, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended or not may_go_on(error):
            _drop(self.folder)
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
                raise unavailable(self.target, error) from error
            self._ended = True
            message = (
                f"Run {self.run_id} is superseded by run {other['run_id']}, which became visible at {self.target} "
                "first. Choose another output, or move that run away."
            )
            raise StoreConflict(message, output=str(self.target), run_id=other["run_id"]) from error
        self._ended = True
        _sync(self.target.parent)
        # Only now: an attempt that dies before the rename has lost nothing.
        _tidy(self.target)

    def refuse(self, report: Mapping[str, Any]) -> Path:
        """Keep the quarantine and a report beside the target, drop the predictions, and return where."""
        place = self.target.with_name(f"{self.target.name}.refused-{self.run_id}")
        try:
            # The results go before the parts that they speak of: an attempt that dies in between begins anew.
            shutil.rmtree(self.folder / SHARDS)
            for part in self.folder.glob("part-*"):
                part.unlink()
            self._seal(report)
            if place.exists():
                shutil.rmtree(place)
            self.folder.rename(place)
        except OSError as error:
            raise unavailable(place, error) from error
        self._ended = True
        _tidy(place)
        _sync(place.parent)
        return place

    def _take_over(self) -> None:
        """Find what the last attempt left; it holds no lock any more, though a worker of it may still write."""
        kept = None if self._restart else _facts(self.folder)
        if kept is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            for name in _FOLDERS:
                (self.folder / name).mkdir(parents=True)
            # Written last: without it, the folder is none.
            write_whole(self.folder / FACTS, json.dumps(self.facts).encode())
            return
        for name in _FOLDERS:
            (self.folder / name).mkdir(exist_ok=True)
        self.facts, self.resumed = kept, True
        _sweep(self.folder)

    def _seal(self, manifest: Mapping[str, Any]) -> None:
        """Put the manifest and the names of all files on disk."""
        try:
            for place in (self.folder / QUARANTINE, self.folder / EXPLANATIONS):
                if any(place.iterdir()):
                    _sync(place)
                else:
                    place.rmdir()
            write_whole(self.folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode() + b"\n")
            _sync(self.folder)
        except OSError as error:
            raise unavailable(self.target, error) from error

    def drop(self) -> None:
        """Leave nothing behind."""
        self._ended = True

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


def interrupted_runs(target: Path) -> list[dict[str, Any]]:
    """Return the facts of runs to `target` that were begun, neither committed nor given up, and that nobody writes."""
    found = []
    for folder in sorted(target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-f]' * 16}")):
        facts = _facts(folder)
        if facts is not None and not _is_held(folder.with_name(f"{folder.name}.lock")):
            found.append(facts)
    return found


def drop_interrupted(target: Path, run_id: str) -> None:
    """Delete what an interrupted run left; one that somebody writes stays."""
    with contextlib.suppress(StoreConflict), Staging(target, run_id, restart=True) as staging:
        staging.drop()


def may_go_on(error: BaseException | None) -> bool:
    """Tell whether the next attempt may go on after this error: yes, unless the data or another run is the reason."""
    lasting = isinstance(error, TwinscoreError) and not isinstance(
        error, PredictFailed | StoreUnavailable | StackBroken
    )
    return error is not None and not lasting


def is_current(folder: Path, attempt: str) -> bool:
    """Tell whether a staging folder is still written by this attempt: a worker may outlive its own."""
    try:
        return folder.with_name(f"{folder.name}.lock").read_text(encoding="utf-8") == attempt
    except OSError:
        return False


def _sweep(folder: Path) -> None:
    """Delete files that a dead worker left unfinished; a living one fails on its next step, and is forgotten."""
    for path in folder.rglob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def _tidy(folder: Path) -> None:
    """Drop what only an attempt needs; should this fail, readers skip the names anyway."""
    with contextlib.suppress(OSError):
        _sweep(folder)
        (folder / FACTS).unlink(missing_ok=True)
        for name in (SHARDS, KEYS):
            shutil.rmtree(folder / name, ignore_errors=True)


def _drop(folder: Path) -> None:
    """Remove a folder; a worker that is being ended may put a file into it while it goes, so look again for a while."""
    until_s = time.monotonic() + _DROP_S
    shutil.rmtree(folder, ignore_errors=True)
    while folder.exists() and time.monotonic() < until_s:
        time.sleep(_AGAIN_S)
        shutil.rmtree(folder, ignore_errors=True)


def _folder(target: Path, run_id: str) -> Path:
    return target.parent / f".{target.name}.{run_id}"


def _facts(folder: Path) -> dict[str, Any] | None:
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts


def _is_held(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
