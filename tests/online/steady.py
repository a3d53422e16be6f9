"""A caller that asks for one row after the other, beside a test that changes what answers it."""

from __future__ import annotations

import threading
from typing import Any

import httpx

__all__ = ["Load"]


class Load(threading.Thread):
    """Asks for one row after the other until it is stopped, and keeps every status and body."""

    def __init__(self, url: str, rows: list[dict[str, Any]]) -> None:
        super().__init__(daemon=True)
        self.seen: list[tuple[int, dict[str, Any]]] = []
        self._stop_asking = threading.Event()
        self._url, self._rows = url, rows

    def run(self) -> None:
        """Ask until stopped."""
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not self._stop_asking.is_set():
                row = self._rows[len(self.seen) % len(self._rows)]
                answer = client.post(f"{self._url}/predict", json=row)
                self.seen.append((answer.status_code, answer.json()))

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_asking.set()
        self.join(60)

    @property
    def failed(self) -> list[tuple[int, dict[str, Any]]]:
        """What was not a 200."""
        return [answer for answer in self.seen if answer[0] != 200]
