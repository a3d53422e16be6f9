"""The file of a promotion policy, `registry/promotion/<model>.yaml`, read strictly: what it says, where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

from twinscore.document import errors_at, load_document, located, read_value
from twinscore.errors import SettingsInvalid
from twinscore.rollout.assign import BUCKETS
from twinscore.rollout.calendar import Freeze
from twinscore.rollout.gate import Gate
from twinscore.rollout.plan import as_share
from twinscore.rollout.policy import Policy
from twinscore.rollout.stage import Stage, as_seconds

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load_policy", "policy_for", "read_policy"]

_HOUR_MINUTES = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class _StageText:
    kind: Literal["shadow", "canary", "approve", "bake"]
    name: str = ""
    share: Any = None
    sampling: Any = None
    requests: int | None = None
    at_least: Any = None
    at_most: Any = "1d"
    on_deadline: Literal["roll_back", "pause"] = "roll_back"
    gates: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _FreezeText:
    name: str
    reason: str = ""
    zone: str = "UTC"
    from_: Any = None
    until: Any = None
    days: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _PolicyText:
    model: str
    stages: tuple[_StageText, ...] | None = None
    gates: tuple[Any, ...] | None = None
    ab_share: Any = None
    shadow_sampling: Any = None
    rollback_window: int | None = None
    freeze: tuple[_FreezeText, ...] | None = None
    settle: Any = None
    alpha: float | None = None
    deadline: Any = None
    header_override: bool | None = None


def policy_for(folder: Path, model: str) -> Policy:
    """Return the policy of a model: that of its file in the folder, or the default one where there is none.

    Raises:
        SettingsInvalid: the file is there and cannot be read, is wrong, or is of another model.
    """
    path = folder / f"{model}.yaml"
    if not path.is_file():
        return Policy.default(model)
    policy = load_policy(path)
    if policy.model != model:
        message = f"The promotion policy {path} is of the model {policy.model}; a file is named after its model."
        raise SettingsInvalid(message, path=str(path), key="model")
    return policy


def load_policy(path: Path) -> Policy:
    """Read a policy from YAML; what is wrong is named with its line and column.

    Raises:
        SettingsInvalid: the file cannot be read, or a key or value in it is wrong.
    """
    document = load_document(path)
    try:
        return read_policy(document, source=f"The promotion policy {path}")
    except SettingsInvalid as error:
        raise located(path, error) from None


def read_policy(document: object, *, source: str = "The promotion policy") -> Policy:
    """Make a policy of the plain values of its file.

    Raises:
        SettingsInvalid: a key is unknown or missing, or a value is wrong; `source` and the key are named.
    """
    text = read_value(_PolicyText, document, source=source)
    members: dict[str, Any] = {
        name: getattr(text, name)
        for name in ("model", "rollback_window", "alpha", "header_override")
        if getattr(text, name) is not None
    }
    if text.stages is not None:
        members["stages"] = tuple([_stage(one, f"stages[{at}]", source) for at, one in enumerate(text.stages)])
    if text.gates is not None:
        members["gates"] = tuple([_gate(one, f"gates[{at}]", source) for at, one in enumerate(text.gates)])
    if text.freeze is not None:
        members["freeze"] = tuple([_freeze(one, f"freeze[{at}]", source) for at, one in enumerate(text.freeze)])
    for name in ("ab_share", "shadow_sampling"):
        if (value := getattr(text, name)) is not None:
            with errors_at(name, source):
                members[name] = as_share(value)
    if text.settle is not None:
        with errors_at("settle", source):
            members["settle_s"] = as_seconds(text.settle)
    if text.deadline is not None:
        with errors_at("deadline", source):
            members["deadline_ms"] = round(as_seconds(text.deadline) * 1_000)
    with errors_at("", source):
        return Policy(**members)


def _stage(text: _StageText, place: str, source: str) -> Stage:
    waits = text.kind == "approve"
    with errors_at(f"{place}.share", source):
        share = 0 if text.share is None else as_share(text.share)
    with errors_at(f"{place}.sampling", source):
        sampling = (BUCKETS if text.kind == "shadow" else 0) if text.sampling is None else as_share(text.sampling)
    with errors_at(f"{place}.at_least", source):
        at_least_s = (0.0 if waits else 60.0) if text.at_least is None else as_seconds(text.at_least)
    with errors_at(f"{place}.at_most", source):
        at_most_s = as_seconds(text.at_most)
    with errors_at(place, source):
        return Stage(
            kind=text.kind, name=text.name or text.kind, share=share, sampling=sampling, at_least_s=at_least_s,
            requests=(0 if waits else 300) if text.requests is None else text.requests, at_most_s=at_most_s,
            on_deadline=text.on_deadline, gates=text.gates, approvers=text.approvers,
        )  # fmt: skip


def _gate(document: object, place: str, source: str) -> Gate:
    with errors_at(place, source):
        return Gate.from_document(document, source=source, within=f"{place}.")


def _freeze(text: _FreezeText, place: str, source: str) -> Freeze:
    said: dict[str, Any] = {"name": text.name, "reason": text.reason, "zone": text.zone, "days": text.days}
    with errors_at(place, source):
        if not text.days:
            return Freeze(**said, starts=_day(text.from_), ends=_day(text.until))
        start = 0 if text.from_ is None else _minute_of_day("from", text.from_)
        end = 24 * _HOUR_MINUTES if text.until is None else _minute_of_day("until", text.until)
        return Freeze(**said, start=start, end=end)


def _day(value: object) -> str:
    """Return a day or time as it is kept; YAML makes a date of what looks like one."""
    return value.isoformat() if isinstance(value, date | datetime) else "" if value is None else str(value)


def _minute_of_day(what: str, value: object) -> int:
    """Return a time of day in minutes; YAML 1.1 reads 18:00 as a number to the base of 60."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    hour, sign, minute = str(value).partition(":")
    if not (sign and hour.isdecimal() and minute.isdecimal() and int(minute) < _HOUR_MINUTES):
        message = f"The {what} of a weekly freeze must be a time of day such as 18:00, got {str(value)[:80]!r}."
        raise SettingsInvalid(message, key=what)
    return int(hour) * _HOUR_MINUTES + int(minute)
