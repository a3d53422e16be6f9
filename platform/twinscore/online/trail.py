"""What the audit log is told of an answered request: outcomes to records; writes nothing.

One trail belongs to one endpoint, because the order of cells and what the contract marks as sensitive are its own.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinscore.audit.masking import Masker
from twinscore.audit.record import AuditRecord, Role, TablePacker, encode_record
from twinscore.online.asked import Asked, Outcome
from twinscore.online.recorded_outputs import masked_outputs, output_cells
from twinscore.scoring.table import SCORE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twinscore.contract.verdict import Fault
    from twinscore.online.answer import Prediction, Refusal
    from twinscore.online.asked import Share
    from twinscore.online.call import Call
    from twinscore.online.degrading import Part
    from twinscore.online.endpoint import Endpoint

__all__ = ["Trail", "entity_text"]

_MOST_FAULTS = 20
"""Faults kept of one request; the answer listed more."""


class Trail:
    """Makes the records of one endpoint's answers.

    Args:
        endpoint: the version.
        salt: secret of the keyed hashes of sensitive columns.
        role: what the version is to its callers.
    """

    def __init__(self, endpoint: Endpoint, salt: bytes, role: Role = "live") -> None:
        contract = endpoint.bundle.contract
        self._endpoint = endpoint
        self._role: Role = role
        self._masker = Masker(contract, salt)
        self._row: Callable[[list[Any]], list[Any]] = _as_it_is if self._masker.idle else self._masker.row
        self._outputs = output_cells if self._masker.idle else masked_outputs(endpoint.bundle.spec, self._masker)
        self._pack = TablePacker().pack
        self._key = tuple(contract.key)
        self._new = partial(
            AuditRecord,
            model=endpoint.model,
            version=endpoint.version,
            bundle_digest=endpoint.bundle.digest,
            contract_digest=endpoint.bundle.contract_digest,
            arm="live",
            assigned="live",
        )

    def answered(
        self, call: Call, operation: str, caller: str, asked: Asked, outcome: Outcome, status: int, **more: Any
    ) -> bytes:
        """Return the record of rows that were scored.

        Args:
            more: further fields of the record, such as `arm`, `assigned`, `reason`, `source`.
        """
        if outcome.table is not None:
            return self._record(call, operation, caller, status, table=self._table(outcome), **more)
        return self._record(
            call,
            operation,
            caller,
            status,
            entity=self._entity(asked),
            rows=[self._row(list(row.values())) for row in asked.rows],
            outputs=[self._outputs(prediction) for prediction in outcome.predictions or ()],
            faults=_faults(outcome.faults, asked.at),
            **_origins(outcome.predictions or ()),
            **more,
        )

    def shared(
        self, call: Call, operation: str, caller: str, asked: Asked, outcome: Outcome, share: Share, status: int,
        **more: Any,
    ) -> bytes:  # fmt: skip
        """Return the record of the rows of a request that one arm answered; see `answered`."""
        assert outcome.predictions is not None
        places = list(share.positions)
        mine = Asked([asked.rows[place] for place in places], at=asked.at)
        answers = Outcome([outcome.predictions[place] for place in places])
        more["places"] = places if len(places) < len(asked.rows) else []
        return self.answered(call, operation, caller, mine, answers, status, **more)

    def by_share(
        self, call: Call, operation: str, caller: str, asked: Asked, outcome: Outcome, status: int,
        facts: Callable[[Share], dict[str, Any]],
    ) -> list[bytes]:  # fmt: skip
        """Return a record for each arm that answered rows, so that each can be replayed with its own version.

        Args:
            facts: what a record says of who answered the rows of a share.
        """
        if not outcome.shares:  # the live version answered, or refused, all of it after all
            return [self.answered(call, operation, caller, asked, outcome, status)]
        return [
            self.shared(call, operation, caller, asked, outcome, share, status, **facts(share))
            for share in outcome.shares
        ]

    def part(self, part: Part, call: Call, operation: str, caller: str, status: int, whole: bool) -> bytes:
        """Return the record of rows of a request of which the cheaper way had a part; `whole` when they are all."""
        more: dict[str, Any] = {"places": [] if whole else list(part.positions)}
        if part.degraded:
            more |= {"arm": part.outcome.arm, "reason": "load", "degraded": True}
        return self.answered(call, operation, caller, part.asked, part.outcome, status, **more)

    def refused(self, call: Call, operation: str, caller: str, asked: Asked | None, refusal: Refusal) -> bytes:
        """Return the record of a request that got no scores; `asked` is None when its body could not be read."""
        rows = {} if asked is None else self._unscored(asked)
        faults = _faults(refusal.faults, "" if asked is None else asked.at)
        return self._record(call, operation, caller, refusal.status, code=refusal.code, faults=faults, **rows)

    def _unscored(self, asked: Asked) -> dict[str, Any]:
        """Return the rows of a request, and that none has a score, in the form that an answer's record has them."""
        if asked.table is not None:
            nothing = [pa.nulls(asked.n_rows, field.type) for field in SCORE_SCHEMA]
            scored = pa.table(nothing, schema=SCORE_SCHEMA)
            return {"table": self._pack(self._masker.table(asked.table), scored)}
        rows = [self._row(list(row.values())) for row in asked.rows]
        return {"rows": rows, "outputs": [None] * len(rows)}

    def _record(self, call: Call, operation: str, caller: str, status: int, **fields: Any) -> bytes:
        took_us = (time.monotonic_ns() - call.received_ns) // 1000
        role = fields.pop("role", self._role)
        at_us = time.time_ns() // 1000 - took_us
        return encode_record(
            self._new(
                call.request_id, role, at_us, call.received_ns, took_us, status, caller=caller, path=operation, **fields
            )
        )

    def _entity(self, asked: Asked) -> str:
        return self._masker.entity(entity_text(asked.rows[0], self._key)) if len(asked.rows) == 1 else ""

    def _table(self, outcome: Outcome) -> bytes:
        """Return the rows of an outcome beside their outputs; a refused row has null ones."""
        table, scored = outcome.table, outcome.scored
        assert table is not None
        assert scored is not None
        assert outcome.accepted is not None
        if scored.num_rows != table.num_rows:
            places = outcome.accepted.cumsum() - 1
            scored = scored.take(pa.array(places, mask=~outcome.accepted))
        if not scored.schema.equals(SCORE_SCHEMA):
            scored = scored.select(SCORE_SCHEMA.names)
        return self._pack(self._masker.table(table), scored)


def _as_it_is(cells: list[Any]) -> list[Any]:
    return cells


def entity_text(row: Mapping[str, Any], key: Sequence[str]) -> str:
    """Return what a record says of the entity of a row: the values of its key.

    >>> entity_text({"customer": 7, "order": "b"}, ("customer", "order"))
    '7|b'
    """
    return str(row[key[0]]) if len(key) == 1 else "|".join([str(row[name]) for name in key])


def _origins(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return where the outputs of a request come from, as far as they come from a batch run."""
    if "cache" not in [one.source for one in predictions]:
        return {}
    cached = [(one.run_id, one.age_s) if one.source == "cache" else None for one in predictions]
    if len(cached) > 1:
        return {"cached": cached}
    run_id, age_s = cached[0] or ("", None)
    return {"source": "cache", "run_id": run_id, "age_s": age_s}


def _faults(faults: Sequence[Fault], at: str) -> list[tuple[int | None, str, str | None]]:
    return [(_place(fault.path, at), fault.rule, fault.column) for fault in faults[:_MOST_FAULTS]]


def _place(path: str, at: str) -> int | None:
    """Return the position of the row in which a fault stands, by its JSON pointer.

    >>> _place("/instances/3/age", "/instances"), _place("/age", "")
    (3, 0)
    """
    if not at:
        return 0
    text = path[len(at) + 1 :].partition("/")[0] if path.startswith(f"{at}/") else ""
    return int(text) if text.isdigit() else None
