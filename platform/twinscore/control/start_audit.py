"""Starts an audit by people: draws cases of the groups in question from the log or from runs, and keeps them."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Any

from twinscore.audit.cases import CaseDraw, chosen_rows, features_of, strata_of
from twinscore.audit.record import FEATURE, OUTPUTS
from twinscore.audit.window import Window
from twinscore.control.audit_rows import OUTCOME, AuditRows
from twinscore.control.outcome import Outcome, options_of
from twinscore.errors import SettingsInvalid, StoreUnavailable
from twinscore.monitoring.metric import METRICS
from twinscore.monitoring.spec import MonitorSpec
from twinscore.ports.case_store import AuditCase, HumanAudit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.audit.cases import Group
    from twinscore.monitoring.order import Order
    from twinscore.ports.rollout_store import ControlStore
    from twinscore.settings import Settings

__all__ = ["groups_of", "start_audit"]

_CASES = 50
_MOST_ROWS = 2_000_000
"""Rows of a window that are looked at; of a larger one, those of so many pieces as come to this, drawn at random."""


def start_audit(
    settings: Settings, store: ControlStore, order: Order, now: datetime, spec: MonitorSpec | None = None
) -> Outcome:
    """Start the audit of an incident once; when the incident is over, note that.

    Args:
        now: the time.
        spec: what is watched of the model; says where outcomes and runs are.

    Raises:
        SettingsInvalid: there is nothing to draw from: a group that the log or the runs do not have.
        StoreUnavailable: the rows cannot be read now, or there are none yet.
    """
    if order.verb == "close":
        ended = store.cases.finish(order.incident)
        return Outcome(
            result={"audit": None if ended is None else ended.id}, kind="" if ended is None else "audit_over"
        )
    known = store.cases.find(order.incident)
    if known is not None or order.verb == "comment":
        return Outcome(result={"audit": order.incident})
    details, given = order.details, options_of(order)
    window, groups = _window(details, now), groups_of(details)
    seed = int(hashlib.sha256(order.incident.encode()).hexdigest()[:15], 16)
    draw = CaseDraw(cases=int(given.get("cases", _CASES)), seed=seed)
    rows = AuditRows(settings, order, spec or MonitorSpec(), window, seed, now)
    read = _show(rows, groups, draw)
    drawn = draw.drawn()
    if not drawn:
        where = "Runs" if rows.of_runs else "Records"
        why = f" {rows.trouble[0]}" if rows.trouble else ""
        message = f"{where} of {order.model} have no answered row of {_named(groups)} in {_span(window)}.{why}"
        raise StoreUnavailable(message, order=order.id)
    counts = {name: [count, sum(one == name for one, _ in drawn)] for name, count in sorted(draw.counts.items())}
    audit = HumanAudit(
        id=order.incident, incident=order.incident, model=order.model, title=order.title,
        blind=bool(given.get("blind", True)),
        facts={"window": _span(window), "groups": _named(groups), "seed": seed, "strata": counts, **read},
    )  # fmt: skip
    store.cases.start(audit, [_case(stratum, row) for stratum, row in drawn])
    return Outcome(result={"audit": audit.id, "cases": len(drawn), "strata": counts}, kind="audit_started")


def groups_of(details: Mapping[str, Any]) -> list[Group]:
    """Return the groups that an incident is about: values of a column, or a whole column; none for another metric.

    >>> groups_of({"metric": "fpr", "subject": "sex=F", "members": [{"subject": "sex=M"}]})
    [('sex', 'F'), ('sex', 'M')]
    >>> groups_of({"metric": "fpr_gap", "subject": "sex"}), groups_of({"metric": "psi", "subject": "income"})
    ([('sex', None)], [])
    """
    metric = METRICS.get(str(details.get("metric")))
    if metric is None or metric.subject not in ("group", "column"):
        return []
    subjects = [details.get("subject"), *[one.get("subject") for one in details.get("members") or ()]]
    found: list[Group] = []
    for subject in dict.fromkeys([str(one) for one in subjects if one]):
        column, sign, value = subject.partition("=")
        found.append((column, value if sign and metric.subject == "group" else None))
    return found


def _show(rows: AuditRows, groups: list[Group], draw: CaseDraw) -> dict[str, Any]:
    """Show the rows of the window to the draw; return how many were read, and what could not be."""
    details = rows.order.details
    columns = sorted({column for column, _ in groups})
    seen: set[str] = set()
    read = outcomes = 0
    for table in rows.tables():
        seen |= set(table.column_names)
        kept = chosen_rows(table, groups, str(details.get("segment") or ""), str(details.get("version") or ""))
        draw.add(kept, strata_of(kept, columns, OUTCOME))
        read += table.num_rows
        outcomes += kept.num_rows - kept[OUTCOME].null_count if OUTCOME in kept.column_names else 0
        if read >= _MOST_ROWS:
            break
    hidden = [column for column in columns if seen and f"{FEATURE}{column}" not in seen]
    if hidden:
        kept_in = "Runs do" if rows.of_runs else "The audit log does"
        message = f"{kept_in} not keep {', '.join(hidden)} of {rows.order.model}, so no group can be drawn."
        raise SettingsInvalid(message, order=rows.order.id, columns=hidden)
    source = "runs" if rows.of_runs else "pieces"
    return {"rows_read": read, "outcomes": outcomes, source: rows.sources, "damaged": len(rows.trouble)}


def _window(details: Mapping[str, Any], now: datetime) -> Window:
    """Return the time from when it began to be wrong to the end of the newest window of the incident."""
    spans = [one["window"] for one in (details, *(details.get("members") or ())) if one.get("window")]
    moments = [datetime.fromisoformat(text) for span in spans for text in span]
    since = details.get("since")
    starts = [*moments, *([datetime.fromisoformat(since)] if since else [])]
    return Window(min(starts, default=None), max(moments, default=now))


def _case(stratum: str, row: Mapping[str, Any]) -> AuditCase:
    return AuditCase(
        request_id=row["request_id"], row=row["row"], stratum=stratum, version=row["version"],
        features=features_of(row), answer={name: row[name] for name in OUTPUTS if row.get(name) is not None},
    )  # fmt: skip


def _named(groups: list[Group]) -> str:
    return ", ".join([column if value is None else f"{column}={value}" for column, value in groups]) or "all rows"


def _span(window: Window) -> list[str | None]:
    return [None if moment is None else moment.isoformat() for moment in window]
