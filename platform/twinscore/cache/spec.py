"""The `cache:` mapping of a deployment file, as checked values; knows nothing of files."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NoReturn

from twinscore.errors import SettingsInvalid, near

__all__ = ["CacheSpec", "FeaturesSpec", "ScoresSpec", "read_cache_spec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresSpec:
    """Answer from the last batch run of the same version."""

    ttl_s: float
    """Age in seconds from which a score is not used; it counts from the beginning of the run."""
    key_only: bool = False
    """Whether a request may send the key alone; it is refused when no score is found."""

    def __post_init__(self) -> None:
        _above_zero("cache.scores.ttl_s", self.ttl_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesSpec:
    """Fill columns of a request from a table that was computed before."""

    table: str
    """Parquet file or folder; a relative path lies in the lake."""
    columns: tuple[str, ...]
    """What is taken; columns of the contract."""
    key: tuple[str, ...] = ()
    """Columns of the request, and of the table, that identify the entity; empty means the contract's key."""
    as_of: str | None = None
    """Column of the table with the time that a row's values are of; of several rows the newest counts."""
    max_age_s: float | None = None
    """Age in seconds from which a value is not used; None uses every one."""

    def __post_init__(self) -> None:
        if not self.table:
            _refuse("cache.features.table", "a path", self.table)
        if not self.columns or len(set(self.columns)) != len(self.columns):
            _refuse("cache.features.columns", "columns that are each named once", list(self.columns))
        taken = {*self.key, self.as_of} & {*self.columns}
        if taken or len(set(self.key)) != len(self.key):
            _refuse("cache.features.key", "columns that are each named once, and none that is taken", list(self.key))
        if self.max_age_s is not None:
            _above_zero("cache.features.max_age_s", self.max_age_s)
            if self.as_of is None:
                _refuse("cache.features.as_of", "the column that ages are counted from, with max_age_s", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSpec:
    """What a deployment takes from batch; nothing unless it says so."""

    scores: ScoresSpec | None = None
    features: FeaturesSpec | None = None


def read_cache_spec(document: object, *, source: str = "The serve spec") -> CacheSpec:
    """Make a spec of the plain values of the mapping; None is an empty one.

    Raises:
        SettingsInvalid: a key is unknown or missing, or a value is wrong; `source` and the key are named.
    """
    values = _mapping(CacheSpec, {} if document is None else document, "cache", source)
    scores, features = values.get("scores"), values.get("features")
    if scores is not None:
        scores = ScoresSpec(**_mapping(ScoresSpec, scores, "cache.scores", source))
    if features is not None:
        features = FeaturesSpec(**_mapping(FeaturesSpec, features, "cache.features", source))
    return CacheSpec(scores=scores, features=features)


_TEXT, _TEXTS, _NUMBER, _TRUTH = "text", "a list of text", "a number of seconds", "true or false"
_KINDS = {
    "table": _TEXT, "as_of": _TEXT, "columns": _TEXTS, "key": _TEXTS, "ttl_s": _NUMBER, "max_age_s": _NUMBER,
    "key_only": _TRUTH,
}  # fmt: skip
_REQUIRED = {ScoresSpec: ("ttl_s",), FeaturesSpec: ("table", "columns"), CacheSpec: ()}


def _mapping(kind: type[Any], document: object, within: str, source: str) -> dict[str, Any]:
    known = [item.name for item in fields(kind)]
    if not isinstance(document, dict):
        _refuse(within, f"a mapping of {', '.join(known)}", document, source)
    for key in document:
        if key not in known:
            message = f"{source} has an unknown key {within}.{key}. {near(str(key), known)}"
            raise SettingsInvalid(message, source=source, key=f"{within}.{key}")
    for key in _REQUIRED[kind]:
        if document.get(key) is None:
            _refuse(f"{within}.{key}", f"given as {_KINDS[key]}", None, source)
    return {key: _read(key, value, within, source) for key, value in document.items()}


def _read(key: str, value: Any, within: str, source: str) -> Any:
    wanted = _KINDS.get(key)
    if wanted is None or value is None:
        return value
    if wanted is _TEXTS:
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            _refuse(f"{within}.{key}", wanted, value, source)
        return tuple(listed)
    if wanted is _TRUTH:
        if not isinstance(value, bool):
            _refuse(f"{within}.{key}", wanted, value, source)
        return value
    right = isinstance(value, str) if wanted is _TEXT else isinstance(value, int | float) and value is not True
    if not right or value is False:
        _refuse(f"{within}.{key}", wanted, value, source)
    return value


def _above_zero(name: str, value: float) -> None:
    if not value > 0:
        _refuse(name, "more than 0 seconds", value)


def _refuse(name: str, expected: str, got: object, source: str = "The serve spec") -> NoReturn:
    message = f"{source} has {name}: {got!r}, which must be {expected}."
    raise SettingsInvalid(message, source=source, key=name)
