"""Where files of scores are in the lake, which one is the newest, and which may go; opens none for answering.

    cache/<model>/<bundle digest>/<run id>.arrow

The folder is the bundle's: a version that goes live looks into its own, and can find no score of another.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from twinscore.cache.keyed_file import read_facts
from twinscore.errors import FileUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["KEPT", "ScoreFile", "all_score_files", "drop_older", "score_files", "score_path"]

KEPT = 2
"""Files that stay of one version: the newest, and the one before."""
_SUFFIX = ".arrow"


class ScoreFile(NamedTuple):
    """A file of scores, as it describes itself."""

    path: Path
    facts: dict[str, Any]

    @property
    def scored_at(self) -> datetime:
        """When its run began; a retry that is in it too began later."""
        return datetime.fromisoformat(self.facts["sources"][0][1])


def score_path(lake: Path, model: str, bundle_digest: str, run_id: str) -> Path:
    """Return where the scores of a run belong."""
    return lake / "cache" / model / bundle_digest / f"{run_id}{_SUFFIX}"


def score_files(lake: Path, model: str, bundle_digest: str) -> list[ScoreFile]:
    """Return the files of one version, the newest run first; what cannot be read, or says otherwise, is left out."""
    return _listed((lake / "cache" / model / bundle_digest).glob(f"[!.]*{_SUFFIX}"), bundle_digest)


def all_score_files(lake: Path, model: str) -> list[ScoreFile]:
    """Return the files of every version of a model, version by version, the newest run of each first."""
    try:
        folders = sorted(path.name for path in (lake / "cache" / model).iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    return [one for name in folders for one in score_files(lake, model, name)]


def drop_older(lake: Path, model: str, bundle_digest: str, *, keep: int = KEPT) -> list[Path]:
    """Delete all but the newest files of one version, and return which; who has one open keeps what is mapped."""
    dropped = [one.path for one in score_files(lake, model, bundle_digest)[keep:]]
    for path in dropped:
        path.unlink(missing_ok=True)
    return dropped


def _listed(paths: Iterable[Path], bundle_digest: str) -> list[ScoreFile]:
    found = []
    for path in paths:
        with contextlib.suppress(FileUnreadable):
            facts = read_facts(path)
            if facts.get("bundle_digest") == bundle_digest and facts.get("sources"):
                found.append(ScoreFile(path, facts))
    return sorted(found, key=lambda one: (one.scored_at, one.path.name), reverse=True)
