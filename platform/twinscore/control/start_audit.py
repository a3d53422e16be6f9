"""Starts an audit by people: draws cases of the groups in question from the audit log, and keeps them."""

from __future__ import annotations

import hashlib
import random
from datetime import datetime
from typing import TYPE_CHECKING, Any

from twinscore.audit.cases import CaseDraw, chosen_rows, features_of, strata_of
from twinscore.audit.operate import contracts_in, open_log
from twinscore.audit.record import OUTPUTS
from twinscore.audit.window import Window, pieces_of, read_piece
from twinscore.control.outcome import Outcome, options_of
from twinscore.errors import SettingsInvalid, StoreUnavailable
from twinscore.monitoring.metric import METRICS
from twinscore.ports.case_store import AuditCase, HumanAudit
from twinscore.wiring import bundle_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from twinscore.audit.cases import Group
    from twinscore.audit.window import Piece
    from twinscore.monitoring.order import Order
    from twinscore.ports.rollout_store import ControlStore
    from twinscore.settings import Settings

__all__ = ["groups_of", "start_audit"]

_CASES = 50
_MOST_ROWS = 2_000_000
"""Rows of a window that are looked at; of a larger one, those of so many pieces as come to this, drawn at random."""
_ROLES = ("live", "canary", "challenger")


def start_audit(settings: Settings, store: ControlStore, order: Order, now: datetime) -> Outcome:
    """Start the audit of an incident once; when the incident is over, note that.

    Raises:
        SettingsInvalid: there is nothing to draw from: figures of batch runs, a group that the log does not have.
        StoreUnavailable: the log cannot be read now, or has no such row yet.
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
    if details.get("path") == "batch":
        message = "Cases are drawn from the audit log of the endpoints; of batch runs the report lists the rows."
        raise SettingsInvalid(message, order=order.id)
    window, groups = _window(details, now), groups_of(details)
    seed = int(hashlib.sha256(order.incident.encode()).hexdigest()[:15], 16)
    draw = CaseDraw(cases=int(given.get("cases", _CASES)), seed=seed)
    read = _show(settings, order, window, groups, draw)
    drawn = draw.drawn()
    if not drawn:
        message = (
            f"The audit log of {order.model} has no answered row of {_named(groups)} in the window {_span(window)}."
        )
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


def _show(settings: Settings, order: Order, window: Window, groups: list[Group], draw: CaseDraw) -> dict[str, Any]:
    """Show the rows of the window to the draw; return how many were read, and what could not be."""
    log = open_log(settings.lake, order.model)
    contract_of = contracts_in(bundle_store(settings).path)
    details = order.details
    role = str(details.get("role") or "")
    damaged: list[str] = []
    read = 0
    pieces = _shuffled(log, draw.seed)
    columns = sorted({column for column, _ in groups})
    seen: set[str] = set()
    for place, piece in enumerate(pieces):
        tables = read_piece(
            log, piece, contract_of, window=window, roles=[role] if role else _ROLES,
            on_damage=lambda found: damaged.append(found.message),
        )  # fmt: skip
        for table in tables:
            seen |= set(table.column_names)
            rows = chosen_rows(table, groups, str(details.get("segment") or ""), str(details.get("version") or ""))
            draw.add(rows, strata_of(rows, columns))
            read += table.num_rows
        if read >= _MOST_ROWS:
            return {"rows_read": read, "pieces": [place + 1, len(pieces)], "damaged": len(damaged)}
    hidden = [column for column in columns if seen and f"feature_{column}" not in seen]
    if hidden:
        message = f"The audit log of {order.model} does not keep {', '.join(hidden)}, so no group can be drawn from it."
        raise SettingsInvalid(message, order=order.id, columns=hidden)
    return {"rows_read": read, "pieces": [len(pieces), len(pieces)], "damaged": len(damaged)}


def _shuffled(log: Path, seed: int) -> list[Piece]:
    pieces = pieces_of(log)
    random.Random(seed).shuffle(pieces)
    return pieces


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
