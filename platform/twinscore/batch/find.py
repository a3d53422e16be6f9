"""Which files an input names: files, folders, globs, here or in an object store; opens none of them."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from posixpath import commonpath, dirname

from twinscore.batch.place import Found, Place
from twinscore.errors import FileUnreadable, InputEmpty, SettingsInvalid, near

__all__ = ["SUFFIXES", "find_inputs", "hive_values"]

SUFFIXES = (".parquet", ".parq", ".pq")
"""Files of a folder that are input; names that start with `_` or `.` never are, as every Parquet reader has it."""
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_SHOWN = 5


def find_inputs(locations: tuple[str, ...]) -> tuple[Place, list[Found]]:
    """Return the place that holds all files of an input, and its files in order of name.

    Raises:
        FileUnreadable: a file or folder does not exist, or may not be read.
        InputEmpty: a folder or glob holds no Parquet file.
        SettingsInvalid: the locations lie in different stores, or name a file twice.
        StoreUnavailable: an object store does not answer.
    """
    places = [Place.at(location) for location in locations]
    if not all(place.same_store(places[0]) for place in places):
        shown = ", ".join(place.shown() for place in places[:_SHOWN])
        message = f"The inputs {shown} lie in different stores. Score them in one run per store, or copy them together."
        raise SettingsInvalid(message, inputs=[place.shown() for place in places])
    parts = [_here(place) if place.is_local else _in_store(place) for place in places]
    root = parts[0][0] if len(parts) == 1 else _common([folder for folder, _ in parts], local=places[0].is_local)
    found = [
        Found(f"{_below(folder, root)}{file.name}", file.size)
        for folder, files in parts
        for file in files
    ]  # fmt: skip
    found.sort()
    place = replace(places[0], root=root)
    for one, two in pairwise(found):
        if one.name == two.name:
            message = f"The inputs name {place.shown(one.name)} twice: its rows would be scored twice. Name it once."
            raise SettingsInvalid(message, path=place.shown(one.name))
    return place, found


def hive_values(location: str) -> dict[str, str | None]:
    """Return the partition values in the folders of a file, as text; None for Hive's null. The last of a name holds.

    >>> hive_values("/lake/loans/country=DE/day=__HIVE_DEFAULT_PARTITION__/part.parquet")
    {'country': 'DE', 'day': None}
    """
    from urllib.parse import unquote

    values: dict[str, str | None] = {}
    for part in location.split("/")[:-1]:
        name, sign, value = part.partition("=")
        if sign and name:
            values[unquote(name)] = None if value == HIVE_NULL else unquote(value)
    return values


def _here(place: Place) -> tuple[str, list[Found]]:
    """Return a folder of this machine, and the files below it that the location names."""
    path = Path(place.root)
    try:
        if path.is_file():
            return str(path.parent), [Found(path.name, None)]
        if path.is_dir():
            return str(path), _walked(path)
    except PermissionError as error:
        raise _closed(str(path), error) from error
    if glob.has_magic(place.root):
        # Path.glob wants a folder and a relative pattern; here the pattern may begin at the root.
        matched = [name for name in glob.glob(place.root, recursive=True) if Path(name).is_file()]  # noqa: PTH207
        if not matched:
            message = f"No file matches {place.root}."
            raise InputEmpty(message, source=place.root)
        folder = _common([dirname(name) for name in matched], local=True)
        return folder, [Found(name[len(folder.rstrip("/")) + 1 :], None) for name in matched]
    beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = near(path.name, beside) if beside else f"Nor does {path.parent}."
    message = f"The input {path} does not exist. {hint}"
    raise FileUnreadable(message, path=str(path))


def _walked(top: Path) -> list[Found]:
    def closed(error: OSError) -> None:
        raise _closed(str(error.filename or top), error) from error

    found = []
    for folder, folders, names in os.walk(top, onerror=closed):
        folders[:] = [name for name in folders if not name.startswith(("_", "."))]
        below = folder[len(str(top)) :].strip("/")
        found += [Found(f"{below}/{name}" if below else name, None) for name in names if _is_input(name)]
    if not found:
        raise _nothing(top.as_posix(), sorted(item.name for item in top.iterdir()))
    return found


def _in_store(place: Place) -> tuple[str, list[Found]]:
    """Return a folder of a store, and the files below it that the location names."""
    pattern = place.root if glob.has_magic(place.root) else None
    if pattern is not None:
        steady = pattern[: re.search(r"[*?\[]", pattern).start()]  # type: ignore[union-attr]
        place = replace(place, root=steady.rpartition("/")[0])
    listed = place.listed()
    if listed is None and pattern is None:
        message = f"The input {place.shown()} does not exist: no object has that name or begins with it."
        raise FileUnreadable(message, path=place.shown())
    names = listed or []
    if pattern is not None:
        rule = _translated(pattern)
        names = [file for file in names if rule.fullmatch(f"{place.root}/{file.name}".lstrip("/"))]
        if not names:
            message = f"No object matches {replace(place, root=pattern).shown()}."
            raise InputEmpty(message, source=place.shown())
        return place.root, names
    if [file.name for file in names] == [""]:
        folder, _, name = place.root.rpartition("/")
        return folder, [Found(name, names[0].size)]
    kept = [file for file in names if all(not part.startswith(("_", ".")) for part in file.name.split("/"))]
    kept = [file for file in kept if _is_input(file.name.rpartition("/")[2])]
    if not kept:
        raise _nothing(place.shown(), [file.name for file in names])
    return place.root, kept


def _is_input(name: str) -> bool:
    return name.endswith(SUFFIXES) and not name.startswith(("_", "."))


def _translated(pattern: str) -> re.Pattern[str]:
    """Return a glob as a regular expression in which only `**` crosses a slash."""
    words = {"**/": r"(?:(?!\.)[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}

    def word(match: re.Match[str]) -> str:
        text = match[0]
        # A name that begins with a dot is meant only where the pattern has the dot, as in any shell.
        seen = r"(?!\.)" if match.start() == 0 or pattern[match.start() - 1] == "/" else ""
        if text.startswith("[") and len(text) > 1:
            return seen + (f"[^{text[2:]}" if text[1] == "!" else text)
        return seen + words[text] if text in words else re.escape(text)

    return re.compile(re.sub(r"\*\*/|\*\*|\[!?[^]]+\]|.", word, pattern))


def _common(folders: list[str], *, local: bool) -> str:
    if not local and not all(folders):
        return ""
    return commonpath(set(folders))


def _below(folder: str, root: str) -> str:
    below = folder[len(root) :].strip("/")
    return f"{below}/" if below else ""


def _nothing(folder: str, there: list[str]) -> InputEmpty:
    holds = f"it holds {', '.join(there[:_SHOWN])}" if there else "it is empty"
    message = f"The folder {folder} has no Parquet file ({', '.join(SUFFIXES)}): {holds}."
    return InputEmpty(message, source=folder)


def _closed(path: str, error: OSError) -> FileUnreadable:
    message = f"The input {path} cannot be read: {error.strerror or error}. Mend its rights, or run as another user."
    return FileUnreadable(message, path=path)
