"""What a request asks to be scored, and what came of it; knows no wire format and no HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from twinscore.contract.verdict import Fault
    from twinscore.online.answer import Prediction

__all__ = ["NOT_REQUESTED", "Asked", "Outcome", "RowsRefusedError", "Share"]

NOT_REQUESTED = "not_requested"
"""Why a row has no explanation when nobody asked for one."""


class RowsRefusedError(Exception):
    """Rows that may not be scored; stays inside the gateway, which answers 422."""

    def __init__(self, faults: Sequence[Fault], n_faults: int, n_rows: int) -> None:
        super().__init__(f"{n_faults} faults")
        self.faults = faults
        self.n_faults = n_faults
        self.n_rows = n_rows


@dataclass(slots=True)
class Asked:
    """Rows of one request, decoded by a wire format and not yet checked.

    Args:
        rows: typed rows in contract order, as `RowDecoder` makes them; a row with a fault is not to be used.
        faults: what the decoder found.
        at: JSON pointer of the rows; empty when the body is itself the one row.
        table: a conformed table instead of rows, (n_rows, contract.columns); `rows` is then empty.
        partial: score the good rows and answer the others with their faults.
        extra: what the wire format itself needs to write the answer.
        groups: of the rows' entities, one per row, while arms are assigned by entity; None otherwise.
    """

    rows: Sequence[Mapping[str, Any]]
    faults: list[Fault] = field(default_factory=list)
    at: str = ""
    table: pa.Table | None = None
    partial: bool = False
    extra: Any = None
    groups: Sequence[int] | None = None

    @property
    def n_rows(self) -> int:
        """Rows of the request."""
        return len(self.rows) if self.table is None else int(self.table.num_rows)


class Share(NamedTuple):
    """Rows of a request that one arm answered."""

    positions: Sequence[int]
    arm: str
    assigned: str
    """Who should have answered; another than `arm` when it failed."""
    reason: str = ""
    """Why the two differ."""


@dataclass(slots=True)
class Outcome:
    """What became of the rows of one request: predictions, or a scored table when there are many.

    Args:
        predictions: one per row, in order; a refused row carries its errors. None when `scored` is given.
        table: the rows that were scored as a table, with `scored`: (n_rows, contract.columns).
        scored: outputs of the accepted rows, (n_accepted, SCORE_SCHEMA).
        accepted: which rows of `table` were accepted, (n_rows,).
        faults: critical faults of refused rows; only in a partial answer.
        no_explanation: why no row of `scored` is explained.
        arm: which arm answered; `mixed` when rows went to different ones.
        shares: who answered which rows, where a challenger should have answered some.
        degraded: whether the cheaper way answered at least one row.
    """

    predictions: list[Prediction] | None
    table: pa.Table | None = None
    scored: pa.Table | None = None
    accepted: npt.NDArray[np.bool_] | None = None
    faults: Sequence[Fault] = ()
    no_explanation: str = NOT_REQUESTED
    arm: str = "live"
    shares: Sequence[Share] = ()
    degraded: bool = False
