"""The ledger of what went live: who asked, who decided, on which evidence; a chain of hashes that knows no database.

Each entry carries the digest of the one before it, and its own digest covers everything that it says, so an entry that
is edited, removed or moved breaks the chain there. Every model has a chain of its own, numbered from 1.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from twinscore.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EMPTY", "Broken", "Draft", "Entry", "Head", "canonical_json", "chained", "digest_of", "verify_chain"]

_KIND = re.compile(r"[a-z][a-z_]{0,39}")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_NOT_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What shall be entered. Text that no database stores (NUL, half a surrogate pair) is replaced, never refused."""

    model: str
    """Whose chain; `*` for what concerns every model."""
    kind: str
    """What happened, one small word such as `started`, `rolled_back` or `hold_overridden`."""
    from_version: str | None = None
    """Live before."""
    to_version: str | None = None
    """Live afterwards, or wanted live."""
    requested_by: str = ""
    """Who asked: a person, an alias that moved, a key; empty when unknown."""
    decided_by: str = ""
    """Who or what decided: a person or the part of the platform."""
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """JSON values; a number that is not finite becomes its name as text."""
    policy_digest: str = ""
    rollout_id: str = ""

    def __post_init__(self) -> None:
        if not _KIND.fullmatch(self.kind):
            message = f"The kind of a ledger entry must be a small word such as rolled_back, got {self.kind[:80]!r}."
            raise SettingsInvalid(message, kind=self.kind)
        for name in _TEXTS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _storable(value))
        object.__setattr__(self, "evidence", _plain(self.evidence))


_TEXTS = tuple([one.name for one in fields(Draft) if one.name != "evidence"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Draft):
    """What was entered."""

    number: int
    """Its place in the model's chain, from 1."""
    at: datetime
    """When, in UTC by the store's clock."""
    previous: str
    """Digest of the entry before; of the first entry `EMPTY.digest`."""
    digest: str
    """SHA-256 over everything else that the entry says; see `digest_of`."""

    @property
    def head(self) -> Head:
        """The end of the chain as far as this entry."""
        return Head(self.number, self.digest)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as JSON values; `from_json` reads it back to an equal value."""
        return {**asdict(self), "at": _moment(self.at)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Entry:
        """Read what `to_json` wrote."""
        return cls(**{**document, "at": datetime.fromisoformat(document["at"])})


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: the number and digest of its last entry. Kept elsewhere, it shows a removed end."""

    number: int
    digest: str


EMPTY = Head(0, "0" * 64)
"""The head of a chain without entries."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The first entry of a chain that is not what was written."""

    number: int
    """The number that the entry has or should have."""
    why: str

    def __str__(self) -> str:
        return f"entry {self.number} {self.why}"


def canonical_json(value: object) -> str:
    """Return JSON with one text per value: sorted keys, no spaces, ASCII, the shortest digits of each number.

    >>> canonical_json({"b": 1.0, "a": ["x", None]})
    '{"a":["x",null],"b":1.0}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest_of(entry: Entry) -> str:
    """Return the SHA-256 over the canonical JSON of everything that an entry says but its own digest."""
    said = entry.to_json()
    del said["digest"]
    return hashlib.sha256(canonical_json(said).encode()).hexdigest()


def chained(drafts: Sequence[Draft], last: Entry | Head | None, at: datetime) -> tuple[Entry, ...]:
    """Return the drafts as the entries that follow `last`; None begins a chain.

    Raises:
        SettingsInvalid: the drafts are of several models, or the time has no time zone.
    """
    models = {draft.model for draft in drafts}
    if len(models) > 1 or (isinstance(last, Entry) and models - {last.model}):
        message = f"A chain of ledger entries is of one model, got {', '.join(sorted(models))}."
        raise SettingsInvalid(message, models=sorted(models))
    if at.tzinfo is None:
        message = f"A ledger entry needs a time with its zone, got {at.isoformat()}."
        raise SettingsInvalid(message, at=at.isoformat())
    entries: list[Entry] = []
    head = EMPTY if last is None else Head(last.number, last.digest)
    for draft in drafts:
        said = {name: getattr(draft, name) for name in _SAID}
        bare = Entry(**said, number=head.number + 1, at=at.astimezone(UTC), previous=head.digest, digest="")
        entries.append(_sealed(bare))
        head = entries[-1].head
    return tuple(entries)


def verify_chain(entries: Sequence[Entry], after: Head = EMPTY, known: Head | None = None) -> Broken | None:
    """Return the first entry of one model that is not what was written, or None for a whole chain.

    Args:
        entries: in the order of the chain.
        after: the head before the first of them.
        known: a head kept from earlier; entries up to it must be there, and the same.
    """
    head = after
    for entry in entries:
        wanted = head.number + 1
        if entry.number != wanted:
            return Broken(wanted, f"is missing; {entry.number} stands in its place")
        if entry.model != entries[0].model:
            return Broken(wanted, f"is of {entry.model}, not of {entries[0].model}")
        if entry.previous != head.digest:
            return Broken(wanted, "does not follow the entry before it")
        if entry.digest != digest_of(entry):
            return Broken(wanted, "was changed: it does not match its digest")
        if known is not None and entry.number == known.number and entry.digest != known.digest:
            return Broken(wanted, "is not the one that was there before")
        head = entry.head
    if known is not None and known.number > head.number:
        return Broken(head.number + 1, f"is missing; the chain once reached {known.number}")
    return None


_SAID = tuple([one.name for one in fields(Draft)])


def _sealed(bare: Entry) -> Entry:
    object.__setattr__(bare, "digest", digest_of(bare))
    return bare


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _storable(text: str) -> str:
    return _UNSTORABLE.sub("\ufffd", text)


def _plain(value: Any) -> Any:
    """Return evidence as it is read back: JSON values only.

    Raises:
        SettingsInvalid: it holds something that JSON has no word for.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _NOT_FINITE.get(value, "NaN")
    if isinstance(value, Mapping):
        return {_storable(str(name)): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    message = f"The evidence of a ledger entry must be JSON values, got {type(value).__name__} {str(value)[:80]!r}."
    raise SettingsInvalid(message, kind=type(value).__name__)
