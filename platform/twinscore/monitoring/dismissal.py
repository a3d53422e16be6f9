"""A person ends an incident before it has recovered; pure.

Everything that was asked for is taken back, and what broke the rule then opens nothing more until it has recovered:
back within its limits, and the cooldown over, so that what wavers at its limit does not come back at once. What else
breaks the rule opens an incident of its own. Nothing is dismissed for ever: after a while it is told again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from twinscore.errors import ModelNotFound, SettingsInvalid, near
from twinscore.monitoring.condition import Missing
from twinscore.monitoring.follow import closed
from twinscore.monitoring.incident import key_in
from twinscore.monitoring.judge import Series

if TYPE_CHECKING:
    from datetime import datetime

    from twinscore.monitoring.incident import Incident, RuleState
    from twinscore.monitoring.order import Order
    from twinscore.monitoring.rule import Rule

__all__ = ["LASTS", "LONGEST", "dismiss", "heeded"]

LASTS = timedelta(days=30)
"""How long a dismissal lasts at most, when nothing else is said."""
LONGEST = timedelta(days=90)
"""Incidents that are over are known for this long, see `step`."""


def dismiss(
    state: RuleState, incident_id: str, now: datetime, *, by: str, reason: str, lasting: timedelta = LASTS
) -> tuple[RuleState, Incident, tuple[Order, ...]]:
    """Return the state after a person ended an incident, the incident, and what takes back what was asked for.

    Args:
        lasting: after so long what still breaks the rule opens an incident again.

    Raises:
        ModelNotFound: no such incident is open.
        SettingsInvalid: nobody or nothing is named, or it is to last for too long.
    """
    if not (by.strip() and reason.strip()):
        message = "An incident is dismissed by somebody and for a reason; the ledger keeps both."
        raise SettingsInvalid(message, incident=incident_id)
    if not timedelta() < lasting <= LONGEST:
        message = f"A dismissal lasts for some time, and at most {LONGEST.days} days, got {lasting}."
        raise SettingsInvalid(message, incident=incident_id)
    found = next((one for one in state.open if one.id == incident_id), None)
    if found is None:
        known = [one.id for one in state.open]
        message = f"No incident {incident_id!r} of the rule {state.rule} is open. {near(incident_id, known)}"
        raise ModelNotFound(message, incident=incident_id)
    until, members = now + lasting, set(found.members)
    series = {
        key: replace(one, dismissed=now, dismissed_until=until)
        if one.raised is not None and (key in members or key_in(state, key) == found.key)
        else one
        for key, one in state.series.items()
    }
    found = replace(found, dismissed_by=by.strip(), dismissed_because=reason.strip(), dismissed_until=until)
    text = (
        f"Dismissed by {found.dismissed_by}: {found.dismissed_because}\n\n"
        f"What broke the rule opens nothing until it has recovered, and until {until:%Y-%m-%d %H:%M} UTC at the latest."
    )
    ended, orders = closed(state, found, now, text)
    return replace(state, series=series, incidents={**state.incidents, ended.key: ended}), ended, orders


def heeded(series: Series, rule: Rule, now: datetime) -> Series:
    """Return a series that was dismissed as it counts now: as before, once it has recovered or the time is over.

    One of which no figure came since, such as of a feature that is gone, is begun anew when the time is over.
    """
    assert series.dismissed is not None
    calm = series.raised is None and (now - series.dismissed).total_seconds() >= rule.cooldown_s
    over = series.dismissed_until is not None and now >= series.dismissed_until
    if over and not isinstance(rule.when, Missing) and (series.seen is None or series.seen <= series.dismissed):
        return Series(floor=series.judged, judged=series.judged, known=series.known, seen=series.seen)
    return replace(series, dismissed=None, dismissed_until=None) if calm or over else series
