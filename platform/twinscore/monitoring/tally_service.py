"""How requests were answered: failed, refused, shed, cached, degraded, and how long it took; mergeable counts, pure."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from twinscore.monitoring.durations import Durations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Requests", "ServiceTally"]

_FAILED = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Requests of one version, role and path as arrays of n_requests, and how many rows became what."""

    status: NDArray[np.int64]
    """HTTP status of the answer."""
    shed: NDArray[np.bool_]
    """Refused because all replicas were full."""
    took_us: NDArray[np.int64]
    """From arrival to answer."""
    answered: int = 0
    """Rows with a score."""
    refused: int = 0
    """Rows that the contract refused."""
    cached: int = 0
    """Answered rows that were taken from a batch run."""
    degraded: int = 0
    """Answered rows of the cheaper way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTally:
    """Counts of requests and of their rows."""

    requests: int = 0
    failed: int = 0
    """Answered 5xx, without those that were shed."""
    shed: int = 0
    """Refused because all replicas were full."""
    answered: int = 0
    refused: int = 0
    cached: int = 0
    degraded: int = 0
    latency: Durations = field(default_factory=Durations)
    """Of every request that was not shed."""

    @classmethod
    def of(cls, requests: Requests) -> Self:
        """Count requests."""
        return cls(
            requests=len(requests.status),
            failed=int(np.count_nonzero((requests.status >= _FAILED) & ~requests.shed)),
            shed=int(np.count_nonzero(requests.shed)),
            answered=requests.answered,
            refused=requests.refused,
            cached=requests.cached,
            degraded=requests.degraded,
            latency=Durations.of(requests.took_us[~requests.shed]),
        )

    @property
    def rows(self) -> int:
        """Rows that were scored or refused."""
        return self.answered + self.refused

    def merge(self, other: Self, /) -> Self:
        """Return the tally of the requests of both."""
        added = {name: getattr(self, name) + getattr(other, name) for name in _NUMBERS}
        return type(self)(**added, latency=self.latency.merge(other.latency))

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {**{name: getattr(self, name) for name in _NUMBERS}, "latency": self.latency.to_json()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], /) -> Self:
        """Return what `to_json` was made from."""
        return cls(**{**plain, "latency": Durations.from_json(plain["latency"])})


_NUMBERS = tuple(one.name for one in fields(ServiceTally) if one.name != "latency")
