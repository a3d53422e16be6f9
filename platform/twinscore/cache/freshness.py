"""May a value that was made earlier answer now? Pure decisions over facts and times that are handed in."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Status", "same_version", "status_at"]


class Status(StrEnum):
    """What became of one look-up; the names are Feast's."""

    PRESENT = "PRESENT"
    NULL_VALUE = "NULL_VALUE"
    """The key is there, its value is null."""
    NOT_FOUND = "NOT_FOUND"
    OUTSIDE_MAX_AGE = "OUTSIDE_MAX_AGE"
    """The key is there, its value too old, or from a time to come: clocks disagree, and its age is not known."""


def status_at(made_s: float, now_s: float, max_age_s: float | None) -> Status:
    """Return whether a value made at `made_s` may be used at `now_s`: PRESENT, or OUTSIDE_MAX_AGE.

    >>> status_at(100.0, 159.9, 60.0), status_at(100.0, 160.0, 60.0)
    (<Status.PRESENT: 'PRESENT'>, <Status.OUTSIDE_MAX_AGE: 'OUTSIDE_MAX_AGE'>)
    """
    if max_age_s is None or 0.0 <= now_s - made_s < max_age_s:
        return Status.PRESENT
    return Status.OUTSIDE_MAX_AGE


def same_version(facts: Mapping[str, Any], *, bundle_digest: str, contract_digest: str) -> bool:
    """Tell whether a file of scores was made by the very bundle, under the very contract, that is live."""
    return bool(facts.get("bundle_digest") == bundle_digest and facts.get("contract_digest") == contract_digest)
