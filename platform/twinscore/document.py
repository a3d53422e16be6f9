"""A YAML mapping read strictly, and a value made of it by its declared fields; knows nothing of what they mean."""

from __future__ import annotations

import re
import types
import typing
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union

import yaml

from twinscore.errors import SettingsInvalid, near

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence
    from pathlib import Path

__all__ = ["changed", "errors_at", "load_document", "located", "read_value"]

T = TypeVar("T")
_WORDS = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false",
    date: "a day, such as 2026-01-31", dict: "a mapping", tuple: "a list",
}  # fmt: skip


def load_document(path: Path, changes: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML mapping and apply `key=value` changes; keys of inner mappings are written `outer.inner`.

    Only `true` and `false` are truths: `on`, `no` and `=` are text, because a key is called `on`, a country NO.

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
    return changed(document, changes, source=str(path))


def changed(document: dict[str, Any], changes: Sequence[str], *, source: str) -> dict[str, Any]:
    """Apply `key=value` changes to a mapping, in place, and return it.

    Raises:
        SettingsInvalid: a change has no `=`, is no YAML, or goes into something that is no mapping.
    """
    for change in changes:
        name, sign, text = change.partition("=")
        if not sign or not name:
            message = f"The change {change!r} must be written key=value, such as output=predictions/today."
            raise SettingsInvalid(message, change=change)
        *outer, last = name.split(".")
        inner: Any = document
        for part in outer:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                message = f"The change {change!r} goes into {part}, which is no mapping in {source}."
                raise SettingsInvalid(message, change=change)
        try:
            inner[last] = yaml.load(text, Loader=_Loader)  # noqa: S506 - derives from SafeLoader
        except yaml.YAMLError as error:
            problem = " ".join(str(error).split())
            message = f"The change {change!r} cannot be read as YAML: {problem}. Put text with special signs in quotes."
            raise SettingsInvalid(message, change=change) from error
    return document


def located(path: Path, error: SettingsInvalid) -> SettingsInvalid:
    """Return the error with the line and column of the key that its field `key` names, such as `stages[2].share`.

    A key that is not in the file leads to the mapping that it belongs in; without any the error is as it was.
    Where its field `at` counts letters into the text under the key, and the text is on one line, that letter is meant.
    """
    mark, node = None, yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
    for part in re.findall(r"[^.\[\]]+", str(error.fields.get("key", ""))):
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and part.isdecimal() and int(part) < len(node.value):
            found = (node.value[int(part)], node.value[int(part)])
        if found is None:
            break
        mark, node = found[0].start_mark, found[1]
    if mark is None:
        return error
    mark, inside = _inside(node, error.fields.get("at")) or (mark, 0)
    line, column = mark.line + 1, mark.column + inside + 1
    message = f"{error.message} (line {line}, column {column})"
    return SettingsInvalid(message, **{**error.fields, "line": line, "column": column})


def _inside(node: yaml.Node | None, at: object) -> tuple[yaml.Mark, int] | None:
    """Return where a text begins and how far in the letter `at` is; None for no text, or one with escapes."""
    if not isinstance(node, yaml.ScalarNode) or not isinstance(at, int):
        return None
    quoted = 0 if node.style is None else 1
    plain = node.end_mark.index - node.start_mark.index == len(node.value) + 2 * quoted
    one_line = node.style in (None, "'", '"') and node.start_mark.line == node.end_mark.line
    return (node.start_mark, at + quoted) if plain and one_line else None


@contextmanager
def errors_at(place: str, source: str) -> Iterator[None]:
    """Add to an error where in the file it is."""
    try:
        yield
    except SettingsInvalid as error:
        inner = str(error.fields.get("key", ""))
        if place and inner.startswith(place):
            raise
        key = ".".join([part for part in (place, inner) if part])
        message = f"{source}, {key}: {error.message}" if key else f"{source}: {error.message}"
        raise SettingsInvalid(message, **{**error.fields, "source": source, "key": key}) from None


def read_value(kind: type[T], document: object, *, source: str, within: str = "") -> T:
    """Make a dataclass of a mapping: every key a field, every value of the field's type.

    Fields may be text, numbers, truths, days, `Literal`, `tuple[X, ...]` (one X alone is a tuple of it),
    `dict[str, X]`, another dataclass, `Any`, or one of these or None.

    Args:
        source: what the mapping is called in messages.
        within: the key that it stands under, with a dot at the end.

    Raises:
        SettingsInvalid: a key is unknown or missing, or a value is of another kind.
    """
    called = f"{source}, {within.rstrip('.')}," if within else source
    if not isinstance(document, dict):
        names = _listed([item.name for item in _fields(kind)])
        raise _wrong(within.rstrip("."), document, f"a mapping of {names}", source)
    known = {item.name.rstrip("_"): item for item in _fields(kind)}
    for key in document:
        if key not in known:
            message = f"{called} has an unknown key {key!r}. {near(str(key), known)}"
            raise SettingsInvalid(message, source=source, key=f"{within}{key}")
    needed = [name for name, item in known.items() if item.default is MISSING and item.default_factory is MISSING]
    missing = [name for name in needed if name not in document]
    if missing:
        message = f"{called} lacks {', '.join(missing)}; it needs {_listed(needed)}."
        raise SettingsInvalid(message, source=source, missing=missing, key=within.rstrip("."))
    hints = typing.get_type_hints(kind)
    return kind(
        **{
            known[key].name: _read(hints[known[key].name], value, f"{within}{key}", source)
            for key, value in document.items()
        }
    )


def _read(kind: Any, value: Any, name: str, source: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _read_one_of([one for one in arguments if one is not type(None)], value, name, source)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            hint = near(value, arguments) if isinstance(value, str) else ""
            raise _wrong(name, value, f"one of {', '.join(arguments)}", source, hint)
        return value
    if origin is tuple:
        items = list(value) if isinstance(value, list | tuple) else [value]
        single = not isinstance(value, list | tuple)
        names = [name] if single else [f"{name}[{at}]" for at in range(len(items))]
        return tuple(_read(arguments[0], one, called, source) for called, one in zip(names, items, strict=True))
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise _wrong(name, value, "a mapping of names", source)
        return {key: _read(arguments[1], one, f"{name}.{key}", source) for key, one in value.items()}
    if is_dataclass(kind):
        return value if isinstance(value, kind) else read_value(kind, value, source=source, within=f"{name}.")  # type: ignore[arg-type]
    allowed = (int, float) if kind is float else (kind,)
    # Python takes a truth for a whole number, and an instant for a day.
    other = (isinstance(value, bool) and kind is not bool) or (isinstance(value, datetime) and kind is date)
    if other or not isinstance(value, allowed):
        raise _wrong(name, value, _WORDS[kind], source)
    return value


def _read_one_of(kinds: Sequence[Any], value: Any, name: str, source: str) -> Any:
    """Read text as text and a list as a list; where only one kind is left, read that."""
    if len(kinds) > 1:
        lists = isinstance(value, list | tuple)
        kinds = [kind for kind in kinds if (typing.get_origin(kind) is tuple) == lists] or kinds
    return _read(kinds[0], value, name, source)


def _fields(kind: Any) -> tuple[Any, ...]:
    return tuple(item for item in fields(kind) if item.init)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _wrong(name: str, value: object, expected: str, source: str, hint: str = "") -> SettingsInvalid:
    message = f"{source} has {name}: {value!r}, which must be {expected}. {hint}".rstrip()
    return SettingsInvalid(message, source=source, key=name)


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice, and takes no word but true and false for a truth."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                problem = f"the key {key.value!r} is written twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_UNWANTED = {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:value"}
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, rule) for tag, rule in rules if tag not in _UNWANTED]
    for letter, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
