"""The key `degrade` of a deployment file: what answers instead when full service is too slow, when, and until when."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NoReturn

from twinscore.errors import SettingsInvalid
from twinscore.online.ladder import LadderRules

__all__ = ["DegradeSpec", "StaleScores"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TAKEN = ("live", "mixed", "shadow", "canary", "ab")


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleScores:
    """Answer from the last batch run of the live version, also when it is older than the cache may be."""

    ttl_s: float
    """Age in seconds from which a score is not used; it counts from the beginning of the run."""

    def __post_init__(self) -> None:
        if not self.ttl_s > 0:
            _refuse("scores.ttl_s", "more than 0 seconds", self.ttl_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradeSpec:
    """What stands in for full service; at least one of `version` and `scores`."""

    version: str | None = None
    """A cheaper version of the same model under the same contract: `NAME/VERSION`, `NAME@ALIAS`, or without the name.

    The registry is asked when the model is served; every replica has the version loaded from then on.
    """
    scores: StaleScores | None = None
    """Scores of the live version that batch made; asked before the cheaper version."""
    p99_ms: float | None = None
    """Longest 99th percentile from arrival to answer; None takes `scaling.p99_ms`."""
    after_s: float = 5.0
    """How long a replica is over it before it degrades, when there are as many replicas as there may be."""
    scale_s: float = 60.0
    """The same while there are fewer: how long more replicas may take to help."""
    share: Literal["needed", "all"] = "needed"
    """`needed`: 25 %, 50 % and then all of the entities, as far as it takes; `all`: all of them at once."""
    crowded: bool = True
    """Whether a replica counts as over while as many requests are inside as the edge may send."""
    leave_below: float = 0.8
    """Full service is taken up again below this share of the load at which it became too slow."""
    leave_s: float = 60.0
    """How long the load must have been that low."""
    label: str = "degraded"
    """What answers and records have as `arm`."""

    def __post_init__(self) -> None:
        if self.version is None and self.scores is None:
            _refuse("version", "given, or degrade.scores is", None)
        if self.p99_ms is not None and not self.p99_ms > 0:
            _refuse("p99_ms", "more than 0 milliseconds", self.p99_ms)
        for name in ("after_s", "scale_s"):
            if not getattr(self, name) >= 0:
                _refuse(name, "0 or more seconds", getattr(self, name))
        if not 0 < self.leave_below < 1:
            _refuse("leave_below", "more than 0 and less than 1", self.leave_below)
        if not self.leave_s >= 1:
            _refuse("leave_s", "at least 1 second", self.leave_s)
        if not _NAME.fullmatch(self.label) or self.label in _TAKEN:
            expected = f"letters, digits, dots, dashes and underscores, and none of {', '.join(_TAKEN)}"
            _refuse("label", expected, self.label)

    def reference(self, model: str) -> str | None:
        """Return the cheaper version as a reference to the registry.

        Raises:
            SettingsInvalid: it is a version of another model.

        >>> DegradeSpec(version="@cheap").reference("loans"), DegradeSpec(version="3").reference("loans")
        ('loans@cheap', 'loans/3')
        """
        if self.version is None:
            return None
        name, sign, rest = re.fullmatch(r"([^/@]*)([/@]?)(.*)", self.version, re.DOTALL).groups()  # type: ignore[union-attr]  # matches all
        if not sign:
            name, rest = "", name
        if name and name != model:
            _refuse("version", f"a version of {model}", self.version)
        return f"{model}{sign or '/'}{rest}"

    def rules(self, p99_ms: float | None) -> LadderRules:
        """Return when to degrade; `p99_ms` is what scaling has."""
        longest = self.p99_ms if self.p99_ms is not None else p99_ms
        if longest is None:
            _refuse("p99_ms", "given, or scaling.p99_ms is", None)
        return LadderRules(
            p99_ms=longest, after_s=self.after_s, scale_s=self.scale_s, leave_below=self.leave_below,
            leave_s=self.leave_s, crowded=self.crowded, at_once=self.share == "all",
        )  # fmt: skip


def _refuse(name: str, expected: str, got: object) -> NoReturn:
    message = f"The serve option degrade.{name} must be {expected}, got {got!r}."
    raise SettingsInvalid(message, setting=f"degrade.{name}", key=f"degrade.{name}")
