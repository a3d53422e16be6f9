"""How parts of evidence are joined, taken apart, written and read: by their fields; knows none of them."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from twinscore.errors import SchemaMismatch, near

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Counts", "added", "by_name", "join", "members_of", "part_to_json", "same"]

Part = TypeVar("Part", bound="Counts")


class Counts(Protocol):
    """What adds up."""

    def merged(self, other: Self, /) -> Self:
        """Add others."""
        ...

    def minus(self, earlier: Self, /) -> Self:
        """Take earlier ones away."""
        ...


def by_name(
    mine: Sequence[Part], its: Sequence[Part], name: Callable[[Part], tuple[str, ...]], sign: int
) -> tuple[Part, ...]:
    """Return parts joined by name; what only the other side has is added, and cannot be taken away."""
    found = {name(part): part for part in mine}
    for part in its:
        known = found.get(name(part))
        if known is not None:
            found[name(part)] = join(known, part, sign)
        elif sign > 0:
            found[name(part)] = part
    return tuple([found[one] for one in sorted(found)])


def join(mine: Part, its: Part, sign: int) -> Part:
    """Return two parts added, or with a sign of -1 the second taken away."""
    return mine.merged(its) if sign > 0 else mine.minus(its)


def added(mine: Mapping[str, int], its: Mapping[str, int], sign: int) -> dict[str, int]:
    """Return counts by name added, or with a sign of -1 the second taken away; without those that are 0."""
    found = dict(mine)
    for name, count in its.items():
        found[name] = found.get(name, 0) + sign * count
    return {name: count for name, count in found.items() if count}


def same(mine: str, its: str) -> None:
    """Raise SchemaMismatch when evidence of one thing would be joined with that of another."""
    if mine != its:
        message = f"Evidence of {mine} cannot be joined with evidence of {its}."
        raise SchemaMismatch(message)


def part_to_json(part: Any) -> dict[str, Any]:
    """Return the fields of a part as JSON values."""
    found = {one.name: getattr(part, one.name) for one in fields(part)}
    return {name: value.to_json() if hasattr(value, "to_json") else value for name, value in found.items()}


def members_of(kind: type, document: Mapping[str, Any], parts: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """Return the arguments of a value; a member that is unknown, missing or of another form is refused by name."""
    known = {one.name for one in fields(kind)}
    for name in document:
        if name not in known:
            message = f"The evidence has an unknown member {name!r}. {near(name, known)}"
            raise SchemaMismatch(message, member=name)
    found = dict(document)
    for name in sorted(known):
        if name not in found:
            message = f"The evidence lacks {name!r}; it is of another release."
            raise SchemaMismatch(message, member=name)
        if name in parts and found[name] is not None:
            try:
                found[name] = parts[name](found[name])
            except (KeyError, TypeError, ValueError) as error:
                message = f"The evidence has a {name!r} that cannot be read: {error!r}"
                raise SchemaMismatch(message, member=name) from error
    return found
