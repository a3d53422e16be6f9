"""What one replica of a gateway has counted of every version that it asks; one book per process, read whole.

A counter lives as long as the process, also when its version is asked no more, so whoever looks every few seconds
misses nothing. Scores are counted in bins whose edges are those of the live version and of the one before together:
so they can be brought to either version's bins, before and after a promotion.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from twinscore.online.asked import RowsRefusedError
from twinscore.online.endpoint import row_of
from twinscore.online.evidence_arm import ArmBook, PairBook
from twinscore.online.footprint import Footprint

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle
    from twinscore.online.asked import Asked, Outcome
    from twinscore.online.endpoint import Endpoint
    from twinscore.rollout.evidence import Role

__all__ = ["EvidenceBook", "Known"]

_MOST_ARMS = 32
"""Counters kept of versions that are asked no more; the oldest go first."""
_MOST_PAIRS = 8
_Key = tuple[str, str, tuple[float, ...]]


class Known(Protocol):
    """A version whose scores have bins: an endpoint, or what else has a bundle."""

    @property
    def version(self) -> str:
        """Its number in the registry."""
        ...

    @property
    def bundle(self) -> Bundle:
        """What has its reference profile."""
        ...


class EvidenceBook:
    """The counters of one process."""

    def __init__(self) -> None:
        self._incarnation = uuid4().hex
        self._born_ns = time.monotonic_ns()
        self._lock = threading.Lock()
        self._edges: dict[str, tuple[float, ...]] = {}
        self._arms: dict[_Key, tuple[int, ArmBook]] = {}
        self._pairs: dict[str, tuple[int, PairBook]] = {}
        self._made = 0
        self._live: tuple[Endpoint, ArmBook] | None = None
        self._footprint = Footprint()
        self._followed = ""
        """The live version whose memory is followed."""

    def know(self, versions: Iterable[Known]) -> None:
        """Take the edges of scores from these versions from now on: the live one, and the one before."""
        with self._lock:
            self._edges = {one.version: _edges_of(one) for one in versions}
            self._live = None

    def score(self, endpoint: Endpoint, asked: Asked) -> Outcome:
        """Score rows with the live version and count what came of it; raises what scoring raises.

        Rows that could not even be read count for nobody: no challenger would have been asked.
        """
        live = self._live
        if live is None or live[0] is not endpoint:
            live = self._turn(endpoint)
        started_ns = time.monotonic_ns()
        try:
            outcome = endpoint.score(asked)
        except RowsRefusedError as error:
            if not asked.faults:
                live[1].refused(asked.n_rows, _refused_rows(error, asked.at))
            raise
        except Exception:
            live[1].failed("error", asked.n_rows)
            raise
        if not asked.faults:
            live[1].answered(outcome, time.monotonic_ns() - started_ns, asked.groups)
        return outcome

    def arm(self, version: str, role: Role) -> ArmBook:
        """Return the counter of a version in a role, made when it is first asked for."""
        with self._lock:
            return self._arm(version, role)

    def pair(self, version: str) -> PairBook:
        """Return the counter of a shadow beside the live version, made anew for each mirror."""
        with self._lock:
            found = PairBook(version)
            self._pairs.pop(version, None)
            self._pairs[version] = self._number(), found
            while len(self._pairs) > _MOST_PAIRS:
                self._pairs.pop(next(iter(self._pairs)))
            return found

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values, with what tells this process from the one before."""
        with self._lock:
            arms, pairs = list(self._arms.values()), list(self._pairs.values())
            edges = {version: list(edges) for version, edges in self._edges.items()}
            if self._live is not None:
                self._live[1].takes(*self._footprint.told())
        return {
            "incarnation": self._incarnation,
            "age_s": (time.monotonic_ns() - self._born_ns) / 1e9,
            "at": datetime.now(UTC).isoformat(),
            "edges": edges,
            "arms": [{"counter": number, "evidence": arm.read().to_json()} for number, arm in arms],
            "pairs": [{"counter": number, "evidence": pair.read().to_json()} for number, pair in pairs],
        }

    def _turn(self, endpoint: Endpoint) -> tuple[Endpoint, ArmBook]:
        with self._lock:
            if endpoint.version not in self._edges:
                self._edges[endpoint.version] = _edges_of(endpoint)
            if self._followed != endpoint.version:
                self._followed = endpoint.version
                self._footprint.begin_again()
            self._live = endpoint, self._arm(endpoint.version, "live")
            return self._live

    def _arm(self, version: str, role: Role) -> ArmBook:
        edges = tuple(sorted({edge for known in self._edges.values() for edge in known}))
        key = (version, role, edges)
        known = self._arms.pop(key) if key in self._arms else (self._number(), ArmBook(version, role, edges))
        self._arms[key] = known  # the newest is the last
        while len(self._arms) > _MOST_ARMS:
            self._arms.pop(next(iter(self._arms)))
        return known[1]

    def _number(self) -> int:
        self._made += 1
        return self._made


def _edges_of(version: Known) -> tuple[float, ...]:
    return tuple(float(edge) for edge in version.bundle.profile.get("score", {}).get("edges", ()))


def _refused_rows(error: RowsRefusedError, at: str) -> int:
    """Return how many rows were refused; of a long list of faults only the beginning is known, so it is scaled."""
    known = len({row_of(fault.path, at) for fault in error.faults})
    return min(error.n_rows, round(known * error.n_faults / max(1, len(error.faults))))
