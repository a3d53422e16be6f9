"""Old days of a watched log: they wait for the monitor and for people, and what was counted of them stays."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from twinscore.audit.expire import Expired
from twinscore.clock import FixedClock
from twinscore.control.expiry import expire_log
from twinscore.errors import SettingsInvalid, StoreConflict
from twinscore.monitoring.spec import MonitorSpec
from twinscore.online.spec import AuditPolicy, ServeSpec
from twinscore.ports.case_store import HumanAudit
from twinscore.wiring import open_rollout_store, window_store

from .watched import MODEL, START, Watched


def expire(watched: Watched, days: int, keep: str | None = "2d") -> Expired:
    spec = ServeSpec(model=MODEL, monitor=watched.spec, audit=AuditPolicy(keep=keep))
    clock = FixedClock(START + timedelta(days=days))
    return expire_log(watched.settings, MODEL, spec, by="ann", clock=clock)


def test_rows_are_removed_once_they_are_counted(watched: Watched) -> None:
    """Unread ones stay; counts of removed ones stay, even when all others are counted anew."""
    watched.write(3, 60, step_s=60.0)
    watched.look()
    watched.write(4, 60, step_s=60.0, stream="r2")
    watched.compact()
    waiting = expire(watched, 10)
    watched.look()
    counted = watched.tallies()
    done = expire(watched, 10)
    again = watched.look()
    watched.spec = replace(watched.spec, segments=("plan",))
    anew = watched.look()

    assert ["the monitor has not read segment 1 of stream r2 yet"] == list(waiting.days[0].kept)
    assert [120] == [day.rows for day in done.removed]
    assert ((), 0) == (again.waiting, again.counted)
    assert ((), 0) == (anew.waiting, anew.counted)
    assert counted == watched.tallies()


def test_days_of_an_open_audit_stay(watched: Watched) -> None:
    """Until its incident is over: people may have to look at a case again."""
    watched.write(3, 10)
    watched.compact()
    window = [START.isoformat(), (START + timedelta(hours=1)).isoformat()]
    with open_rollout_store(watched.settings) as store:
        audit = HumanAudit(id="a1", incident="a1", model=MODEL, title="unequal errors", facts={"window": window})
        store.cases.start(audit, [])
    kept = expire(watched, 10)
    with open_rollout_store(watched.settings) as store:
        store.cases.finish("a1")

    assert ["the audit a1 is not over: unequal errors"] == list(kept.days[0].kept)
    assert [10] == [day.rows for day in expire(watched, 10).removed]


def test_it_does_not_run_beside_a_look_and_not_without_a_length(watched: Watched) -> None:
    """A look may read what would be removed; and nothing is removed by a default."""
    watched.write(3, 10)
    watched.compact()
    watched.look()
    with window_store(watched.settings.lake, MODEL).locked(), pytest.raises(StoreConflict):
        expire(watched, 10)
    with pytest.raises(SettingsInvalid, match=r"audit\.keep"):
        expire(watched, 10, keep=None)

    assert () == expire(watched, 2).days
    assert MonitorSpec() == watched.spec
