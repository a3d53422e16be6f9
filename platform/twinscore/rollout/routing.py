"""The routing document of one model: which version is live, who else is asked, and for whom; a value and its JSON.

Replicas get it through Serve's own configuration path. Its term and epoch only rise: a document with an older term,
or of the same term with an older epoch, or the same ones and other words, is refused, whoever sends it.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar, cast

from twinscore.errors import SettingsInvalid, StoreConflict, near
from twinscore.rollout.assign import BUCKETS

__all__ = ["Challenger", "Routing", "Shadow", "Target", "accept"]

Mode = Literal["canary", "ab"]
_Part = TypeVar("_Part")

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TAKEN_ARMS = ("live", "mixed", "shadow")
_LONGEST_SALT = 64
"""BLAKE2b takes a key of at most 64 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A version that the gateway itself holds."""

    version: str
    digest: str

    def __post_init__(self) -> None:
        _check_version(self.version, self.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenger:
    """A version that answers a share of the entities from an application of its own."""

    arm: str
    """What answers call it."""
    app: str
    """The Serve application that holds it."""
    version: str
    digest: str
    mode: Mode
    """`canary`, on its way to replace the live version, or `ab`, compared with it for a while."""
    share: int
    """Of the entities, in 1/10,000."""

    def __post_init__(self) -> None:
        _check_version(self.version, self.digest)
        _check_name("app", self.app)
        _check_name("arm", self.arm)
        if self.arm in _TAKEN_ARMS:
            _refuse("arm", f"another name than {', '.join(_TAKEN_ARMS)}", self.arm)
        if self.mode not in ("canary", "ab"):
            _refuse("mode", "canary or ab", self.mode)
        _check_share("share", self.share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """A version that is asked beside the answer, and whose answers nobody gets."""

    app: str
    version: str
    digest: str
    sampling: int = BUCKETS
    """Of the entities, in 1/10,000."""

    def __post_init__(self) -> None:
        _check_version(self.version, self.digest)
        _check_name("app", self.app)
        _check_share("sampling", self.sampling)


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Who answers whom; the same document on every replica of a model."""

    model: str
    live: Target
    epoch: int = 1
    """Rises with every change."""
    term: int = 0
    """Epoch of the lease under which it was written, so that who lost the lease cannot write any more; 0 by hand."""
    salt: str = "0"
    """Of this rollout; another salt divides the entities anew."""
    previous: Target | None = None
    """Kept loaded, so that going back to it is a pointer swap."""
    challengers: tuple[Challenger, ...] = ()
    """At most one canary and one A/B arm."""
    shadows: tuple[Shadow, ...] = ()
    entity: tuple[str, ...] = ()
    """Columns that name the entity; none means the contract's key."""
    deadline_ms: int = 250
    """For a challenger's answer; after it the live version answers."""
    header_override: bool = False
    """Whether a request may name its arm in the header `x-arm`."""

    def __post_init__(self) -> None:
        if not self.model:
            _refuse("model", "the name of a model", self.model)
        if type(self.epoch) is not int or self.epoch < 1:
            _refuse("epoch", "a whole number from 1", self.epoch)
        if type(self.term) is not int or self.term < 0:
            _refuse("term", "a whole number from 0", self.term)
        if not isinstance(self.salt, str) or not 1 <= len(self.salt.encode()) <= _LONGEST_SALT:
            _refuse("salt", f"a text of 1 to {_LONGEST_SALT} bytes", self.salt)
        if type(self.deadline_ms) is not int or not 1 <= self.deadline_ms <= 60_000:
            _refuse("deadline_ms", "1 to 60000 milliseconds", self.deadline_ms)
        _check_flag("header_override", self.header_override)
        for name in self.entity:
            _check_column(name)
        for what, found in (
            ("mode", [challenger.mode for challenger in self.challengers]),
            ("arm", [challenger.arm for challenger in self.challengers]),
            ("app", [one.app for one in self.beside]),
        ):
            if len(set(found)) != len(found):
                _refuse(what, "used once in a routing", found)
        total = sum(challenger.share for challenger in self.challengers)
        if total > BUCKETS:
            _refuse("shares", f"together at most {BUCKETS}", total)

    @property
    def beside(self) -> tuple[Challenger | Shadow, ...]:
        """Everything that is asked beside the live version."""
        return (*self.challengers, *self.shadows)

    def to_json(self) -> dict[str, Any]:
        """Return the document as JSON values; `from_json` reads it back to an equal value."""
        document = asdict(self)
        for name in ("challengers", "shadows", "entity"):
            document[name] = list(document[name])
        return document

    @classmethod
    def from_json(cls, document: object) -> Routing:
        """Read a document; a member that is unknown, missing or of another type is refused by name.

        Raises:
            SettingsInvalid: it is no routing document.
        """
        members = dict(_object("routing", document))
        if "live" in members:
            members["live"] = _read(Target, "live", members["live"])
        if members.get("previous") is not None:
            members["previous"] = _read(Target, "previous", members["previous"])
        members["challengers"] = tuple(
            _read(Challenger, f"challengers/{place}", value)
            for place, value in enumerate(_array("challengers", members.get("challengers", ())))
        )
        members["shadows"] = tuple(
            _read(Shadow, f"shadows/{place}", value)
            for place, value in enumerate(_array("shadows", members.get("shadows", ())))
        )
        members["entity"] = tuple(_array("entity", members.get("entity", ())))
        return _read(cls, "routing", members)


def accept(current: Routing | None, sent: Routing) -> Routing:
    """Return the routing to apply: the sent one, when it follows the current one.

    Raises:
        StoreConflict: its term or epoch is behind, or they are the current ones with other words.
    """
    newer = current is None or (sent.term >= current.term and sent.epoch > current.epoch)
    if current is None or newer or sent == current:
        return sent
    message = (
        f"The routing of {sent.model} with epoch {sent.epoch} of term {sent.term} is stale: epoch {current.epoch} of"
        f" term {current.term} is in force. Somebody else wrote first; read the current routing and try again."
    )
    raise StoreConflict(message, model=sent.model, sent=sent.epoch, current=current.epoch)


def _read(kind: type[_Part], place: str, document: object) -> _Part:
    members = _object(place, document)
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # dataclasses, all four
    for name in members:
        if name not in known:
            message = f"The routing has an unknown member {name!r} in {place}. {near(str(name), known)}"
            raise SettingsInvalid(message, member=str(name))
    try:
        return kind(**members)
    except TypeError as error:
        message = f"The routing is incomplete in {place}: {str(error).partition(') ')[2] or error}."
        raise SettingsInvalid(message, member=place) from None


def _object(place: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(place, "an object", value)
    return cast("dict[str, Any]", value)


def _array(place: str, value: object) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        _refuse(place, "an array", value)
    return list(cast("list[Any]", value))


def _check_version(version: object, digest: object) -> None:
    if not isinstance(version, str) or not version:
        _refuse("version", "the number of a version as text", version)
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        _refuse("digest", "a SHA-256 in hex", digest)


def _check_name(what: str, value: object) -> None:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        _refuse(what, "letters, digits, dots, dashes and underscores", value)


def _check_flag(what: str, value: object) -> None:
    if not isinstance(value, bool):
        _refuse(what, "true or false", value)


def _check_column(name: object) -> None:
    if not isinstance(name, str):
        _refuse("entity", "names of columns", name)


def _check_share(what: str, value: object) -> None:
    if type(value) is not int or not 0 <= value <= BUCKETS:
        _refuse(what, f"0 to {BUCKETS} (in 1/{BUCKETS})", value)


def _refuse(what: str, expected: str, got: object) -> None:
    message = f"The {what} of a routing must be {expected}, got {str(got)[:80]!r}."
    raise SettingsInvalid(message, member=what)
