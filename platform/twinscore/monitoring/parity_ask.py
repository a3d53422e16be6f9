"""How the endpoint of a model is asked so that its answers can be compared; knows no HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from twinscore.monitoring.parity_compare import Side
from twinscore.scoring.table import SCORE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Asked", "Live", "LiveEndpoint", "side_of"]

State = Literal["scored", "refused", "cached", "other version", "not asked"]


class Live(NamedTuple):
    """What an endpoint serves now."""

    version: str
    digest: str
    """Of the bundle."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The answer to one row."""

    state: State
    """`cached`: answered from a batch run; `other version`: a challenger answered, or the live version changed;
    `not asked`: the endpoint was busy, and checks give way."""
    cells: Mapping[str, Any] = field(default_factory=dict)
    """Columns of SCORE_SCHEMA, of a scored row."""
    rule: str = ""
    """First rule that a refused row broke."""
    seen: Mapping[str, Any] = field(default_factory=dict)
    """Features as the model saw them, where they were asked for and the endpoint explains."""


class LiveEndpoint(Protocol):
    """The endpoint of one model."""

    def live(self) -> Live:
        """Return what is served.

        Raises:
            ModelNotReady, PredictFailed, Unauthenticated, Forbidden: nobody can say.
        """
        ...

    def ask(self, rows: Sequence[Mapping[str, Any]], live: Live, *, explain: bool = False) -> list[Asked]:
        """Return an answer to each row, in order; one that cannot be had is `not asked`.

        Args:
            rows: JSON values by column.
            live: what must answer.
            explain: ask for the features as the model saw them, too.
        """
        ...


def side_of(answers: Sequence[Asked]) -> Side:
    """Return answers that are scored or refused as one side of a comparison; no value is rounded on the way."""
    columns = [pa.array([one.cells.get(item.name) for one in answers], item.type) for item in SCORE_SCHEMA]
    refused = np.array([one.state == "refused" for one in answers], bool)
    return Side(pa.table(columns, schema=SCORE_SCHEMA), refused)
