"""What a manifest says: reading one, and the counts, rates and verdicts of a new one; knows files, nothing of Ray."""

from __future__ import annotations

import json
from collections import Counter
from functools import reduce
from typing import TYPE_CHECKING, Any

from twinscore.batch.keys import key_rule
from twinscore.batch.verdicts import run_rules
from twinscore.contract.run_rules import RunResult, judge
from twinscore.errors import PredictFailed, StoreConflict, StoreUnavailable
from twinscore.scoring.attribution_summary import AttributionSummary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from twinscore.batch.passes import Passes
    from twinscore.batch.shard_result import ShardResult
    from twinscore.batch.snapshot import Snapshot
    from twinscore.bundle.files import Bundle

__all__ = ["MANIFEST", "committed_run", "counts", "judged", "rates", "unavailable"]

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
            raise unavailable(target, error) from error
        message = f"The output {target} is a file; a run becomes a folder. Choose another output."
        raise StoreConflict(message, output=str(target)) from None
    except OSError as error:
        raise unavailable(target, error) from error
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


def unavailable(target: Path, error: OSError) -> StoreUnavailable:
    """Return the error of an output that the file system refuses."""
    message = f"The output {target} cannot be written: {error.strerror or error}. Choose another, or mend its rights."
    return StoreUnavailable(message, output=str(target))


def judged(bundle: Bundle, key: Sequence[str], results: Sequence[ShardResult], repeated: int) -> list[RunResult]:
    """Answer the run-level rules over all shards; the key's uniqueness is known from the passes."""
    whole = results[0].aggregate
    for result in results[1:]:
        whole = whole.merge(result.aggregate)
    answers = judge(run_rules(bundle.checker, key), whole)
    observed = f"{repeated} rows share a key; they are in quarantine" if repeated else "every row differs"
    return [*answers, RunResult(key_rule(key), key[0], "every accepted row differs", observed, True, "critical")]


def counts(results: Sequence[ShardResult], snapshot: Snapshot) -> dict[str, Any]:
    """Add up what became of the rows, and prove that none was lost.

    Raises:
        PredictFailed: rows in the input, read, scored, written and quarantined do not agree.
    """
    rows_in = sum(result.rows_in for result in results)
    scored = sum(result.rows_scored for result in results)
    quarantined = sum(result.rows_quarantined for result in results)
    written = sum(part.rows for result in results for part in result.parts if part.name.startswith("part-"))
    filtered = snapshot.rows_left_out + sum(result.rows_filtered for result in results)
    if rows_in != scored + quarantined or snapshot.rows != rows_in + filtered or written != scored:
        message = (
            f"The run lost count: {snapshot.rows} rows in the input, {filtered} filtered, {rows_in} taken, "
            f"{scored} scored, {written} written, {quarantined} quarantined. Nothing became visible; please report it."
        )
        raise PredictFailed(message)
    rules: Counter[str] = Counter()
    decisions: Counter[str] = Counter()
    for result in results:
        rules.update(result.rules)
        decisions.update(result.decisions)
    return {
        "rows_in": rows_in,
        "rows_filtered": filtered,
        "rows_scored": scored,
        "rows_quarantined": quarantined,
        "rows_flagged": sum(result.rows_flagged for result in results),
        "rules": dict(sorted(rules.items())),
        **_attributions(results),
        "decisions": dict(sorted(decisions.items())),
        "score_counts": [sum(bins) for bins in zip(*(result.score_counts for result in results), strict=True)],
    }


def _attributions(results: Sequence[ShardResult]) -> dict[str, Any]:
    found = [AttributionSummary.from_json(one.attributions) for one in results if one.attributions is not None]
    whole = reduce(AttributionSummary.merge, found) if found else None
    return {
        "rows_explained": whole.rows if whole else 0,
        "additivity_error": max(one.additivity_error for one in results),
        "attributions": whole.to_json() if whole else None,
    }


def rates(passes: Passes, total_s: float, steps: Mapping[str, float]) -> dict[str, Any]:
    """Return rows per second of this attempt, whole and without its start and end, and where the time went.

    Args:
        passes: what came of the shards.
        total_s: seconds of the attempt, from first look to commit.
        steps: seconds of each of its steps.
    """
    work: Counter[str] = Counter()
    for result in passes.results:
        work.update(result.seconds)
    mine = [result for result in passes.results if result.number in passes.fresh]
    rows = sum(result.rows_in for result in mine)
    scoring_s = max(result.ended for result in mine) - min(result.began for result in mine) if mine else 0.0
    return {
        "rows_per_s": round(rows / total_s, 1) if total_s > 0 else 0.0,
        "rows_per_s_after_start": round(rows / scoring_s, 1) if scoring_s > 0 else 0.0,
        "rows_kept": passes.rows_kept,
        "seconds": {"total": round(total_s, 3), "scoring": round(scoring_s, 3), **steps},
        "worker_seconds": {step: round(value, 3) for step, value in work.items()},
    }
