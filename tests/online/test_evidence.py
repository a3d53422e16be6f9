"""What a replica counts of each version: right whatever the form of a request, exact under threads, and cheap."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from twinscore.access.gate import Access
from twinscore.access.keys import create_key
from twinscore.online.asked import Asked, RowsRefusedError
from twinscore.online.call import Call
from twinscore.online.endpoint import Endpoint
from twinscore.online.evidence_book import EvidenceBook
from twinscore.online.gateway import Gateway, Reply
from twinscore.rollout.entity_groups import GROUPS
from twinscore.rollout.evidence import Histogram

from .counted import predictions, read

BATCH = 100


def test_rows_and_tables_are_counted_alike(trained: Any) -> None:
    """The same rows, one by one and as one table, give the same counts, which are those of their predictions."""
    endpoint, rows = trained.endpoint, trained.rows[:BATCH]
    alone, together = EvidenceBook(), EvidenceBook()
    groups = [at % GROUPS for at in range(BATCH)]
    for row, group in zip(rows, groups, strict=True):
        alone.score(endpoint, Asked(endpoint.decode([row])[0], groups=[group]))
    together.score(endpoint, Asked((), table=trained.table.slice(0, BATCH), groups=groups))
    one, many = read(alone)["1", "live"], read(together)["1", "live"]

    right = predictions(endpoint, rows)
    scores = [found.score for found in right if found.score is not None]
    assert (BATCH, BATCH, 1, BATCH) == (one.calls, one.rows, many.calls, many.rows)
    assert BATCH == one.latency_ms.n
    assert 0 == many.latency_ms.n
    assert Histogram.of(endpoint.bundle.profile["score"]["edges"], scores) == one.scores == many.scores
    assert dict(Counter(found.decision for found in right if found.decision is not None)) == one.decisions
    assert one.decisions == many.decisions
    assert one.groups == many.groups
    assert BATCH == one.groups.rows
    assert sum(found.review for found in right) == one.review_rows == many.review_rows
    assert (one.score.n, one.width.n) == (many.score.n, many.width.n)
    assert one.score.total == pytest.approx(many.score.total, rel=1e-12)
    assert one.width.squares == pytest.approx(many.width.squares, rel=1e-12)


def test_refused_rows_are_counted_and_unreadable_ones_are_not(binary: Any) -> None:
    """Rows that the contract refuses count as refused in whole and partial answers alike; what is no row does not."""
    endpoint, book = binary.endpoint, EvidenceBook()
    rows = [*binary.rows[:3], {**binary.rows[3], "age": -5}]
    decoded, _ = endpoint.decode(rows, at="/instances")
    with pytest.raises(RowsRefusedError):
        book.score(endpoint, Asked(decoded, at="/instances"))
    whole = read(book)["1", "live"]
    book.score(endpoint, Asked(decoded, at="/instances", partial=True))
    partial = read(book)["1", "live"]
    unreadable, faults = endpoint.decode([{**binary.rows[0], "age": "old"}], at="/instances")
    with pytest.raises(RowsRefusedError):
        book.score(endpoint, Asked(unreadable, faults, at="/instances"))

    assert (1, 4, 1, 0) == (whole.calls, whole.rows, whole.refused_rows, whole.score.n)
    assert (2, 8, 2, 3) == (partial.calls, partial.rows, partial.refused_rows, partial.score.n)
    assert partial == replace(read(book)["1", "live"], memory_mb=partial.memory_mb)


def test_a_scorer_that_breaks_is_a_failed_call(binary: Any) -> None:
    """An error of the live version is counted against it, and still raised."""

    class Broken(Endpoint):
        def score(self, asked: Asked) -> Any:
            raise MemoryError

    book = EvidenceBook()
    with pytest.raises(MemoryError):
        book.score(Broken(binary.bundle, model="members", version="1"), Asked(binary.endpoint.decode([{}])[0]))

    assert ({"error": 1}, 1) == ((found := read(book)["1", "live"]).failed, found.calls)


def test_no_count_is_lost_between_threads(binary: Any) -> None:
    """Eight threads count at once while another reads; in the end every call is there, once."""
    book, asked = EvidenceBook(), Asked(binary.endpoint.decode([binary.rows[0]])[0])

    def work(_: int) -> None:
        for _ in range(300):
            book.score(binary.endpoint, asked)
            book.document()["arms"]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    found = read(book)["1", "live"]

    assert (2_400, 2_400, 2_400) == (found.calls, found.latency_ms.n, found.scores.n)


def test_scores_can_be_brought_to_either_versions_bins(binary: Any, second: Endpoint) -> None:
    """With two versions known, one count serves the bins of both, before and after a promotion."""
    book, rows = EvidenceBook(), binary.rows[:BATCH]
    book.know([binary.endpoint, second])
    for row in rows:
        book.score(binary.endpoint, Asked(binary.endpoint.decode([row])[0]))
    found = read(book)["1", "live"].scores

    scores = [one.score for one in predictions(binary.endpoint, rows) if one.score is not None]
    for endpoint in (binary.endpoint, second):
        edges = endpoint.bundle.profile["score"]["edges"]
        assert Histogram.of(edges, scores) == found.coarsened(edges)
        assert edges == book.document()["edges"][endpoint.version]


def test_another_live_version_leaves_the_counts_of_the_first(binary: Any, second: Endpoint) -> None:
    """After a swap each version goes on under its own name, and going back goes on where it was."""
    book, row = EvidenceBook(), binary.endpoint.decode([binary.rows[0]])[0]
    book.know([binary.endpoint, second])
    for endpoint in (binary.endpoint, second, binary.endpoint):
        book.score(endpoint, Asked(row))

    assert {("1", "live"): 2, ("2", "live"): 1} == {arm: found.calls for arm, found in read(book).items()}


def test_each_live_version_has_a_memory_of_its_own(binary: Any, second: Endpoint) -> None:
    """Growth is followed from the moment a version is live; the one after begins anew, the same one does not."""
    book = EvidenceBook()
    book.know([binary.endpoint])
    book.score(binary.endpoint, Asked(binary.endpoint.decode([binary.rows[0]])[0]))
    first = book._footprint._series
    book.know([binary.endpoint])
    book.score(binary.endpoint, Asked(binary.endpoint.decode([binary.rows[0]])[0]))
    same = book._footprint._series
    book.score(second, Asked(second.decode([binary.rows[0]])[0]))
    other = book._footprint._series

    assert first is same
    assert first.process != other.process


def test_counters_of_versions_long_gone_are_let_go(binary: Any) -> None:
    """A process that serves for months keeps the newest counters, not all of them."""
    book = EvidenceBook()
    book.know([binary.endpoint])
    for number in range(100):
        book.arm(str(number), "canary")
        book.pair(str(number))
    document = book.document()

    assert ["68", "99"] == [document["arms"][place]["evidence"]["version"] for place in (0, -1)]
    assert 8 == len(document["pairs"])


def test_only_who_operates_may_read_it(binary: Any, tmp_path: Path) -> None:
    """`/evidence` needs the verb operate, which a key does not have unless it was asked for."""
    gateway = Gateway("members", binary.endpoint)
    now = datetime.now(UTC)
    keys = [
        create_key(tmp_path, label="usual", models=["*"], days=1, now=now).text,
        create_key(tmp_path, label="control", models=["*"], verbs=["operate"], days=1, now=now).text,
    ]
    gateway.access = Access.load(tmp_path)
    replies = [
        gateway.handle(Call("GET", path, {b"x-api-key": key.encode()}, b"", "r"))
        for key in keys
        for path in ("/evidence", "/version")
    ]

    assert [403, 200, 200, 403] == [reply.answer.status for reply in replies if isinstance(reply, Reply)]


def test_the_price_of_counting(binary: Any) -> None:
    """Prints what one row costs; counting must stay below a tenth of scoring, whatever the machine."""
    outcome = binary.endpoint.score(Asked(binary.endpoint.decode([binary.rows[0]])[0]))

    class Ready:
        version, bundle = "1", binary.bundle

        def score(self, asked: Asked) -> Any:
            del asked
            return outcome

    ready: Any = Ready()
    book, asked = EvidenceBook(), Asked(binary.endpoint.decode([binary.rows[0]])[0])
    took = {"bare": [], "counted": [], "scored": []}  # type: dict[str, list[float]]
    ways = {
        "bare": lambda: ready.score(asked),
        "counted": lambda: book.score(ready, asked),
        "scored": lambda: binary.endpoint.score(asked),
    }
    for _ in range(15):
        for name, way in ways.items():
            started = time.perf_counter()
            for _ in range(500):
                way()
            took[name].append((time.perf_counter() - started) / 500 * 1e6)
    least = {name: min(found) for name, found in took.items()}
    price = least["counted"] - least["bare"]
    print(f"counting one row takes {price:.2f} us beside {least['scored']:.1f} us of scoring")

    assert price < least["scored"] / 10
