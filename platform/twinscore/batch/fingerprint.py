"""What makes two runs the same run, and how two runs differ: pure values; knows no files and no Ray."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FORMAT", "Identity"]

FORMAT = 2
"""Version of the output's layout; a new one makes every run a new run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Everything that decides what a run's rows are."""

    model: str
    """Written into every row, as is the version."""
    version: str
    bundle: str
    """Digest of what is scored with."""
    contract: str
    """Digest of what rows are checked by."""
    snapshot: str
    """Digest of what is read."""
    key: tuple[str, ...]
    """Columns that identify a row."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Renamed columns, filter and joins."""
    explain: Mapping[str, Any] = field(default_factory=dict)
    """Which rows get their contributions, and where; empty when none do."""
    shard_rows: int | None = None
    """Decides how rows are spread over files."""

    @property
    def run_id(self) -> str:
        """16 hex digits.

        >>> Identity(model="m", version="1", bundle="b", contract="c", snapshot="s", key=("id",)).run_id
        '43469a0a33aab1db'
        """
        text = json.dumps({**self.to_plain(), "format": FORMAT}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_plain(self) -> dict[str, Any]:
        """Return the identity as JSON can hold it."""
        return {**asdict(self), "key": list(self.key), "recipe": dict(self.recipe), "explain": dict(self.explain)}

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Name what differs from another run's `to_plain`, ours first.

        >>> a = Identity(model="m", version="1", bundle="b", contract="c", snapshot="s", key=("id",))
        >>> a.differences({**a.to_plain(), "version": "2", "bundle": "x"})
        ['version: 1 here, 2 there', 'bundle: b here, x there']
        """
        return [
            f"{_WORDS.get(name, name)}: {_shown(value)} here, {_shown(other.get(name))} there"
            for name, value in self.to_plain().items()
            if value != other.get(name)
        ]


_WORDS = {"snapshot": "input snapshot", "recipe": "columns, filter and joins"}


def _shown(value: object) -> str:
    """Return a value as a person tells it: digests by their beginning."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else str(value)
