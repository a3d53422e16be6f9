"""What a look at the figures of one model led to; the decision itself is `monitoring`'s."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.order import Order
    from twinscore.monitoring.spec import MonitorSpec

__all__ = ["Judge", "Judged", "OpenIncident"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIncident:
    """An incident that is not over, as it is shown."""

    id: str
    rule: str
    severity: str
    phase: str
    since: str
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The next state of a model's rules, as JSON values, and what is to be done."""

    document: Mapping[str, Any]
    orders: tuple[Order, ...] = ()
    open: tuple[OpenIncident, ...] = ()


class Judge(Protocol):
    """Takes figures to incidents and orders; pure."""

    def __call__(
        self, model: str, spec: MonitorSpec, document: Mapping[str, Any] | None, windows: Sequence[Figure],
        live: Sequence[Figure], now: datetime,
    ) -> Judged:  # fmt: skip
        """Return what follows.

        Args:
            document: of the look before; None at the first.
            windows: figures of windows that are new, or were made anew.
            live: figures of the last seconds.
        """
        ...
