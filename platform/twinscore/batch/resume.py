"""Whether a run may go on where an earlier attempt stopped, or another is in its way; knows files, no Ray."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twinscore.batch.aside import AsideFile
from twinscore.batch.manifest import committed_run
from twinscore.batch.staging import drop_interrupted, interrupted_runs
from twinscore.errors import StoreConflict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.batch.fingerprint import Identity
    from twinscore.batch.spec import ScoreSpec

__all__ = ["aside_before", "make_way", "pinned_version"]


def pinned_version(spec: ScoreSpec) -> str | None:
    """Return the version with which an interrupted run for the same reference began, as `NAME/VERSION`.

    An alias may have moved since: the run goes on with the one version that its first rows have.
    """
    if spec.restart:
        return None
    for facts in interrupted_runs(Path(spec.output)):
        if facts["requested"] == spec.model:
            return f"{facts['identity']['model']}/{facts['identity']['version']}"
    return None


def aside_before(target: Path) -> dict[str, AsideFile]:
    """Return, by name, the files that the run at `target`, committed or interrupted, had set aside.

    Broken pages are seen only when they are read, so the same call finds its own run by what that one knew. A file
    counts as long as it has the size and the footer that it had.
    """
    run = committed_run(target)
    listed = [run["input"]] if run is not None else interrupted_runs(target)
    plain = [one for facts in listed for one in facts.get("set_aside", ())]
    return {one["name"]: AsideFile(**one) for one in plain}


def make_way(target: Path, identity: Identity, versions: Mapping[str, str], *, restart: bool) -> None:
    """Refuse to begin a run where another one was interrupted; with `restart`, drop that one.

    Args:
        target: the output.
        identity: what this run is.
        versions: packages that decide the bytes of a part, and their versions.

    Raises:
        StoreConflict: a run with another model, contract, input or package was begun there; every difference is named.
    """
    for facts in interrupted_runs(target):
        if restart:
            drop_interrupted(target, facts["run_id"])
            continue
        differences = identity.differences(facts["identity"])
        differences += [
            f"{name}: {version} here, {facts['versions'].get(name)} there"
            for name, version in versions.items()
            if version != facts["versions"].get(name)
        ]
        if differences:
            message = (
                f"Run {facts['run_id']} was interrupted on its way to {target}, and this is another one "
                f"({'; '.join(differences)}). Run that one again to finish it, choose another output, or drop it with "
                "restart: true."
            )
            raise StoreConflict(message, output=str(target), run_id=facts["run_id"], differences=differences)
