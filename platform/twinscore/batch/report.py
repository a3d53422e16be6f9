"""What a run was: the report that callers get, and the sentence that refuses one; knows no Ray."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twinscore.errors import RunRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from twinscore.batch.spec import QuarantineLimit
    from twinscore.contract.run_rules import RunResult
    from twinscore.ports.prediction_sink import Published

__all__ = ["RunReport", "refusal"]

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class RunReport:
    """A committed run.

    Args:
        folder: where it is.
        manifest: what its `_manifest.json` says.
        already_committed: an earlier call made it; nothing was written now.
    """

    folder: Path
    manifest: Mapping[str, Any] = field(repr=False)
    already_committed: bool
    published: tuple[Published, ...] = ()
    """Where the spec wanted its rows besides, in its order."""
    cache: Path | None = None
    """The file that serving replicas answer from, when the spec wanted one."""

    @property
    def run_id(self) -> str:
        """Fingerprint of the run."""
        return str(self.manifest["run_id"])

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.manifest["model"])

    @property
    def version(self) -> str:
        """Version that scored."""
        return str(self.manifest["version"])

    @property
    def rows_in(self) -> int:
        """Rows of the input: those scored and those in quarantine."""
        return int(self.manifest["rows_in"])

    @property
    def rows_scored(self) -> int:
        """Rows with a prediction."""
        return int(self.manifest["rows_scored"])

    @property
    def rows_quarantined(self) -> int:
        """Rows that were refused."""
        return int(self.manifest["rows_quarantined"])

    @property
    def files_quarantined(self) -> int:
        """Files of the input that were set aside whole; their rows are in no count."""
        return int(self.manifest.get("files_quarantined", 0))

    @property
    def rows_per_s(self) -> float:
        """Rows of the input per second, from first look to commit."""
        return float(self.manifest["rows_per_s"])

    def summary(self) -> dict[str, Any]:
        """Return the few facts that a log line or a terminal shows."""
        names = ("run_id", "model", "version", "rows_in", "rows_scored", "rows_quarantined", "rows_flagged",
                 "rows_per_s", "rows_per_s_after_start")  # fmt: skip
        facts = {name: self.manifest[name] for name in names}
        return {
            **facts,
            "files_quarantined": self.files_quarantined,
            "output": str(self.folder),
            "already_committed": self.already_committed,
        }


def refusal(
    facts: Mapping[str, Any], limit: QuarantineLimit, results: Sequence[RunResult], place: Path
) -> RunRefused | None:
    """Return why a run must not become visible, or None when it may.

    Args:
        facts: the manifest so far.
        limit: the most rows that may be refused.
        results: answers to the run-level rules.
        place: where the quarantine is kept.
    """
    rows, refused = facts["rows_in"], facts["rows_quarantined"]
    reasons = []
    if not limit.allows(refused, rows):
        top = sorted(facts["rules"].items(), key=lambda item: (-item[1], item[0]))
        listed = ", ".join(f"{rule}: {count:,} rows" for rule, count in top[:_SHOWN])
        most = f"{limit.share:.4g} of the rows" + ("" if limit.count is None else f" and {limit.count:,} rows")
        reasons.append(f"{refused:,} of {rows:,} rows were refused ({listed}); the limit is {most}")
    failed = [result for result in results if not result.success and result.severity == "critical"]
    reasons += [f"{one.rule} wants {one.expected} and found {one.observed}" for one in failed[:_SHOWN]]
    if not reasons:
        return None
    message = (
        f"Run {facts['run_id']} of {facts['model']}/{facts['version']} did not become visible: {'; '.join(reasons)}. "
        f"What was refused is kept in {place}. Mend the input, or raise the quarantine limit of the spec."
    )
    return RunRefused(
        message,
        run_id=facts["run_id"],
        rows_in=rows,
        rows_quarantined=refused,
        rules=dict(facts["rules"]),
        failed=[one.rule for one in failed],
        kept=str(place),
    )
