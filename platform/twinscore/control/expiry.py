"""Old days of a model's audit log, removed as its deployment file says, as long as nothing else needs them."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from twinscore.audit.expire import Expired, Reason, expire_model
from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_key, open_log
from twinscore.batch.watch_due import unread_pieces
from twinscore.clock import SystemClock
from twinscore.errors import SettingsInvalid
from twinscore.monitoring.quantity import seconds_of
from twinscore.wiring import open_rollout_store, window_store

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from twinscore.audit.window import Piece
    from twinscore.clock import Clock
    from twinscore.online.spec import ServeSpec
    from twinscore.ports.case_store import HumanAudit
    from twinscore.settings import Settings

__all__ = ["expire_log", "needed_by"]


def expire_log(
    settings: Settings, model: str, spec: ServeSpec, *, by: str, dry_run: bool = False, clock: Clock | None = None
) -> Expired:
    """Remove the days of a model's audit log that are older than `audit.keep`, and return what was done.

    Days of a hold, days of which people are asked about cases, and rows that the monitor has not counted yet stay. A
    model that was never watched has no rows to wait for.

    Args:
        by: who removes them; the tombstones say so.
        dry_run: only say what would be done.

    Raises:
        SettingsInvalid: the deployment does not say how long rows are kept.
        ModelNotFound: the model has no audit log.
        StoreConflict: the log is being compacted, or the model is being watched.
        StoreUnavailable: the disk or the database fails.
        AuditDamaged: a tombstone of before cannot be read.
        FileUnreadable, SchemaMismatch: the labels that the monitor needs cannot be read.
    """
    keep = spec.audit.keep
    if keep is None:
        message = f"The deployment of {model} does not say how long audit rows are kept; set `audit.keep`, say to 400d."
        raise SettingsInvalid(message, setting="audit.keep", model=model)
    clock = clock or SystemClock()
    log, key = open_log(settings.lake, model), load_secret(audit_key(settings.home))
    with open_rollout_store(settings) as control:
        reasons = [
            *(Reason(hold.first, hold.last, f"held: {hold.why}") for hold in spec.audit.holds),
            *needed_by(control.cases.audits(model)),
        ]
    with contextlib.ExitStack() as stack:
        unread: list[Piece] = []
        store, now = window_store(settings.lake.resolve(), model), clock.now()
        if store.entries():
            stack.enter_context(store.locked())
            unread = unread_pieces(store, settings.lake.resolve(), model, spec.monitor, now=now)
        return expire_model(
            log, key, keep=timedelta(seconds=seconds_of(keep, "audit.keep")), by=by, why=f"kept for {keep}",
            reasons=reasons, unread=unread, dry_run=dry_run, clock=clock,
        )  # fmt: skip


def needed_by(audits: Iterable[HumanAudit]) -> list[Reason]:
    """Return the days from which the cases of audits that are not over were drawn."""
    found = []
    for audit in audits:
        if audit.over_at is None:
            first, last = audit.facts.get("window") or (None, None)
            found.append(Reason(_day(first), _day(last), f"the audit {audit.id} is not over: {audit.title}"))
    return found


def _day(moment: str | None) -> date | None:
    return None if moment is None else datetime.fromisoformat(moment).astimezone(UTC).date()
