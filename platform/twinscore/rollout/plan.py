"""What people write about a model's rollout: versions and shares, in a deployment file or a routing file.

A plan names versions; a routing, made from it, names digests, applications and an epoch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

from twinscore.errors import SettingsInvalid, near
from twinscore.rollout.assign import BUCKETS
from twinscore.rollout.routing import Challenger, Routing, Shadow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twinscore.rollout.routing import Target

__all__ = [
    "ArmPlan",
    "Beside",
    "Role",
    "RoutingPlan",
    "ShadowPlan",
    "as_share",
    "load_plan",
    "promoted",
    "rolled_back",
    "routed",
    "show_share",
]

Role = Literal["canary", "ab", "shadow"]
"""What a version is asked for beside the live one."""

_Part = TypeVar("_Part")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,2})?)\s*%")


class Beside(Protocol):
    """An application beside the gateway, and the version in it."""

    @property
    def app(self) -> str:
        """Its name."""
        ...

    @property
    def version(self) -> str:
        """The version's number."""
        ...

    @property
    def digest(self) -> str:
        """The bundle's."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmPlan:
    """A version and its share of the entities, in 1/10,000."""

    version: str
    share: int
    arm: str = ""
    """What answers call it; empty means `canary` or `ab`, after its place in the plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowPlan:
    """A version that is mirrored, and for how many of the entities, in 1/10,000."""

    version: str
    sampling: int = BUCKETS


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPlan:
    """Who shall be asked beside the live version; nobody when empty."""

    canary: ArmPlan | None = None
    ab: ArmPlan | None = None
    shadows: tuple[ShadowPlan, ...] = ()
    salt: str | None = None
    """Of this rollout; None keeps the one in force."""
    entity: tuple[str, ...] | None = None
    """Columns that name the entity; None keeps those in force, at first the contract's key."""
    deadline_ms: int = 250
    header_override: bool = False

    @property
    def versions(self) -> tuple[str, ...]:
        """Every version that the plan names."""
        arms = [arm.version for arm in (self.canary, self.ab) if arm is not None]
        return (*arms, *[shadow.version for shadow in self.shadows])

    @classmethod
    def from_document(cls, document: object) -> RoutingPlan:
        """Read what a YAML file holds; shares are percentages such as `5%` or `0.25%`.

        Raises:
            SettingsInvalid: a key is unknown or missing, or its value is of the wrong kind.
        """
        members = _mapping("routing", document if document is not None else {})
        for name in ("canary", "ab"):
            if members.get(name) is not None:
                members[name] = _arm(name, members[name])
        if members.get("shadows") is not None:
            members["shadows"] = tuple([_shadow(value) for value in _listed("shadows", members["shadows"])])
        if members.get("entity") is not None:
            members["entity"] = tuple(_listed("entity", members["entity"]))
        return _build(cls, "routing", members)


def load_plan(path: Path) -> RoutingPlan:
    """Read a plan from YAML.

    Raises:
        SettingsInvalid: the file cannot be read, or is no plan.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        message = f"The routing file {path} cannot be read: {error}"
        raise SettingsInvalid(message, path=str(path)) from error
    return RoutingPlan.from_document(document)


def as_share(text: object) -> int:
    """Return a percentage in 1/10,000.

    Raises:
        SettingsInvalid: it is no percentage from 0 to 100 with at most two decimals.

    >>> as_share("5%"), as_share("0.25 %"), as_share("100%")
    (500, 25, 10000)
    """
    found = _PERCENT.fullmatch(text.strip()) if isinstance(text, str) else None
    share = int(Decimal(found[1]) * 100) if found is not None else BUCKETS + 1
    if share > BUCKETS:
        message = f"A share must be a percentage with at most two decimals, such as 5% or 0.25%, got {text!r}."
        raise SettingsInvalid(message, setting="share")
    return share


def show_share(share: int) -> str:
    """Return a share as a percentage.

    >>> show_share(500), show_share(25)
    ('5%', '0.25%')
    """
    return f"{Decimal(share) / 100:f}%"


def routed(current: Routing, plan: RoutingPlan, up: Callable[[Role, str], Beside | None]) -> Routing:
    """Return the routing that asks the versions of a plan beside the live one, and no others.

    Args:
        current: the routing in force, which this one follows.
        plan: who shall be asked.
        up: the application of a version in a role; a version without one is left out.
    """
    challengers = []
    modes: tuple[tuple[Literal["canary", "ab"], ArmPlan | None], ...] = (("canary", plan.canary), ("ab", plan.ab))
    for mode, arm in modes:
        one = None if arm is None else up(mode, arm.version)
        if arm is not None and one is not None:
            challengers.append(
                Challenger(
                    arm=arm.arm or mode, app=one.app, version=one.version, digest=one.digest, mode=mode, share=arm.share
                )
            )
    found = [(up("shadow", shadow.version), shadow.sampling) for shadow in plan.shadows]
    shadows = [
        Shadow(app=one.app, version=one.version, digest=one.digest, sampling=sampling)
        for one, sampling in found
        if one is not None
    ]
    return replace(
        current,
        epoch=current.epoch + 1,
        challengers=tuple(challengers),
        shadows=tuple(shadows),
        salt=current.salt if plan.salt is None else plan.salt,
        entity=current.entity if plan.entity is None else plan.entity,
        deadline_ms=plan.deadline_ms,
        header_override=plan.header_override,
    )


def promoted(current: Routing, live: Target) -> Routing:
    """Return the routing that follows when a version becomes live; the one before it stays warm.

    Challengers and shadows of that very bundle leave: they would be compared with themselves.
    """
    previous = current.live if current.live.digest != live.digest else current.previous
    return replace(
        current,
        live=live,
        previous=previous,
        epoch=current.epoch + 1,
        challengers=tuple([one for one in current.challengers if one.digest != live.digest]),
        shadows=tuple([one for one in current.shadows if one.digest != live.digest]),
    )


def rolled_back(current: Routing) -> Routing:
    """Return the routing that goes back to the version before, alone; needs no registry, for it is kept loaded.

    What is asked beside the live version may read other columns than the one before, and must not keep it away.

    Raises:
        SettingsInvalid: no version before is known.
    """
    if current.previous is None:
        message = f"{current.model} has no earlier version to go back to; version {current.live.version} was the first."
        raise SettingsInvalid(message, model=current.model)
    return replace(
        current, live=current.previous, previous=current.live, epoch=current.epoch + 1, challengers=(), shadows=()
    )


def _arm(name: str, document: object) -> ArmPlan:
    members = _mapping(name, document)
    if "share" in members:
        members["share"] = as_share(members["share"])
    return _build(ArmPlan, name, members)


def _shadow(document: object) -> ShadowPlan:
    members = _mapping("shadows", document)
    if "sampling" in members:
        members["sampling"] = as_share(members["sampling"])
    return _build(ShadowPlan, "shadows", members)


def _build(kind: type[_Part], place: str, members: dict[str, Any]) -> _Part:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # dataclasses, all three
    for name in members:
        if name not in known:
            message = f"The routing plan has an unknown key {name!r} in {place}. {near(str(name), known)}"
            raise SettingsInvalid(message, key=str(name))
    if isinstance(members.get("version"), int) and not isinstance(members["version"], bool):
        members["version"] = str(members["version"])
    for name, wanted in _KINDS.items():
        value = members.get(name)
        if value is not None and (not isinstance(value, wanted) or isinstance(value, bool) != (wanted is bool)):
            message = f"The routing plan has {name}: {value!r} in {place}, which is not of the right type."
            raise SettingsInvalid(message, key=name)
    try:
        return kind(**members)
    except TypeError:
        missing = ", ".join(sorted(name for name in _NEEDED if name in known and name not in members))
        message = f"The routing plan lacks {missing} in {place}."
        raise SettingsInvalid(message, key=missing) from None


_KINDS: dict[str, type] = {"version": str, "arm": str, "salt": str, "deadline_ms": int, "header_override": bool}
_NEEDED = ("version", "share")


def _mapping(place: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        message = f"The routing plan must have keys and values in {place}, got {str(value)[:80]!r}."
        raise SettingsInvalid(message, key=place)
    return dict(cast("dict[str, Any]", value))


def _listed(place: str, value: object) -> list[Any]:
    if not isinstance(value, list) or (place == "entity" and any(not isinstance(one, str) for one in value)):
        message = f"The routing plan must have a list in {place}, got {str(value)[:80]!r}."
        raise SettingsInvalid(message, key=place)
    return list(value)
