"""States of rollouts in a database: compared before they are set, under a lease, with everything that goes along."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import update

from twinscore.adapters.rollout_tables import COMMANDS, STATES
from twinscore.adapters.sql_leases import check
from twinscore.adapters.sql_ledger import append
from twinscore.adapters.sql_states import StateTable
from twinscore.errors import SettingsInvalid
from twinscore.ports.rollout_store import Stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twinscore.adapters.sql_control import ControlDatabase
    from twinscore.ports.rollout_store import Lease
    from twinscore.rollout.ledger import Draft

__all__ = ["SqlRollouts"]


class SqlRollouts(StateTable):
    """The state documents of one database."""

    def __init__(self, database: ControlDatabase) -> None:
        super().__init__(database, STATES, "")

    def save(
        self,
        model: str,
        document: Mapping[str, Any],
        *,
        revision: int,
        lease: Lease | None,
        drafts: Sequence[Draft] = (),
        done: Mapping[str, str] | None = None,
    ) -> Stored:
        """Keep a state, enter drafts and end commands in one transaction."""
        foreign = sorted({draft.model for draft in drafts} - {model})
        if foreign:
            message = f"A state of {model} cannot be saved with ledger entries of {', '.join(foreign)}."
            raise SettingsInvalid(message, model=model)
        # Not refused: a figure that is not a number must not stop a rollout, and comes back as it was.
        kept = json.dumps(document, sort_keys=True, separators=(",", ":"))
        with self._database.writing() as connection:
            if lease is not None:
                check(connection, lease)
            at = self._database.now(connection)
            self.set(connection, model, revision, kept, at.isoformat())
            append(connection, drafts, at)
            for command, outcome in (done or {}).items():
                connection.execute(
                    update(COMMANDS)
                    .where(COMMANDS.c.id == command, COMMANDS.c.outcome.is_(None))
                    .values(outcome=outcome, done_at=at.isoformat())
                )
        return Stored(revision + 1, json.loads(kept))
