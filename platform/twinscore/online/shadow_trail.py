"""What the audit log is told of a shadow's answers: the rows of one call to records, one for each request.

A record pairs with the live version's by request id and row. It stands under the shadow's own contract, so that its
rows can be checked and scored again with it; a column that the live version's contract marks stays out, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.audit.masking import Masker
from twinscore.audit.record import AuditRecord, encode_record
from twinscore.online.recorded_outputs import output_cells
from twinscore.online.trail import entity_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.contract.model import Contract
    from twinscore.online.answer import RowError
    from twinscore.online.shadow import Compared

__all__ = ["ShadowTrail"]

_MOST_FAULTS = 20


class ShadowTrail:
    """Makes the records of one shadow beside one live version.

    Args:
        contract: the shadow's.
        live: the live version's contract.
        model: name of both.
        salt: secret of the keyed hashes of sensitive columns.
    """

    def __init__(self, contract: Contract, live: Contract, *, model: str, salt: bytes) -> None:
        self._names = [column.name for column in contract.columns]
        self._digest = contract.digest
        self._key = live.key
        self._model = model
        self._masker = Masker(contract, salt)
        self._live_masker = Masker(live, salt)
        self._dropped = {column.name for column in live.columns if column.audit == "drop"}
        marked = {column.name for column in live.columns if column.audit != "keep"}
        self.keeps_rows = not any(column.audit == "keep" and column.name in marked for column in contract.columns)
        """Whether the cells are in the records; not when the shadow's contract keeps what the live one's marks."""

    def records(self, compared: Sequence[Compared]) -> list[bytes]:
        """Return a record for each request of the rows of one call."""
        by_request: dict[str, list[Compared]] = {}
        for one in compared:
            by_request.setdefault(one.request_id, []).append(one)
        return [encode_record(self._record(rows)) for rows in by_request.values()]

    def _record(self, rows: Sequence[Compared]) -> AuditRecord:
        first = rows[0]
        places = [one.live.row for one in rows]
        scored = any(not one.shadow.errors for one in rows)
        entity = entity_text(first.row, self._key) if len(rows) == 1 else ""
        return AuditRecord(
            first.request_id,
            "shadow",
            first.call.began_us,
            first.call.began_ns,
            first.call.took_us,
            200 if scored else 422,
            code="" if scored else "contract_broken",
            entity=self._live_masker.entity(entity),
            model=self._model,
            version=first.version,
            bundle_digest=first.digest,
            contract_digest=self._digest,
            arm="shadow",
            assigned="shadow",
            rows=[self._cells(one) for one in rows] if self.keeps_rows else [],
            outputs=[output_cells(one.shadow) for one in rows],
            faults=[fault for one in rows for fault in _faults(one.live.row, one.shadow.errors)][:_MOST_FAULTS],
            places=[] if places == list(range(len(rows))) else places,
            call_rows=first.call.n_rows,
        )

    def _cells(self, one: Compared) -> list[Any]:
        return self._masker.row([None if name in self._dropped else one.row.get(name) for name in self._names])


def _faults(place: int, errors: Sequence[RowError]) -> list[tuple[int | None, str, str | None]]:
    return [(place, error.rule, _column(error.path)) for error in errors]


def _column(path: str) -> str | None:
    """Return the column that a fault's JSON pointer ends in.

    >>> _column("/rows/3/age"), _column("/rows/3")
    ('age', None)
    """
    parts = path.split("/")
    return parts[3].replace("~1", "/").replace("~0", "~") if len(parts) > 3 else None
