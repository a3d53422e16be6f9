"""What a replica counts of each version: right whatever the form of a request, exact under threads, and cheap."""

from __future__ import annotations

import asyncio
import json
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
from twinscore.online.answer import Prediction
from twinscore.online.asked import Asked, RowsRefusedError
from twinscore.online.call import Call
from twinscore.online.caller import Caller, ChallengerFailedError, Scored
from twinscore.online.endpoint import Endpoint
from twinscore.online.evidence_arm import ArmBook
from twinscore.online.evidence_book import EvidenceBook
from twinscore.online.gateway import Gateway, Reply
from twinscore.online.request import Limits
from twinscore.online.switch import Switch
from twinscore.rollout.evidence import ArmEvidence, Histogram, PairEvidence
from twinscore.rollout.routing import Challenger, Routing, Shadow, Target

BATCH = 100


def read(book: EvidenceBook) -> dict[tuple[str, str], ArmEvidence]:
    """Return what a book says over JSON, by version and role; counters of one arm are few, and must not repeat it."""
    document = json.loads(json.dumps(book.document()))
    arms = [ArmEvidence.from_json(one["evidence"]) for one in document["arms"]]
    assert len({(arm.version, arm.role) for arm in arms}) == len(arms)
    return {(arm.version, arm.role): arm for arm in arms}


def predictions(endpoint: Endpoint, rows: list[dict[str, Any]]) -> list[Prediction]:
    decoded, _ = endpoint.decode(rows)
    return endpoint.predictions(endpoint.score(Asked(decoded, at="/instances")))


def test_rows_and_tables_are_counted_alike(trained: Any) -> None:
    """The same rows, one by one and as one table, give the same counts, which are those of their predictions."""
    endpoint, rows = trained.endpoint, trained.rows[:BATCH]
    alone, together = EvidenceBook(), EvidenceBook()
    for row in rows:
        alone.score(endpoint, Asked(endpoint.decode([row])[0]))
    together.score(endpoint, Asked((), table=trained.table.slice(0, BATCH)))
    one, many = read(alone)["1", "live"], read(together)["1", "live"]

    right = predictions(endpoint, rows)
    scores = [found.score for found in right if found.score is not None]
    assert (BATCH, BATCH, 1, BATCH) == (one.calls, one.rows, many.calls, many.rows)
    assert BATCH == one.latency_ms.n
    assert 0 == many.latency_ms.n
    assert Histogram.of(endpoint.bundle.profile["score"]["edges"], scores) == one.scores == many.scores
    assert dict(Counter(found.decision for found in right if found.decision is not None)) == one.decisions
    assert one.decisions == many.decisions
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


class Answering:
    """Stands where an application would: answers at once, late, or not at all, and says how long scoring took."""

    def __init__(self, endpoint: Endpoint, fault: str = "") -> None:
        self.endpoint, self.fault = endpoint, fault

    def __call__(self, rows: Any) -> Answering:
        """Take rows."""
        self.rows = rows
        return self

    def __await__(self) -> Any:
        if self.fault == "late":
            yield from asyncio.sleep(5).__await__()
        return self.result()

    def result(self, *, timeout_s: float | None = None) -> Scored:
        """Score."""
        del timeout_s
        if self.fault == "late":
            raise TimeoutError
        if self.fault == "error":
            raise RuntimeError
        asked = Asked(self.rows, at="/rows", partial=True)
        digest = "0" * 64 if self.fault == "other" else self.endpoint.bundle.digest
        return Scored(digest, self.endpoint.predictions(self.endpoint.score(asked)), 5_000_000, 12.5)

    def cancel(self) -> None:
        """Nothing to give up."""


def test_a_challengers_calls_are_counted_by_what_came_of_them(binary: Any, second: Endpoint) -> None:
    """Answered, refused, late, broken, another bundle: a call each, its reason, and the time that scoring took."""
    book = ArmBook("2", "canary", second.bundle.profile["score"]["edges"])
    good = second.decode([binary.rows[0]])[0]
    bad = second.decode([{**binary.rows[0], "age": -5}])[0]

    async def call(fault: str, rows: Any) -> None:
        caller = Caller(Answering(second, fault), "app", second.bundle.digest, 0.05, book)
        try:
            await caller.score(rows, len(rows))
        except ChallengerFailedError as failed:
            if failed.reason == "refused":  # the live version took the row: only then it is the challenger's fault
                caller.failed("refused", len(rows))

    for fault, rows in (("", good), ("", bad), ("late", good), ("error", good), ("other", good)):
        asyncio.run(call(fault, rows))
    found = book.read()

    assert {"refused": 1, "deadline": 1, "error": 1, "wrong_bundle": 1} == found.failed
    assert (5, 5, 1, 1) == (found.calls, found.rows, found.refused_rows, found.score.n)
    assert (2, 2) == (found.latency_ms.n, found.answer_ms.n)
    assert 4.4 < (found.latency_ms.quantile(0.5) or 0) <= 5.7
    assert 12.5 == found.memory_mb


def routing_of(binary: Any, second: Endpoint, **beside: Any) -> Routing:
    live = Target(version="1", digest=binary.bundle.digest)
    return Routing(model="members", live=live, deadline_ms=5_000, **beside)


@pytest.fixture
def bundles(binary: Any, second: Endpoint, tmp_path: Path) -> Path:
    """Both bundles where a replica finds them."""
    for bundle in (binary.bundle, second.bundle):
        (tmp_path / bundle.digest).symlink_to(bundle.folder)
    return tmp_path


def test_a_canarys_rows_and_the_live_versions_are_apart(binary: Any, second: Endpoint, bundles: Path) -> None:
    """Of a divided request each arm counts its own rows; a canary that fails costs the live version no count."""
    gateway = Gateway("members")
    asks = {"good": Answering(second), "bad": Answering(second, "error")}
    switch = Switch(gateway, bundles=bundles, limits=Limits(), ask_of=asks.__getitem__)
    body = json.dumps({"instances": binary.rows[:BATCH]}).encode()
    counted = []
    for epoch, app in enumerate(asks, 1):
        canary = Challenger(
            arm="canary", app=app, version="2", digest=second.bundle.digest, mode="canary", share=3_000
        )  # fmt: skip
        switch.apply(replace(routing_of(binary, second), challengers=(canary,), epoch=epoch))
        call = Call("POST", "/predict", {b"content-type": b"application/json"}, body, "r")
        found = gateway.handle(call)
        assert not isinstance(found, Reply)
        assert 200 == asyncio.run(_reply(found)).answer.status
        counted.append(read(gateway.book))
    first, last = counted

    assert BATCH == first["1", "live"].rows + first["2", "canary"].rows
    assert ({}, 1) == (first["2", "canary"].failed, first["2", "canary"].calls)
    assert 2 * first["1", "live"].rows == last["1", "live"].rows
    assert 2 * first["2", "canary"].rows == last["2", "canary"].rows
    assert ({"error": 1}, first["2", "canary"].score) == (last["2", "canary"].failed, last["2", "canary"].score)


async def _reply(waiting: Any) -> Reply:
    found: Reply = await waiting
    return found


def test_a_shadow_is_counted_by_itself_and_beside_the_live_version(
    binary: Any, second: Endpoint, bundles: Path
) -> None:
    """What a shadow would have answered is counted as its own, and its differences and flips as a pair's."""
    gateway = Gateway("members")
    seen: list[Any] = []
    switch = Switch(
        gateway, bundles=bundles, limits=Limits(), ask_of=lambda app: Answering(second), on_compared=seen.extend
    )  # fmt: skip
    shadow = Shadow(app="members.shadow.2", version="2", digest=second.bundle.digest)
    switch.apply(routing_of(binary, second, shadows=(shadow,)))
    rows = binary.rows[:BATCH]
    for row in rows:
        gateway.handle(Call("POST", "/predict", {b"content-type": b"application/json"}, json.dumps(row).encode(), "r"))
    deadline = time.monotonic() + 20
    while len(seen) < BATCH and time.monotonic() < deadline:
        time.sleep(0.02)
    arm = read(gateway.book)["2", "shadow"]
    pair = PairEvidence.from_json(gateway.book.document()["pairs"][0]["evidence"])
    switch.close()

    live, other = predictions(binary.endpoint, rows), predictions(second, rows)
    flipped = [(b.score or 0) > (a.score or 0) for a, b in zip(live, other, strict=True) if a.decision != b.decision]
    differences = [abs((b.score or 0) - (a.score or 0)) for a, b in zip(live, other, strict=True)]
    assert (BATCH, BATCH, "2") == (arm.rows, arm.score.n, arm.version)
    assert (BATCH, len(flipped), sum(flipped)) == (pair.n, pair.flips, pair.flips_up)
    assert 0 < pair.flips == pair.flips_up + pair.flips_down
    assert Histogram.of(pair.diff.edges, differences) == pair.diff
    assert pair.signed.total == pytest.approx(sum(b.score or 0 for b in other) - sum(a.score or 0 for a in live))
    assert (0, 0) == (pair.failed, pair.dropped)


def test_a_shadow_that_fails_says_so(binary: Any, second: Endpoint, bundles: Path) -> None:
    """Rows without an answer count as failed calls of the shadow, and as no pair."""
    gateway = Gateway("members")
    switch = Switch(gateway, bundles=bundles, limits=Limits(), ask_of=lambda app: Answering(second, "late"))
    shadow = Shadow(app="members.shadow.2", version="2", digest=second.bundle.digest)
    switch.apply(routing_of(binary, second, shadows=(shadow,)))
    row = json.dumps(binary.rows[0]).encode()
    gateway.handle(Call("POST", "/predict", {b"content-type": b"application/json"}, row, "r"))
    deadline = time.monotonic() + 20
    while not (found := read(gateway.book).get(("2", "shadow"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    switch.close()

    assert found is not None
    assert ({"deadline": 1}, 0) == (found.failed, found.score.n)
    assert 1 == gateway.book.document()["pairs"][0]["evidence"]["failed"]


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
