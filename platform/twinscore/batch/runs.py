"""The runs of a model that lie in the lake: committed, refused, and given up on the way; reads manifests only.

<lake>/predictions/<dataset>/_manifest.json                  a committed run
<lake>/predictions/<dataset>.refused-<run>/_manifest.json    one that broke its limits
<lake>/predictions/.<dataset>.<run>/_run.json                one that nobody finished yet
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinscore.batch.manifest import MANIFEST
from twinscore.batch.read import CommittedRun
from twinscore.batch.staging import FACTS, interrupted_runs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["PREDICTIONS", "KnownRuns", "began", "instant", "known_runs"]

PREDICTIONS = "predictions"
"""Folder of the lake that datasets lie in, at any depth."""


@dataclass(frozen=True, slots=True)
class KnownRuns:
    """The runs of one model, each kind with the newest first."""

    committed: Sequence[CommittedRun] = ()
    refused: Sequence[CommittedRun] = ()
    """Manifests of runs that were refused as a whole; none of their rows is visible."""
    interrupted: Sequence[Mapping[str, Any]] = field(default=())
    """What the first attempt of each kept; nobody writes them now."""


def known_runs(lake: Path, model: str, datasets: Sequence[str] = ()) -> KnownRuns:
    """Return the runs of a model.

    Args:
        lake: of the settings.
        datasets: folders below `predictions`, or below the lake; empty means all.
    """
    roots = [_located(lake, name) for name in datasets] or [lake / PREDICTIONS]
    committed: list[CommittedRun] = []
    refused: list[CommittedRun] = []
    interrupted: list[dict[str, Any]] = []
    for root in roots:
        # A dataset that was named is itself a run, or has runs below it, or was refused beside its name.
        places = [root, *(root.parent.glob(f"{root.name}.refused-*") if datasets else ())]
        for place in places:
            for folder, folders, names in os.walk(place):
                hidden = [name for name in folders if name.startswith(".")]
                interrupted += _interrupted(Path(folder), hidden, model)
                folders[:] = sorted(name for name in folders if not name.startswith(("_", ".")))
                if MANIFEST not in names:
                    continue
                folders.clear()
                manifest = _manifest(Path(folder) / MANIFEST)
                if manifest is not None and manifest.get("model") == model:
                    run = CommittedRun(Path(folder), manifest)
                    (refused if "refused" in manifest else committed).append(run)
        if datasets and root.parent.is_dir():
            beside = [path.name for path in root.parent.glob(f".{root.name}.*") if path.is_dir()]
            interrupted += _interrupted(root.parent, beside, model)
    newest = sorted(committed, key=began, reverse=True)
    return KnownRuns(newest, sorted(refused, key=began, reverse=True), interrupted)


def began(run: CommittedRun) -> datetime:
    """Return when a run looked at its input."""
    return instant(run.manifest["started_at"])


def instant(text: str) -> datetime:
    """Return an instant of a manifest, in UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _located(lake: Path, name: str) -> Path:
    below = lake / PREDICTIONS / name
    return below if below.exists() or not (lake / name).exists() else lake / name


def _interrupted(folder: Path, hidden: Sequence[str], model: str) -> list[dict[str, Any]]:
    targets = {name[1:].rpartition(".")[0] for name in hidden if (folder / name / FACTS).is_file()}
    found = [facts for target in sorted(targets) for facts in interrupted_runs(folder / target)]
    return [facts for facts in found if facts.get("identity", {}).get("model") == model]


def _manifest(path: Path) -> dict[str, Any] | None:
    """Return a manifest, or None where it cannot be read: whoever opens that run is told why."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = found["run_id"], found["started_at"], found["files"]
        return found
    return None
