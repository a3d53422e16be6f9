"""What a replica opens to the world: its audit stream, its listener and its entry in the roster; knows no Ray.

The order matters both ways. Opening: the log, the listener, then the roster, so that nobody is sent to a port that
does not answer. Closing: the roster says draining, edges go elsewhere, what was begun is answered, then the log ends.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from twinscore.access.gate import Access, require_access
from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_key, audit_salt
from twinscore.audit.places import STREAMS, model_folder
from twinscore.audit.writer import SegmentWriter
from twinscore.errors import AuditUnavailable, StoreError
from twinscore.online.listener import HttpListener, ListenerLimits
from twinscore.online.load import Load, LoadState, state_of
from twinscore.online.spec import AuditPolicy
from twinscore.ports.listener_roster import RENEW_S, Listener

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.audit.writer import Piece
    from twinscore.online.gateway import Gateway
    from twinscore.online.grpc_listener import GrpcListener
    from twinscore.online.metrics import Metrics
    from twinscore.ports.listener_roster import ListenerRoster
    from twinscore.settings import Settings

__all__ = ["Front", "open_stream"]

_MOST_STREAMS = 256
_STREAM_WAIT_S = 0.1
"""For a stream that somebody holds; there are others."""
_EDGES_NOTICE_S = 1.0
"""Time for edges to read that a listener is draining."""
_log = structlog.get_logger("twinscore.online")


class Front:
    """One replica's way in; opened by its constructor.

    Args:
        gateway: answers; is given access, salt and the log's state.
        settings: home and lake.
        roster: where edges look for listeners.
        replica: a name of this replica's own.
        host: address that edges reach this machine by.
        audit: whether and how answers are recorded.
        limits: of the listener.
        grpc_port: shared by the replicas of this machine, where gRPC is spoken without an edge, too; None shares none.

    Raises:
        AuditUnavailable: the log cannot be opened.
        SettingsInvalid: the address is not a loopback one, and no key or issuer guards it; or the gRPC port is taken.
    """

    def __init__(
        self,
        gateway: Gateway,
        settings: Settings,
        roster: ListenerRoster,
        *,
        replica: str,
        host: str = "127.0.0.1",
        audit: AuditPolicy | None = None,
        limits: ListenerLimits | None = None,
        grpc_port: int | None = None,
    ) -> None:
        self._audit = audit or AuditPolicy()
        self._gateway = gateway
        self._roster = roster
        self._replica = replica
        self._load = Load()
        self.unrecorded = 0
        """Answers that were given without a record, where the policy allows it."""
        gateway.access = Access.load(settings.home)
        require_access(settings.home, host)
        self.writer: SegmentWriter | None = None
        if self._audit.enabled:
            self.writer = open_stream(settings, gateway.model, self._audit)
            gateway.record_with(load_secret(audit_salt(settings.home)), self._why_not)
        self.listener = HttpListener(
            gateway,
            host=host,
            commit=None if self.writer is None else self.commit,
            log=None if self.writer is None else self,
            served_by=replica,
            limits=limits,
            load=self._load,
        )
        self.grpc: GrpcListener | None = None
        self._grpc_port: int | None = None
        own = [] if settings.grpc_port is None else [0]
        if own or grpc_port is not None:
            from twinscore.online.grpc_listener import GrpcListener

            self.grpc = GrpcListener(
                gateway,
                host=host,
                ports=own if grpc_port is None else [*own, grpc_port],
                commit=None if self.writer is None else self.commit,
                max_waiting=(limits or ListenerLimits()).max_waiting,
            )
            self._grpc_port = self.grpc.ports[0] if own else None
        self._show(gateway.metrics)
        self._state: str = "ready"
        self._closing = threading.Event()
        self._announce()
        self._thread = threading.Thread(target=self._tend, name="front", daemon=True)
        self._thread.start()

    def commit(self, payloads: Sequence[bytes]) -> None:
        """Make records durable; the only way to the log for every listener of this replica.

        Raises:
            AuditUnavailable: they are not durable, and the policy is to refuse.
        """
        assert self.writer is not None
        began_ns = time.monotonic_ns()
        try:
            self.writer.commit(payloads)
            self._load.committed(time.monotonic_ns() - began_ns)
        except AuditUnavailable:
            if self._audit.on_failure == "refuse":
                raise
            self.unrecorded += len(payloads)

    def begin(self, payloads: Sequence[bytes]) -> Piece | None:
        """Return what the listener's loop may append by itself; see `SegmentWriter.begin`."""
        assert self.writer is not None
        return self.writer.begin(payloads)

    def end(self, piece: Piece, error: OSError | None) -> bool:
        """Take what the loop appended; raises as `commit`, and see `SegmentWriter.end`."""
        assert self.writer is not None
        try:
            done = self.writer.end(piece, error)
            self._load.committed(int((time.monotonic() - piece.begun_s) * 1e9))
        except AuditUnavailable:
            if self._audit.on_failure == "refuse":
                raise
            self.unrecorded += piece.records
            return True
        return done

    def load_state(self, last: int | None = None) -> LoadState:
        """Return the last seconds of everything that listens here, all of the window or fewer."""
        return state_of([self._load] if self.grpc is None else [self._load, self.grpc.load], last)

    def close(self, timeout_s: float = 10.0) -> None:
        """Leave the roster, answer what was begun, and end listener and log."""
        if self._closing.is_set():
            return
        self._state = "draining"
        self._announce()
        time.sleep(_EDGES_NOTICE_S)
        if self.grpc is not None:
            self.grpc.close(timeout_s)
        self.listener.drain(timeout_s)
        self._closing.set()
        self._thread.join(RENEW_S * 2)
        with suppress(StoreError):
            self._roster.withdraw(self._gateway.model, self._replica)
        self.listener.close()
        if self.writer is not None:
            self.writer.close()

    def _show(self, metrics: Metrics) -> None:
        """Let whoever scrapes see the log and the listener beside the answers."""
        listener, writer = self.listener, self.writer
        metrics.gauge("waiting", "Requests that are not answered yet.", lambda: listener.waiting)
        metrics.gauge("loop_lag_seconds", "How late the event loop was last.", lambda: listener.loop_lag_s)
        metrics.count("audit_unrecorded", "Answers without a record, which the policy allows.", lambda: self.unrecorded)
        if writer is not None:
            metrics.count("audit_durable", "Records that this replica has put on the disk.", lambda: writer.records)
            metrics.gauge("audit_ready", "1 while answers can be recorded.", lambda: writer.ready)

    def _why_not(self) -> str:
        """Return why no request may be taken now, or nothing."""
        assert self.writer is not None
        return "" if self.writer.ready or self._audit.on_failure == "answer" else self.writer.reason

    def _tend(self) -> None:
        """Renew the entry and look after the log, once a second."""
        while not self._closing.wait(RENEW_S):
            self._announce()
            if self.writer is not None:
                self.writer.recover()

    def _announce(self) -> None:
        listener = Listener(
            self._gateway.model,
            self._replica,
            self.listener.host,
            self.listener.port,
            self.listener.room,
            "draining" if self._state == "draining" else "ready",
            datetime.now(UTC),
            self._grpc_port,
        )
        try:
            self._roster.announce(listener)
        except StoreError as error:
            _log.warning("roster_not_written", model=self._gateway.model, error=error.message)


def open_stream(
    settings: Settings, model: str, policy: AuditPolicy, *, label: str = "", reserve_bytes: int | None = None,
    lock_wait_s: float = 5.0,
) -> SegmentWriter:  # fmt: skip
    """Return a writer of the first stream of this machine that nobody holds.

    Streams are taken up again by later replicas, so a killed one leaves nothing that is not sealed soon.

    Args:
        label: part of the streams' names; streams of another label are other streams.
        reserve_bytes: instead of the policy's.
        lock_wait_s: how long to wait for each stream that is held.

    Raises:
        AuditUnavailable: none can be opened.
    """
    folder = model_folder(settings.lake, model) / STREAMS
    key = load_secret(audit_key(settings.home))
    machine = "".join([sign if sign.isalnum() or sign in "-." else "-" for sign in socket.gethostname()]) or "machine"
    for number in range(_MOST_STREAMS):
        try:
            return SegmentWriter(
                folder,
                stream=f"{machine}{label}-{number}",
                key=key,
                reserve_bytes=policy.reserve_mb * 1024 * 1024 if reserve_bytes is None else reserve_bytes,
                segment_age_s=policy.segment_age_s,
                lock_wait_s=lock_wait_s,
            )
        except AuditUnavailable as error:
            if not isinstance(error.__cause__, BlockingIOError):
                raise
    message = f"All {_MOST_STREAMS} audit streams of {model} on {machine} are held; process {os.getpid()} found none."
    raise AuditUnavailable(message, stream=machine)
