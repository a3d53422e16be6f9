"""The key `monitor` of a deployment file, read strictly: what its rules say, where they are wrong, and written back.

A mistake is refused under the key where it is, such as `monitor.rules[2].when`, so that it can be found in the file.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast

from twinscore.document import errors_at, read_value
from twinscore.errors import SettingsInvalid, near
from twinscore.monitoring.condition import Missing, show_condition
from twinscore.monitoring.condition_text import parse_condition
from twinscore.monitoring.metric import Metric, metric_named
from twinscore.monitoring.quantity import seconds_of, show_seconds
from twinscore.monitoring.rule import Cadence, Clear, Rule, Windows
from twinscore.monitoring.rule_needs import check_needs
from twinscore.monitoring.selector import DIMENSIONS, Dimension, Selectors, default_each
from twinscore.monitoring.spec import MonitorSpec
from twinscore.monitoring.wish import Wish, read_wish

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["read_monitor", "read_rule", "read_rules", "rule_document"]

_OWN_KEYS = ("rules", "playbook")
_WINDOWS = re.compile(r"(\d{1,4})\s+of\s+(\d{1,4})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class _RuleText:
    name: str
    metric: str
    when: str
    version: Any = None
    role: tuple[str, ...] | None = None
    path: tuple[str, ...] | None = None
    segment: tuple[str, ...] | None = None
    subject: tuple[str, ...] | None = None
    each: tuple[str, ...] | None = None
    cadence: Literal["window", "live"] | None = None
    windows: Any = None
    for_: Any = None
    clear: Any = None
    cooldown: Any = None
    least_rows: int = 0
    severity: Literal["info", "warning", "critical"] = "warning"
    do: Any = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _ClearText:
    when: str | None = None
    windows: Any = None
    for_: Any = None


def read_monitor(document: object, *, source: str, within: str = "monitor.") -> MonitorSpec:
    """Return what is watched of a model, of the plain values of its file.

    Raises:
        SettingsInvalid: a key is unknown or missing, or a value or rule is wrong; `key` names where.
    """
    if not isinstance(document, dict):
        return read_value(MonitorSpec, document, source=source, within=within)
    plain = {key: value for key, value in document.items() if key not in _OWN_KEYS}
    spec = read_value(MonitorSpec, plain, source=source, within=within)
    changes: dict[str, Any] = {}
    if "rules" in document:
        changes["rules"] = read_rules(document["rules"], source=source, within=f"{within}rules")
    if "playbook" in document:
        changes["playbook"] = document["playbook"]
    with errors_at(within.rstrip("."), source):
        spec = replace(spec, **changes)
        check_needs(spec)
    return spec


def read_rules(document: object, *, source: str, within: str = "rules") -> tuple[Rule, ...]:
    """Return the rules of a list; no two have the same name.

    Raises:
        SettingsInvalid: it is no list, or a rule is wrong; `key` names where.
    """
    if not isinstance(document, list | tuple):
        message = f"{source} has {within}: {str(document)[:80]!r}, which must be a list of rules."
        raise SettingsInvalid(message, source=source, key=within)
    rules: dict[str, Rule] = {}
    for at, one in enumerate(document):
        rule = read_rule(one, source=source, within=f"{within}[{at}]")
        if rule.name.lower() in rules:
            message = f"{source} has two rules called {rule.name!r}; an incident is known by its rule's name."
            raise SettingsInvalid(message, source=source, key=f"{within}[{at}].name")
        rules[rule.name.lower()] = rule
    return tuple(rules.values())


def read_rule(document: object, *, source: str = "The rule", within: str = "") -> Rule:
    """Return the rule that a mapping says.

    Raises:
        SettingsInvalid: a name or operator is unknown, or the rule contradicts itself; `key` names where.
    """
    text = read_value(_RuleText, document, source=source, within=f"{within}." if within else "")
    with errors_at(within, source):
        with _under("metric"):
            metric = metric_named(text.metric)
        condition = parse_condition(text.when, metric)
        missing = isinstance(condition, Missing)
        do = _wishes(text.do)
        acts_at_once = any(wish.action in ("scale", "degrade") for wish in do)
        cadence: Cadence = text.cadence or ("live" if acts_at_once else "window")
        return Rule(
            name=text.name, metric=text.metric, when=condition, do=do, select=_selectors(text),
            each=default_each(metric, missing=missing) if text.each is None else _each(text.each), cadence=cadence,
            windows=Windows() if text.windows is None else _windows(text.windows, "windows"),
            for_s=0.0 if text.for_ is None else seconds_of(text.for_, "for"), clear=_clear(text.clear, metric),
            cooldown_s=86_400.0 if text.cooldown is None else seconds_of(text.cooldown, "cooldown"),
            least_rows=text.least_rows, severity=text.severity, dry_run=text.dry_run,
        )  # fmt: skip


def rule_document(rule: Rule) -> dict[str, Any]:
    """Return a rule as it is written in a file; `read_rule` reads it back to an equal one."""
    unit = rule.measure.unit
    said: dict[str, Any] = {"name": rule.name, "metric": rule.metric, "when": show_condition(rule.when, unit)}
    usual = Selectors()
    for name in DIMENSIONS:
        if getattr(rule.select, name) != getattr(usual, name):
            said[name] = list(getattr(rule.select, name))
    said["each"] = list(rule.each)
    said["cadence"] = rule.cadence
    if rule.windows != Windows():
        said["windows"] = str(rule.windows)
    if rule.for_s:
        said["for"] = show_seconds(rule.for_s)
    clear = {
        "when": None if rule.clear.when is None else show_condition(rule.clear.when, unit),
        "windows": None if rule.clear.windows is None else str(rule.clear.windows),
        "for": show_seconds(rule.clear.for_s) if rule.clear.for_s else None,
    }
    if any(clear.values()):
        said["clear"] = {key: value for key, value in clear.items() if value is not None}
    said["cooldown"] = show_seconds(rule.cooldown_s)
    if rule.least_rows:
        said["least_rows"] = rule.least_rows
    said |= {"severity": rule.severity, "do": [wish.to_document() for wish in rule.do]}
    return {**said, "dry_run": True} if rule.dry_run else said


def _selectors(text: _RuleText) -> Selectors:
    given: dict[str, Any] = {name: getattr(text, name) for name in DIMENSIONS if getattr(text, name) is not None}
    if "version" in given:
        items = given["version"] if isinstance(given["version"], list | tuple) else [given["version"]]
        for one in items:
            if isinstance(one, bool) or not isinstance(one, str | int):
                _refuse("version", "numbers or names of versions", text.version)
        given["version"] = tuple([str(one) for one in items])
    return Selectors(**given)


def _each(names: Sequence[str]) -> tuple[Dimension, ...]:
    for at, name in enumerate(names):
        if name not in DIMENSIONS:
            _refuse(f"each[{at}]", f"some of {', '.join(DIMENSIONS)}", name, near(name, DIMENSIONS))
    return cast("tuple[Dimension, ...]", tuple(names))


def _windows(text: object, key: str) -> Windows:
    """Return `3 of 5`; 3 alone is 3 of 3."""
    if isinstance(text, int) and not isinstance(text, bool):
        return Windows(text, text)
    found = _WINDOWS.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        _refuse(key, "written M of N, such as 3 of 5", text)
    return Windows(int(found[1]), int(found[2]))


def _clear(document: object, metric: Metric) -> Clear:
    if document is None:
        return Clear()
    if isinstance(document, str):
        return Clear(when=parse_condition(document, metric, "clear"))
    text = read_value(_ClearText, document, source="The rule", within="clear.")
    return Clear(
        when=None if text.when is None else parse_condition(text.when, metric, "clear.when"),
        windows=None if text.windows is None else _windows(text.windows, "clear.windows"),
        for_s=0.0 if text.for_ is None else seconds_of(text.for_, "clear.for"),
    )


def _wishes(document: object) -> tuple[Wish, ...]:
    if document is None:
        return (read_wish("ticket", "do"),)
    if not isinstance(document, list | tuple):
        return (read_wish(document, "do"),)
    return tuple([read_wish(one, f"do[{at}]") for at, one in enumerate(document)])


@contextmanager
def _under(key: str) -> Iterator[None]:
    """Name the key of an error that knows none."""
    try:
        yield
    except SettingsInvalid as error:
        raise SettingsInvalid(error.message, **{"key": key, **error.fields}) from None


def _refuse(key: str, expected: str, got: object, hint: str = "") -> NoReturn:
    message = f"The {key.rpartition('.')[2]} of a rule must be {expected}, got {str(got)[:80]!r}. {hint}".rstrip()
    raise SettingsInvalid(message, key=key)
