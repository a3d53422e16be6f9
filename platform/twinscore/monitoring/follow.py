"""What is ordered about an incident as it opens, goes on and is over; pure.

The orders are in the order of the rule's `do`; each is numbered within its incident, action and verb, so its id says
what it is and is never given twice.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twinscore.monitoring.condition import Missing
from twinscore.monitoring.incident import Done, Incident
from twinscore.monitoring.order import Order
from twinscore.monitoring.playbook import advice_on
from twinscore.monitoring.quantity import show_seconds
from twinscore.monitoring.selector import DIMENSIONS, values_of
from twinscore.monitoring.wording import Member, body_of, headline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from twinscore.monitoring.incident import IncidentKey, RuleState
    from twinscore.monitoring.judge import Series
    from twinscore.monitoring.order import Action, Verb
    from twinscore.monitoring.rule import Rule
    from twinscore.monitoring.selector import SeriesKey

__all__ = ["closed", "going", "over"]

_MOST_MEMBERS = 1_000
_TOLD_MEMBERS = 50
"""Members whose figures an order carries; `members_total` says how many there are."""


def going(
    rule: Rule, state: RuleState, series: Mapping[SeriesKey, Series], key: IncidentKey, raised: Sequence[SeriesKey],
    now: datetime,
) -> tuple[Incident, tuple[Order, ...]]:  # fmt: skip
    """Return the incident of a key that some series are raised in: a new one, the old one again, or as it goes on."""
    orders: list[Order] = []
    incident, begun = state.incidents.get(key), False
    members = _members(rule, series, raised)
    newest = max([one.windows[-1].end for one in (series[key] for key in raised) if one.windows], default=None)
    if incident is None or _over_for_good(incident, rule, now):
        incident, begun = _new(rule, state, series, key, raised, incident, now), True
    elif incident.phase == "closed":
        incident, begun = replace(incident, raised_at=now, closed_at=None, told_at=now, members=()), True
    known = set(incident.members)
    joined = [one for one in raised if one not in known][: _MOST_MEMBERS - len(known)]
    latest = {series[one].latest for one in raised}
    clearing = latest == {"clear"}
    incident = replace(
        incident, phase="clearing" if clearing else "open", members=(*incident.members, *joined),
        severity=rule.severity, says=headline(rule, state.model, members),
        told_end=newest if begun else incident.told_end,
    )  # fmt: skip
    if begun or "breach" in latest or isinstance(rule.when, Missing):
        incident = _asked(rule, state, incident, members, now, orders)
    anew = newest is not None and (incident.told_end is None or newest > incident.told_end)
    if not begun and anew and (now - incident.told_at).total_seconds() >= rule.cooldown_s and "ticket" in incident.done:
        lead = _still(rule, incident, members, now, clearing=clearing)
        incident, order = _order(state, incident, "ticket", "comment", _facts(rule, incident, members), lead)
        incident = replace(incident, told_at=now, told_end=newest)
        orders.append(order)
    return incident, tuple(orders)


def over(
    rule: Rule, state: RuleState, series: Mapping[SeriesKey, Series], incident: Incident, now: datetime
) -> tuple[Incident, tuple[Order, ...]]:
    """Return an incident that nothing is raised in any more, closed."""
    left = [(key, series[key]) for key in incident.members if key in series]
    members = [Member(key, one.windows[-1] if one.windows else None, one.known, raised=False) for key, one in left]
    lasted = show_seconds(round((now - incident.opened_at).total_seconds()))
    text = body_of(rule, incident, members, f"Recovered after {lasted}.")
    return closed(state, incident, now, text)


def closed(state: RuleState, incident: Incident, now: datetime, text: str) -> tuple[Incident, tuple[Order, ...]]:
    """Return an incident closed, and each action that was asked for taken back."""
    orders: list[Order] = []
    facts = {"rule": state.rule, "key": list(incident.key), "since": incident.since.isoformat()}
    if incident.dismissed_by:
        facts |= {"dismissed_by": incident.dismissed_by, "dismissed_because": incident.dismissed_because}
    for action in incident.done:
        incident, order = _order(state, incident, action, "close", facts, text)
        orders.append(order)
    return replace(incident, phase="closed", closed_at=now, told_at=now, done={}), tuple(orders)


def _new(
    rule: Rule, state: RuleState, series: Mapping[SeriesKey, Series], key: IncidentKey, raised: Sequence[SeriesKey],
    before: Incident | None, now: datetime,
) -> Incident:  # fmt: skip
    count = 1 if before is None else before.count + 1
    moments = [moment for one in raised if (moment := series[one].raised) is not None]
    broken = [window.start for one in raised for window in series[one].windows if window.verdict == "breach"]
    said = [state.model, rule.name, list(key), min(moments).isoformat(), count, state.generation]
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]
    name = re.sub(r"[^a-z0-9]+", "-", f"{state.model} {rule.name}".lower()).strip("-")[:60]
    return Incident(
        id=f"{name}-{digest}", key=key, phase="open", count=count, severity=rule.severity, opened_at=now,
        since=min([*broken, *moments]), raised_at=now, told_at=now,
    )  # fmt: skip


def _asked(
    rule: Rule, state: RuleState, incident: Incident, members: Sequence[Member], now: datetime, orders: list[Order]
) -> Incident:
    """Order what the rule asks for and was not asked for yet, if its time has come."""
    for wish in rule.do:
        done = incident.done.get(wish.action)
        real_now = done is not None and done.dry_run and not rule.dry_run
        if (done is not None and not real_now) or (now - incident.raised_at).total_seconds() < wish.after_s:
            continue
        again = incident.raised_at > incident.opened_at
        lead = f"{'Again: ' if again else ''}{incident.says}."
        text = body_of(rule, incident, members, lead, advice_on(rule.metric).lines)
        facts = _facts(rule, incident, members)
        incident = replace(incident, done={**incident.done, wish.action: Done(rule.dry_run, dict(wish.options))})
        incident, order = _order(state, incident, wish.action, "open", facts, text)
        orders.append(order)
    return incident


def _order(
    state: RuleState, incident: Incident, action: Action, verb: Verb, facts: Mapping[str, Any], body: str
) -> tuple[Incident, Order]:
    done = incident.done[action]
    name = f"{action}/{verb}"
    number = incident.numbers.get(name, 0) + 1
    details = {
        **facts, "options": dict(done.options), "dry_run": done.dry_run,
        "reopened": incident.raised_at > incident.opened_at,
    }  # fmt: skip
    mark = f"{'(dry run) ' if done.dry_run else ''}{'Over: ' if verb == 'close' else ''}"
    order = Order(
        id=f"{incident.id}/{name}/{number}", incident=incident.id, model=state.model, action=action, verb=verb,
        severity=incident.severity, title=f"{mark}{incident.says}", body=body, details=details, dry_run=done.dry_run,
    )  # fmt: skip
    return replace(incident, numbers={**incident.numbers, name: number}), order


def _members(rule: Rule, series: Mapping[SeriesKey, Series], keys: Sequence[SeriesKey]) -> list[Member]:
    """Return series with the windows that say best what is wrong, the worst first."""
    metric = rule.measure

    def badness(one: Member) -> tuple[bool, float, SeriesKey]:
        value = None if one.window is None else one.window.value
        if value is None:
            return True, 0.0, one.key
        size = {"higher": value, "lower": -value, "either": abs(value)}[metric.worse]
        return False, -size, one.key

    found = [Member(key, series[key].worst, series[key].known, series[key].raised is not None) for key in keys]
    return sorted(found, key=badness)


def _facts(rule: Rule, incident: Incident, members: Sequence[Member]) -> dict[str, Any]:
    told = [_fact(one) for one in members[:_TOLD_MEMBERS]]
    return {
        "rule": rule.name, "metric": rule.metric, "condition": rule.says, "key": list(incident.key),
        "each": list(rule.each), "since": incident.since.isoformat(), **told[0], "members": told,
        "members_total": len(members),
    }  # fmt: skip


def _fact(member: Member) -> dict[str, Any]:
    facts: dict[str, Any] = {name: values_of(member.key)[name] for name in DIMENSIONS}
    window = member.window
    for name in ("value", "low", "high", "p_value"):
        number = None if window is None else getattr(window, name)
        facts[name] = number if number is not None and math.isfinite(number) else None
    facts["rows"] = 0 if window is None else window.rows
    facts["window"] = None if window is None else [window.start.isoformat(), window.end.isoformat()]
    if window is not None and not facts["version"]:
        facts["version"] = window.version
    return facts


def _still(rule: Rule, incident: Incident, members: Sequence[Member], now: datetime, *, clearing: bool) -> str:
    lasted = show_seconds(round((now - incident.raised_at).total_seconds()))
    lead = f"{'Getting better' if clearing else 'Still so'} after {lasted}: {incident.says}."
    return body_of(rule, incident, members, lead)


def _over_for_good(incident: Incident, rule: Rule, now: datetime) -> bool:
    """Say whether what breaks the rule now is another incident: after the cooldown, or after a person ended it."""
    if incident.phase != "closed" or incident.closed_at is None:
        return False
    return bool(incident.dismissed_by) or (now - incident.closed_at).total_seconds() >= rule.cooldown_s
