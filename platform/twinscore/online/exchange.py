"""Rows sent to an endpoint in requests of many sizes, and its answers put back in order; compares nothing."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twinscore.errors import ContractBroken, PredictFailed, RequestMalformed

if TYPE_CHECKING:
    import pyarrow as pa

    from twinscore.online.client import PredictClient

__all__ = ["Progress", "Request", "as_body", "ask_all", "group_rows"]

Progress = Callable[[int, int], None]
"""Called with rows done and rows to do."""

_SINGLE_ROWS = 4000
"""Accepted rows that are sent one per request; the rest goes in requests of 2 to 50 rows."""
_LARGEST_REQUEST = 50
_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Request:
    """Rows that travel together: their positions in the input."""

    positions: tuple[int, ...]
    body: bytes


def group_rows(table: pa.Table, accepted: set[int], seed: int) -> list[Request]:
    """Group rows into requests: refused rows alone, accepted ones alone first and in seeded groups after.

    A refused row refuses its whole request, so it must travel alone for its own verdict to be seen.
    """
    from twinscore.contract.rows import table_to_rows

    rows = table_to_rows(table)
    chance = random.Random(seed)
    singles = [position for position in range(len(rows)) if position not in accepted]
    together = [position for position in range(len(rows)) if position in accepted]
    chance.shuffle(together)
    singles += together[:_SINGLE_ROWS]
    requests = [Request((position,), as_body(rows[position])) for position in singles]
    rest = together[_SINGLE_ROWS:]
    while rest:
        size = chance.randint(2, _LARGEST_REQUEST)
        positions, rest = tuple(rest[:size]), rest[size:]
        requests.append(Request(positions, as_body({"instances": [rows[position] for position in positions]})))
    chance.shuffle(requests)
    return requests


def as_body(value: object) -> bytes:
    """Return a body that asks about the very values, those that JSON has no word for included."""
    # Python's writer prints inf as Infinity, which the endpoint refuses as the batch path does;
    # msgspec would print null and ask about another row.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def ask_all(
    client: PredictClient, requests: Sequence[Request], n_rows: int, version: str, progress: Progress | None
) -> dict[int, dict[str, Any]]:
    """Send every request over a few connections and return the predictions by position; refused rows are absent."""
    answers: dict[int, dict[str, Any]] = {}
    done = 0
    lock = threading.Lock()

    def ask(request: Request) -> None:
        nonlocal done
        found = dict(_ask(client, request, version))
        with lock:
            answers.update(found)
            done += len(request.positions)
            if progress is not None:
                progress(done, n_rows)

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for finished in [pool.submit(ask, request) for request in requests]:
            finished.result()
    return answers


def _ask(client: PredictClient, request: Request, version: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        answer = client.send(request.body)
    except (ContractBroken, RequestMalformed):
        if len(request.positions) > 1:
            # Rows that the batch path accepted were refused together: ask for each, to name the one.
            for position, row in zip(request.positions, json.loads(request.body)["instances"], strict=True):
                yield from _ask(client, Request((position,), as_body(row)), version)
        return
    if str(answer["version"]) != version:
        message = f"{client.url} changed from version {version} to {answer['version']} meanwhile; compare again."
        raise PredictFailed(message, url=client.url)
    for position, prediction in zip(request.positions, answer["predictions"], strict=True):
        yield position, prediction
