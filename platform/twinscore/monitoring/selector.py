"""Which figures a rule looks at, and which of them make one incident; pure.

A name may hold `*`, which stands for any letters: `country=*` is every value of the column country. Nothing else in a
name is special, so that `age=[18, 25)` means what it says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NoReturn, TypeAlias, get_args

from twinscore.errors import SettingsInvalid, near

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.metric import Metric

__all__ = ["DIMENSIONS", "Dimension", "Selectors", "default_each", "series_key", "values_of"]

Dimension = Literal["version", "role", "path", "segment", "subject"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
_ROLES = ("live", "canary", "challenger", "shadow", "batch")
_PATHS = ("online", "batch")
SeriesKey: TypeAlias = "tuple[str, str, str, str, str]"
"""Version, role, path, segment and subject; empty where figures are taken together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selectors:
    """Names, of each dimension, of the figures that are looked at."""

    version: tuple[str, ...] = ("*",)
    role: tuple[str, ...] = ("live", "batch")
    """Canaries and challengers are guarded by the gates of their rollout."""
    path: tuple[str, ...] = ("*",)
    segment: tuple[str, ...] = ("",)
    """Empty is all rows; `*=*` is every segment and not all rows."""
    subject: tuple[str, ...] = ("*",)

    def take(self, figure: Figure) -> bool:
        """Return whether a figure is looked at."""
        return (
            _chosen(self.role, figure.role)
            and _chosen(self.segment, figure.segment)
            and _chosen(self.path, figure.path)
            and _chosen(self.subject, figure.subject)
            and _chosen(self.version, figure.version)
        )

    def check(self, metric: Metric) -> None:
        """Refuse names that no figure of the metric has.

        Raises:
            SettingsInvalid: a role, path, segment or subject cannot be; the key is named.
        """
        for one in fields(self):
            if not getattr(self, one.name):
                _refuse(one.name, "name something; leave it out for what suits the metric", "an empty list")
        for key, known in (("role", _ROLES), ("path", _PATHS)):
            for name in getattr(self, key):
                if not any(_chosen((name,), one) for one in known):
                    _refuse(key, f"be of {', '.join(known)}", repr(name), near(name, known))
        for name in self.segment:
            if name and "=" not in name and name != "*":
                _refuse("segment", "be written column=value, such as country=DE or country=*", repr(name))
        if not metric.subject and self.subject != ("*",):
            _refuse("subject", f"be left out: {metric.name} is a figure of the model as a whole", repr(self.subject[0]))


def default_each(metric: Metric, *, missing: bool) -> tuple[Dimension, ...]:
    """Return what incidents are apart by where a rule does not say.

    Many features that drift are one incident that lists them, and so are many decisions, groups or segments; columns of
    groups are apart, because whoever audits one looks at its groups.
    """
    return ("role", "path", "subject") if metric.subject == "column" and not missing else ("role", "path")


def series_key(figure: Figure, apart: tuple[bool, ...]) -> SeriesKey:
    """Return what a figure is judged together with: empty in each dimension that is not apart."""
    version, role, path, segment, subject = apart
    return (
        figure.version if version else "",
        figure.role if role else "",
        figure.path if path else "",
        figure.segment if segment else "",
        figure.subject if subject else "",
    )


def values_of(key: SeriesKey) -> Mapping[Dimension, str]:
    """Return a key with the names of its dimensions."""
    return dict(zip(DIMENSIONS, key, strict=True))


@lru_cache(maxsize=65_536)
def _chosen(names: tuple[str, ...], found: str) -> bool:
    return any(name == "*" or name == found or ("*" in name and _matches(name, found)) for name in names)


def _matches(name: str, found: str) -> bool:
    return re.fullmatch(".*".join([re.escape(part) for part in name.split("*")]), found, re.DOTALL) is not None


def _refuse(key: str, expected: str, got: str, hint: str = "") -> NoReturn:
    message = f"The {key} of a rule must {expected}, got {got[:80]}. {hint}".rstrip()
    raise SettingsInvalid(message, key=key)
