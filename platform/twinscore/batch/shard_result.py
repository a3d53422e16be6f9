"""What became of one shard: counts, checksums, aggregates and seconds; small enough to be kept as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twinscore.batch.parts import PartFile
from twinscore.contract.aggregate import Aggregate

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ShardResult"]


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What became of one shard."""

    number: int
    rows_in: int
    rows_scored: int
    rows_flagged: int
    rows_filtered: int
    """Rows that were read and that the filter left out."""
    rows_repeated: int
    """Rows that were refused because another row has their key; 0 until all keys are known."""
    rules: Mapping[str, int]
    """Refused rows by the rule that they broke; a row may break several."""
    decisions: Mapping[str, int]
    """Scored rows by decision; empty for numbers."""
    score_counts: tuple[int, ...]
    """Scored rows in each bin of the reference profile's score."""
    attributions: Mapping[str, Any] | None
    """Summary of the contributions of explained rows, as `AttributionSummary.to_json` has it; None without any."""
    additivity_error: float
    """The largest of the explained rows."""
    aggregate: Aggregate
    parts: tuple[PartFile, ...]
    keys: PartFile
    """Where the hashes of its keys are kept, until the run is committed."""
    seconds: Mapping[str, float]
    """Spent in each step."""
    began: float
    ended: float
    """Wall clock of the worker, in seconds since 1970."""

    @property
    def rows_quarantined(self) -> int:
        """Rows that were refused."""
        return self.rows_in - self.rows_scored

    def to_plain(self) -> dict[str, Any]:
        """Return the result as JSON can hold it."""
        return {
            "number": self.number,
            "rows_in": self.rows_in,
            "rows_scored": self.rows_scored,
            "rows_flagged": self.rows_flagged,
            "rows_filtered": self.rows_filtered,
            "rows_repeated": self.rows_repeated,
            "rules": dict(self.rules),
            "decisions": dict(self.decisions),
            "score_counts": list(self.score_counts),
            "attributions": self.attributions,
            "additivity_error": self.additivity_error,
            "aggregate": self.aggregate.to_json(),
            "parts": [part.to_plain() for part in self.parts],
            "keys": self.keys.to_plain(),
            "seconds": dict(self.seconds),
            "began": self.began,
            "ended": self.ended,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> ShardResult:
        """Return what `to_plain` was made from."""
        return cls(
            plain["number"],
            plain["rows_in"],
            plain["rows_scored"],
            plain["rows_flagged"],
            plain["rows_filtered"],
            plain["rows_repeated"],
            plain["rules"],
            plain["decisions"],
            tuple(plain["score_counts"]),
            plain["attributions"],
            plain["additivity_error"],
            Aggregate.from_json(plain["aggregate"]),
            tuple(PartFile(**part) for part in plain["parts"]),
            PartFile(**plain["keys"]),
            plain["seconds"],
            plain["began"],
            plain["ended"],
        )
