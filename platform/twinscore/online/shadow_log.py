"""Records of shadows' answers on their way to the disk: a bounded queue, one thread, a stream of its own.

No answer waits for them: they are written after the answer has left, synced apart from the answers' own records, and
left out and counted when the queue is full, when the disk fails, or when it has less to spare than records of answers
may still need.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from twinscore.audit.disk import Disk
from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_salt
from twinscore.audit.places import model_folder
from twinscore.errors import AuditUnavailable
from twinscore.online.front import open_stream
from twinscore.online.shadow_trail import ShadowTrail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twinscore.audit.writer import SegmentWriter
    from twinscore.contract.model import Contract
    from twinscore.online.shadow import Compared
    from twinscore.online.spec import AuditPolicy
    from twinscore.settings import Settings

__all__ = ["ShadowLog", "ShadowLogLimits"]

_MIB = 1 << 20
_RESERVE_BYTES = 4096
"""The reserve is for answers; a shadow's stream holds next to nothing back."""
_log = structlog.get_logger("twinscore.online")


@dataclass(frozen=True, slots=True)
class ShadowLogLimits:
    """Bounds of what waits, and how often it is written."""

    max_bytes: int = 16 * _MIB
    """Bytes that wait; records beyond are left out."""
    gather_s: float = 1.0
    """Between two syncs: a shadow's records may come late, and each sync slows the others of its disk."""


class _Waiting(NamedTuple):
    payloads: list[bytes]
    n_rows: int
    n_bytes: int


class ShadowLog:
    """Writes what a mirror compared; nothing is opened before the first row comes.

    Args:
        settings: home and lake.
        model: whose log it is.
        policy: whether shadows are recorded, and the space that they must leave.
        contract_of: gives a version's contract by the digest of its bundle.
        limits: bounds.
        disk: asked for room.
    """

    def __init__(
        self,
        settings: Settings,
        model: str,
        policy: AuditPolicy,
        *,
        contract_of: Callable[[str], Contract],
        limits: ShadowLogLimits | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._settings = settings
        self._model = model
        self._policy = policy
        self._limits = limits or ShadowLogLimits()
        self._disk = disk or Disk()
        self._folder = model_folder(settings.lake, model)
        self._contract_of = contract_of
        self._trails: dict[tuple[str, str], ShadowTrail] = {}
        self._queue: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._recorded = 0
        self._left_out: dict[str, int] = {"full": 0, "no_room": 0, "failed": 0}
        self._last_error = ""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._writer: SegmentWriter | None = None
        self._thread: threading.Thread | None = None

    def keep(self, compared: Sequence[Compared]) -> None:
        """Queue the records of the rows of one call, or leave them out when the queue is full; in a mirror's thread."""
        try:
            payloads = [record for one in _by_live(compared) for record in self._trail(one[0]).records(one)]
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a record, it is counted and nothing else ends
            self._leave_out("failed", len(compared), error)
            return
        n_bytes = sum(len(payload) for payload in payloads)
        with self._lock:
            if self._closed.is_set() or self._waiting_bytes + n_bytes > self._limits.max_bytes:
                self._left_out["full"] += len(compared)
                return
            self._waiting_bytes += n_bytes
            self._queue.append(_Waiting(payloads, len(compared), n_bytes))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="shadow-log", daemon=True)
                self._thread.start()

    def counts(self) -> dict[str, Any]:
        """Return rows that were recorded, that were left out by reason, and bytes that wait."""
        with self._lock:
            return {
                "recorded": self._recorded,
                "left_out": dict(self._left_out),
                "waiting_bytes": self._waiting_bytes,
            }

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits and end the stream."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        going = True
        while going:
            going = not self._closed.wait(self._limits.gather_s)
            batch = self._take()
            if batch:
                self._write(batch)
            elif self._writer is not None:
                self._writer.recover()  # seals what is old, so that compaction sees it
        if self._writer is not None:
            self._writer.close()

    def _take(self) -> list[_Waiting]:
        with self._lock:
            batch = list(self._queue)
            self._queue.clear()
        return batch

    def _write(self, batch: Sequence[_Waiting]) -> None:
        reason = ""
        try:
            if self._disk.free(self._folder) < self._policy.shadow_free_mb * _MIB:
                reason = "no_room"
            else:
                self._commit([payload for waiting in batch for payload in waiting.payloads])
        except (AuditUnavailable, OSError) as error:
            reason = "failed"
            self._leave_out(reason, 0, error)
        n_rows = sum(waiting.n_rows for waiting in batch)
        with self._lock:
            self._waiting_bytes -= sum(waiting.n_bytes for waiting in batch)
            if reason:
                self._left_out[reason] += n_rows
            else:
                self._recorded += n_rows

    def _leave_out(self, reason: str, n_rows: int, error: Exception) -> None:
        """Count rows, and log an error that was not logged just before."""
        with self._lock:
            self._left_out[reason] += n_rows
        if str(error) != self._last_error:
            self._last_error = str(error)
            _log.warning("shadow_not_recorded", model=self._model, error=str(error)[:200])

    def _commit(self, payloads: Sequence[bytes]) -> None:
        if self._writer is None:
            self._writer = open_stream(
                self._settings,
                self._model,
                self._policy,
                label="-shadow",
                reserve_bytes=_RESERVE_BYTES,
                lock_wait_s=0.0,
            )
        self._writer.recover()
        self._writer.commit(payloads)

    def _trail(self, one: Compared) -> ShadowTrail:
        found = self._trails.get((one.digest, one.live_digest))
        if found is None:
            salt = load_secret(audit_salt(self._settings.home))
            contracts = self._contract_of(one.digest), self._contract_of(one.live_digest)
            found = ShadowTrail(*contracts, model=self._model, salt=salt)
            self._trails[one.digest, one.live_digest] = found
        return found


def _by_live(compared: Sequence[Compared]) -> list[list[Compared]]:
    """Return the rows by the version that answered them, which changes when another goes live."""
    found: dict[str, list[Compared]] = {}
    for one in compared:
        found.setdefault(one.live_digest, []).append(one)
    return list(found.values())
