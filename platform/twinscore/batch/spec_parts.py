"""The mappings inside a batch spec, as checked values; each knows what it may hold and nothing of how it is done."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from twinscore.errors import SettingsInvalid

__all__ = [
    "ExplainSpec",
    "FreshnessSpec",
    "JoinSpec",
    "LabelsSpec",
    "PublishSpec",
    "QuarantineLimit",
    "refuse",
]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineLimit:
    """The most rows and files that may be refused; a run with more becomes visible nowhere."""

    share: float = 0.1
    """Share of the input's rows, from 0 to 1."""
    count: int | None = None
    """Number of rows; None leaves only the share."""
    files: bool = False
    """Whether a file that cannot be read, or has other columns, is set aside whole; else it ends the run."""
    max_files: int | None = 10
    """Number of files, with `files: true`; None sets no limit but all of them."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            refuse("quarantine.share", "from 0 to 1", self.share)
        if self.count is not None and self.count < 0:
            refuse("quarantine.count", "0 or more", self.count)
        if self.max_files is not None and self.max_files < 0:
            refuse("quarantine.max_files", "0 or more", self.max_files)

    def allows(self, refused: int, rows: int) -> bool:
        """Tell whether `refused` of `rows` rows stay within the limit."""
        return refused <= self.share * rows and (self.count is None or refused <= self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinSpec:
    """A side table whose columns are joined to the rows by one key."""

    path: str
    """File, folder, glob or URI; a relative path lies in the lake."""
    on: str
    """Column of the rows and of the table that must be equal."""
    columns: tuple[str, ...]
    """Columns that are taken."""
    prefix: str = ""
    """Put before the name of each column that is taken."""
    max_bytes: int = 1 << 30
    """Most bytes that the table may need in memory, in each worker."""

    def __post_init__(self) -> None:
        if not self.columns or len(set(self.columns)) != len(self.columns) or self.on in self.columns:
            refuse("join.columns", f"columns other than {self.on!r}, each named once", list(self.columns))
        if self.max_bytes < 1:
            refuse("join.max_bytes", "at least 1", self.max_bytes)

    @property
    def names(self) -> tuple[str, ...]:
        """What the rows call the columns that are taken."""
        return tuple(f"{self.prefix}{column}" for column in self.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainSpec:
    """Which rows get their contributions, and where they are written."""

    rows: Literal["none", "all", "flagged", "sample"] = "none"
    sample: float = 0.01
    """Share of the rows, with `rows: sample`; from 0 to 1, without 0."""
    into: Literal["columns", "side"] = "side"
    """Columns of the predictions, or files of their own beside them."""

    def __post_init__(self) -> None:
        if not 0 < self.sample <= 1:
            refuse("explain.sample", "above 0 and at most 1", self.sample)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishSpec:
    """A table that a committed run is copied into."""

    to: str
    """URI of the database or catalogue; its password comes from the environment."""
    table: str

    def __post_init__(self) -> None:
        if "://" not in self.to and self.to != "iceberg:":
            refuse(
                "publish.to",
                "a URI such as postgresql://host/database, or iceberg: for the catalogue in the lake",
                self.to,
            )
        if re.search(r"://[^/\s@]*:[^/\s@]*@", self.to):
            shown = re.sub(r"(://)[^/\s@]*@", r"\1***@", self.to)
            refuse("publish.to", "without a password, which the environment holds", shown)
        if not self.table:
            refuse("publish.table", "text that is not empty", self.table)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsSpec:
    """Outcomes that are known by now, to compare the scores with."""

    path: str
    column: str
    """The outcome."""
    key: tuple[str, ...] = ()
    """Columns that identify a row; empty means the run's key."""
    at: str | None = None
    """Column with the time at which the outcome was known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshnessSpec:
    """How old the input may be."""

    max_age: str
    """A number and a unit: s, m, h or d, such as `26h`."""
    limit: dt.timedelta = field(init=False, compare=False)

    def __post_init__(self) -> None:
        match = _DURATION.fullmatch(self.max_age.strip())
        if match is None or not float(match[1]):
            refuse("freshness.max_age", "a number and a unit (s, m, h, d), such as 26h", self.max_age)
        object.__setattr__(self, "limit", dt.timedelta(**{_UNITS[match[2]]: float(match[1])}))


def refuse(name: str, expected: str, got: object) -> NoReturn:
    """Raise for a value of the spec that is of the right kind and still wrong.

    Raises:
        SettingsInvalid: always.
    """
    message = f"{name} of a batch scoring must be {expected}, got {got!r}."
    raise SettingsInvalid(message, setting=name)
