"""Ends an incident on a person's word: state, orders and ledger in one transaction, whichever control acts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twinscore.clock import SystemClock
from twinscore.control.incidents import open_incidents
from twinscore.control.judged import shown_of
from twinscore.control.kept_rules import changed_parts, read_rules
from twinscore.errors import ModelNotFound, StoreConflict, near
from twinscore.monitoring.dismissal import LASTS, dismiss
from twinscore.rollout.ledger import Draft

if TYPE_CHECKING:
    from datetime import timedelta

    from twinscore.clock import Clock
    from twinscore.monitoring.incident import Incident
    from twinscore.ports.rollout_store import ControlStore

__all__ = ["dismiss_incident"]

_TRIES = 10
"""The control saves every few seconds, and whoever saved first wins."""


def dismiss_incident(
    store: ControlStore, incident_id: str, *, by: str, reason: str, lasting: timedelta = LASTS,
    clock: Clock | None = None,
) -> Incident:  # fmt: skip
    """End an open incident, and return it; a control that runs takes back what was asked for within seconds.

    Args:
        lasting: after so long what still breaks the rule opens an incident again.

    Raises:
        ModelNotFound: no such incident is open.
        SettingsInvalid: nobody or nothing is named, or it is to last for too long.
        StoreConflict: others saved first, again and again.
        StoreUnavailable: the store does not answer; nothing was changed.
    """
    clock = clock or SystemClock()
    for left in reversed(range(_TRIES)):
        try:
            return _dismissed(store, incident_id, by, reason, lasting, clock)
        except StoreConflict:
            if not left:
                raise
    raise AssertionError  # the last try returned or raised


def _dismissed(
    store: ControlStore, incident_id: str, by: str, reason: str, lasting: timedelta, clock: Clock
) -> Incident:
    known = {one["id"]: one for one in open_incidents(store)}
    if incident_id not in known:
        message = f"No incident {incident_id!r} is open; see `twinscore monitor incidents`. {near(incident_id, known)}"
        raise ModelNotFound(message, incident=incident_id)
    model, rule = known[incident_id]["model"], known[incident_id]["rule"]
    kept = read_rules(store.alerts, model, store.alerts.load(model))
    state, ended, orders = dismiss(
        kept.state.rules[rule], incident_id, clock.now(), by=by, reason=reason, lasting=lasting
    )
    after = replace(kept.state, rules={**kept.state.rules, rule: state})
    assert ended.dismissed_until is not None
    draft = Draft(
        model=model, kind="incident_dismissed", requested_by=f"rule {rule}", decided_by=ended.dismissed_by,
        reason=ended.dismissed_because,
        evidence={
            "incident": ended.id, "severity": ended.severity, "since": ended.since.isoformat(), "says": ended.says,
            "until": ended.dismissed_until.isoformat(),
        },
    )  # fmt: skip
    store.alerts.save(
        model, shown_of(after), revision=kept.revision, lease=None, orders=orders, drafts=[draft],
        parts=changed_parts(kept, after, kept.stamps),
    )  # fmt: skip
    return ended
