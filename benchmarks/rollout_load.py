"""A steady load on a served model, and when its replicas answer with a version; not a measurement by itself."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa
from online_model import MODEL

from twinscore.contract.rows import table_to_rows
from twinscore.testing.models import make_rows
from twinscore.wiring import listener_roster

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle
    from twinscore.settings import Settings

ROWS, THREADS, KEPT_S = 20_000, 4, 90.0
JSON = {"content-type": "application/json"}


def bodies_of(bundle: Bundle) -> list[bytes]:
    """Return requests of one row each, all of them of different entities."""
    rows = bundle.checker.conform(make_rows("binary", ROWS, seed=7).drop_columns(["label"]))
    accepted = rows.filter(pa.array(bundle.checker.check(rows).accepted))
    return [json.dumps(row).encode() for row in table_to_rows(accepted)]


class Load:
    """Requests at a steady rate while it is entered; a thread that waits for an answer sends its next ones late.

    Args:
        url: where to send them.
        bodies: in turn.
        rate: requests per second, of all threads together.
    """

    def __init__(self, url: str, bodies: list[bytes], rate: float) -> None:
        self.bodies = bodies
        self._parts = urlsplit(url)
        self._pause_s = THREADS / rate
        self._statuses: Counter[str] = Counter()
        self._took_ms: list[float] = []
        self._recent: list[tuple[float, str]] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(first,)) for first in range(THREADS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def told(self) -> dict[str, Any]:
        """Return how many requests were sent, by status, and how long answers took."""
        took = sorted(self._took_ms)
        sent = sum(self._statuses.values())
        return {
            "sent": sent, "failed": sent - self._statuses["200"], "status": dict(self._statuses),
            "p50_ms": round(took[len(took) // 2], 2), "p99_ms": round(took[len(took) * 99 // 100], 2),
            "worst_ms": round(took[-1], 1),
        }  # fmt: skip

    def answers(self, since: float, version: str) -> int:
        """Return how many requests that were sent since then another version than this one has answered."""
        with self._lock:
            return sum(sent >= since and by != version for sent, by in self._recent)

    def _ask(self, first: int) -> None:
        connection = self._connect()
        due, place = time.monotonic(), first
        while not self._over.is_set():
            body = self.bodies[place % len(self.bodies)]
            sent, by = time.monotonic(), ""
            try:
                connection.request("POST", self._parts.path, body, JSON)
                answer = connection.getresponse()
                content, status = answer.read(), str(answer.status)
                by = json.loads(content)["version"] if answer.status == 200 else ""
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                connection, status = self._connect(), type(error).__name__
            now = time.monotonic()
            with self._lock:
                self._statuses[status] += 1
                self._took_ms.append(1e3 * (now - sent))
                if by:
                    self._recent.append((sent, by))
                while self._recent and self._recent[0][0] < now - KEPT_S:
                    del self._recent[: len(self._recent) // 2]
            place += THREADS
            due = max(due + self._pause_s, now - 1.0)
            time.sleep(max(0.0, due - now))

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._parts.hostname or "", self._parts.port, timeout=30)


def answering(settings: Settings, body: bytes, version: str, began: float, seconds: float) -> float | None:
    """Return after how many seconds the last replica first answered with a version, None when one never did.

    Args:
        settings: of the stack, whose roster names the listeners of the replicas.
        body: a request.
        version: that is waited for.
        began: by the monotonic clock.
        seconds: to wait at most.
    """
    late = {one.address for one in listener_roster(settings).listeners() if one.model == MODEL}
    assert late
    while time.monotonic() < began + seconds:
        for address in sorted(late):
            host, _, port = address.rpartition(":")
            connection = http.client.HTTPConnection(host, int(port), timeout=5)
            with suppress(OSError, http.client.HTTPException):
                connection.request("POST", f"/{MODEL}/predict", body, JSON)
                answer = connection.getresponse()
                if answer.status == 200 and json.loads(answer.read())["version"] == version:
                    late.discard(address)
            connection.close()
        if not late:
            return time.monotonic() - began
        time.sleep(0.02)
    return None
