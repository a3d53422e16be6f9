"""More requests at once than a replica takes: who waits at the edge, in which order, and who is refused."""

from __future__ import annotations

import http.client
import re
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from twinscore.edge.runtime_api import ask

from .conftest import BODY, JSON, Edge

LASTS_S = 1.5


def crowd(made: Edge, clients: int) -> dict[int, list[float]]:
    """Ask on some kept connections, on each again at once; return how long the answers took, by status."""
    found: dict[int, list[float]] = {}
    until = time.monotonic() + LASTS_S
    lock = threading.Lock()

    def ask() -> None:
        connection = made.connect()
        while time.monotonic() < until:
            began = time.monotonic()
            connection.request("POST", "/loans/predict", BODY, JSON)
            answer: http.client.HTTPResponse = connection.getresponse()
            answer.read()
            with lock:
                found.setdefault(answer.status, []).append(time.monotonic() - began)
        connection.close()

    with all_of([threading.Thread(target=ask) for _ in range(clients)]):
        pass
    return found


@contextmanager
def all_of(threads: list[threading.Thread]) -> Iterator[None]:
    """Start threads and wait for their end."""
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(20)


def test_who_waits_with_few_is_answered(own_edge: Edge) -> None:
    """Up to twice as many wait as are inside: each has its turn, and only a pause of the machine refuses one."""
    own_edge.replica("loans", "a", limit=2, delay_ms=2)
    took = crowd(own_edge, 5)

    assert len(took[200]) > 20 * len(took.get(503, []))
    assert took.keys() <= {200, 503}


def test_in_a_crowd_who_came_last_is_answered_first(own_edge: Edge) -> None:
    """So an answer does not come late: the usual one is quicker than a refusal, which has waited in vain."""
    own_edge.replica("loans", "a", limit=2, delay_ms=10)
    took = crowd(own_edge, 22)

    assert {200, 503} == took.keys()
    assert statistics.median(took[200]) < statistics.median(took[503])


def test_buffers_of_a_crowd_stay_at_hand(own_edge: Edge) -> None:
    """What many requests held at once is not given away afterwards, so that the next ones find it warm."""
    own_edge.replica("loans", "a", limit=32, delay_ms=10)
    crowd(own_edge, 32)
    pools = ask(own_edge.folder / "admin.sock", "show pools")
    found = re.search(r"Pool buffer .*~(\d+) by thread caches", pools)

    assert found is not None
    assert int(found[1]) >= 32
