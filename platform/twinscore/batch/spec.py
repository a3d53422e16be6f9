"""What one batch scoring is asked to do: a value and its YAML file; knows nothing of Ray, models or Parquet.

model: loans@champion
input: data/loans               # a file, a folder or a glob; relative paths lie in the lake
output: predictions/loans/demo  # a folder that must not hold another run
key: [loan_id]                  # optional: the contract's key when left out
quarantine: {share: 0.1}        # optional: most rows that may be refused
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from twinscore.errors import SettingsInvalid, near

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

__all__ = ["QuarantineLimit", "ScoreSpec", "load_document", "load_score_spec", "read_score_spec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineLimit:
    """The most rows that may be refused; a run with more becomes visible nowhere."""

    share: float = 0.1
    """Share of the input's rows, from 0 to 1."""
    count: int | None = None
    """Number of rows; None leaves only the share."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            _refuse("quarantine.share", "from 0 to 1", self.share)
        if self.count is not None and self.count < 0:
            _refuse("quarantine.count", "0 or more", self.count)

    def allows(self, refused: int, rows: int) -> bool:
        """Tell whether `refused` of `rows` rows stay within the limit."""
        return refused <= self.share * rows and (self.count is None or refused <= self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSpec:
    """One batch scoring: which model, over what, to where."""

    model: str
    """`NAME@ALIAS`, `NAME/VERSION` or `NAME` (its champion); resolved once, when the run starts."""
    input: str
    """Parquet file, folder or glob; a relative path lies in the lake."""
    output: str
    """Folder that the run becomes; a relative path lies in the lake."""
    key: tuple[str, ...] = ()
    """Columns that identify a row; empty means the contract's key."""
    quarantine: QuarantineLimit = field(default_factory=QuarantineLimit)
    """The most rows that may be refused."""
    restart: bool = False
    """Drop what an interrupted run left at the output, instead of going on with it."""
    shard_rows: int | None = None
    """Rows per shard, and so per output file; None chooses by the size of the input."""

    def __post_init__(self) -> None:
        for name in ("model", "input", "output"):
            if not getattr(self, name):
                _refuse(name, "text that is not empty", getattr(self, name))
        if len(set(self.key)) != len(self.key):
            _refuse("key", "columns that are each named once", list(self.key))
        if self.shard_rows is not None and self.shard_rows < 1:
            _refuse("shard_rows", "at least 1", self.shard_rows)

    def placed(self, lake: Path) -> ScoreSpec:
        """Return the spec with absolute paths: relative ones are put into the lake."""
        return ScoreSpec(
            model=self.model,
            input=str(lake / Path(self.input).expanduser()),
            output=str(lake / Path(self.output).expanduser()),
            key=self.key,
            quarantine=self.quarantine,
            restart=self.restart,
            shard_rows=self.shard_rows,
        )


def load_score_spec(path: Path, changes: Sequence[str] = ()) -> ScoreSpec:
    """Read a spec from YAML; `changes` such as `output=predictions/today` or `quarantine.share=0` win over the file.

    Raises:
        SettingsInvalid: the file cannot be read, or a key or value is wrong; file and key are named.
    """
    return read_score_spec(load_document(path, changes), source=str(path))


def read_score_spec(document: Mapping[str, Any], *, source: str = "The spec") -> ScoreSpec:
    """Make a spec of plain values, as YAML or JSON hold them.

    Raises:
        SettingsInvalid: a key is unknown or missing, or a value is wrong.
    """
    known = {item.name: item for item in fields(ScoreSpec)}
    _known_keys(document, known, source)
    missing = [name for name in ("model", "input", "output") if name not in document]
    if missing:
        message = f"{source} lacks {', '.join(missing)}; a batch scoring needs model, input and output."
        raise SettingsInvalid(message, source=source, missing=missing)
    values = dict(document)
    for name in ("model", "input", "output"):
        _kind(values[name], (str,), name, "text", source)
    if "key" in values:
        key = [values["key"]] if isinstance(values["key"], str) else values["key"]
        _kind(key, (list, tuple), "key", "a column name or a list of them", source)
        for column in key:
            _kind(column, (str,), "key", "a column name or a list of them", source)
        values["key"] = tuple(key)
    if "shard_rows" in values:
        _kind(values["shard_rows"], (int, type(None)), "shard_rows", "a whole number", source)
    if "quarantine" in values:
        _kind(values["quarantine"], (dict,), "quarantine", "a mapping of share and count", source)
        limits = values["quarantine"]
        _known_keys(limits, {"share", "count"}, f"{source}, quarantine,")
        _kind(limits.get("share", 0), (int, float), "quarantine.share", "a number", source)
        _kind(limits.get("count"), (int, type(None)), "quarantine.count", "a whole number", source)
        values["quarantine"] = QuarantineLimit(**limits)
    return ScoreSpec(**values)


def load_document(path: Path, changes: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML mapping and apply `key=value` changes; keys of inner mappings are written `outer.inner`.

    Raises:
        SettingsInvalid: it cannot be read, holds a key twice, is no mapping, or a change has no `=`.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - derives from SafeLoader
    except FileNotFoundError:
        beside = [item.name for item in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        message = f"The spec {path} does not exist. {near(path.name, beside)}"
        raise SettingsInvalid(message, path=str(path)) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        message = f"The spec {path} cannot be read: {error}"
        raise SettingsInvalid(message, path=str(path)) from error
    if not isinstance(document, dict):
        message = f"The spec {path} must be a mapping such as `model: loans@champion`, not {type(document).__name__}."
        raise SettingsInvalid(message, path=str(path))
    for change in changes:
        name, sign, text = change.partition("=")
        if not sign or not name:
            message = f"The change {change!r} must be written key=value, such as output=predictions/today."
            raise SettingsInvalid(message, change=change)
        *outer, last = name.split(".")
        inner = document
        for part in outer:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                message = f"The change {change!r} goes into {part}, which is no mapping in {path}."
                raise SettingsInvalid(message, change=change)
        inner[last] = yaml.load(text, Loader=_Loader)  # noqa: S506 - derives from SafeLoader
    return document


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                problem = f"the key {key.value!r} is written twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _known_keys(document: Mapping[str, Any], known: Mapping[str, Any] | set[str], source: str) -> None:
    for key in document:
        if key not in known:
            message = f"{source} has an unknown key {key!r}. {near(str(key), known)}"
            raise SettingsInvalid(message, source=source, key=str(key))


def _kind(value: object, kinds: tuple[type, ...], name: str, expected: str, source: str) -> None:
    if not isinstance(value, kinds) or isinstance(value, bool):
        message = f"{source} has {name}: {value!r}, which must be {expected}."
        raise SettingsInvalid(message, source=source, key=name)


def _refuse(name: str, expected: str, got: object) -> None:
    message = f"{name} of a batch scoring must be {expected}, got {got!r}."
    raise SettingsInvalid(message, setting=name)
