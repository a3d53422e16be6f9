"""Everything that happens of one shadow beside one replica, in a process of its own: ask, compare, count, record, tell.

    run = ShadowRun(path, job)           # until the writer of the ring closes it

The process is `shadow_process`'s matter. One that is started anew reads on where the one before stopped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import structlog

from twinscore.bundle.files import Bundle, read_bundle
from twinscore.contract.rows import RowDecoder
from twinscore.online.caller import serve_ask
from twinscore.online.evidence_ask import NotedAsk
from twinscore.online.evidence_book import EvidenceBook
from twinscore.online.ring import Ring
from twinscore.online.shadow import MirrorLimits, ShadowMirror
from twinscore.online.shadow_log import ShadowLog, ShadowLogLimits

if TYPE_CHECKING:
    from twinscore.audit.disk import Disk
    from twinscore.contract.model import Contract
    from twinscore.online.caller import Ask
    from twinscore.online.mirrored import Mirrored
    from twinscore.online.shadow import Compared
    from twinscore.online.shadow_process import ShadowJob

__all__ = ["ShadowRun"]

_TELL_S = 0.25
_VERSIONS = 4
"""Live versions whose bundles are held: rows of one before may still be on their way."""
_log = structlog.get_logger("twinscore.online")


class _Live(NamedTuple):
    """A live version, as far as its answers are counted by it."""

    version: str
    bundle: Bundle


class ShadowRun:
    """Reads a ring until it is closed.

    Args:
        path: of the ring.
        job: what to do.
        ask: sends rows to the shadow; None for Serve.
        limits: bounds of the mirror.
        log_limits: bounds of the log.
        disk: asked by the log for room.
    """

    def __init__(
        self,
        path: str,
        job: ShadowJob,
        *,
        ask: Ask | None = None,
        limits: MirrorLimits | None = None,
        log_limits: ShadowLogLimits | None = None,
        disk: Disk | None = None,
    ) -> None:
        bundles = job.settings.lake.resolve() / "bundles"
        self._ring = Ring.open(path)
        self._book = EvidenceBook()
        self._bundle_of = lru_cache(_VERSIONS)(lambda digest: read_bundle(bundles / digest))

        def contract_of(digest: str) -> Contract:
            return self._bundle_of(digest).contract

        self._live: dict[tuple[str, str], _Live] = {}
        """By version and digest: the one that answers, and the one before it."""
        self._log: ShadowLog | None = None
        if job.policy is not None:
            self._log = ShadowLog(
                job.settings, job.model, job.policy, contract_of=contract_of, limits=log_limits, disk=disk
            )
        self._noted = NotedAsk(ask or serve_ask(job.shadow.app), job.shadow, self._book, lambda: self._ring.dropped)
        decoder_of = lru_cache(_VERSIONS)(lambda digest: RowDecoder(contract_of(digest)))
        self._mirror = ShadowMirror(
            job.shadow, self._ring, self._noted, decoder_of=decoder_of, salt=job.salt, entity=job.entity,
            on_message=self._follow, on_compared=self._compared, limits=limits,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._tell_on, name="shadow-tell", daemon=True)
        self._thread.start()

    def _follow(self, message: Mirrored) -> None:
        """Count scores in the bins of the live version that answers, and of the one before."""
        key = message.version, message.digest
        if next(reversed(self._live), None) != key:
            before = [one for one in self._live.items() if one[0] != key][-1:]
            self._live = dict([*before, (key, _Live(message.version, self._bundle_of(message.digest)))])
            self._book.know(self._live.values())

    def _compared(self, rows: Sequence[Compared]) -> None:
        self._noted.compared(rows)
        if self._log is not None:
            self._log.keep(rows)

    def _tell_on(self) -> None:
        while not self._ring.closed:
            time.sleep(_TELL_S)
            self._tell()
        self._mirror.close()
        if self._log is not None:
            self._log.close()
        self._tell()
        self._ring.end()

    def _tell(self) -> None:
        told = {
            "at_ns": time.monotonic_ns(),
            "counts": self._mirror.counts(),
            "log": None if self._log is None else self._log.counts(),
            "evidence": self._book.document(),
        }
        if not self._ring.tell(msgspec.json.encode(told)):
            _log.error("shadow_tells_too_much", app=self._mirror.shadow.app)
