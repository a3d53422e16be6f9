"""Bodies that are too large for the event loop: one at a time, in order, and the loop answers others meanwhile."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable
from typing import Any, cast

import pytest

from twinscore.online.asked import Asked, Outcome
from twinscore.online.call import Call
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway, Reply

from .conftest import Trained

N_CALLS = 6


class Seen(Endpoint):
    """Waits before it scores a table, and knows how many do so at once."""

    inside = 0
    most = 0
    entered = threading.Event()
    may_go = threading.Event()

    def score(self, asked: Asked) -> Outcome:
        """Score; rows of a small request at once."""
        if asked.n_rows == 1:
            return super().score(asked)
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.entered.set()
        assert self.may_go.wait(30)
        try:
            return super().score(asked)
        finally:
            self.inside -= 1


@pytest.fixture
def gateway(binary: Trained) -> Gateway:
    """Answers with version 1."""
    return Gateway("members", Seen(binary.bundle, model="members", version="1"))


def call(rows: list[dict[str, Any]], name: str) -> Call:
    return Call(
        "POST", "/predict", {b"content-type": b"application/json"}, json.dumps({"instances": rows}).encode(), name
    )


def test_large_bodies_are_scored_one_at_a_time_and_small_ones_meanwhile(gateway: Gateway, binary: Trained) -> None:
    """Each gets the answer to its own rows; a call of one row, and one for health, wait for none of them."""
    rows = binary.rows * (600 // len(binary.rows) + 1)
    endpoint = cast("Seen", gateway.endpoint)

    async def all_answers() -> tuple[list[Reply], list[int]]:
        large = [
            asyncio.ensure_future(cast("Awaitable[Reply]", gateway.handle(call(rows[number:], f"large-{number}"))))
            for number in range(N_CALLS)
        ]
        assert await asyncio.to_thread(endpoint.entered.wait, 30)
        small = [gateway.handle(call(rows[:1], "small")), gateway.handle(Call("GET", "/health/ready", {}, b"", "up"))]
        statuses = [cast("Reply", one).answer.status for one in small]
        assert not any(one.done() for one in large)
        endpoint.may_go.set()
        return await asyncio.gather(*large), statuses

    large, small = asyncio.run(all_answers())
    answers = [json.loads(reply.answer.body) for reply in large]

    assert [200, 200] == small
    assert 1 == endpoint.most
    assert [200] * N_CALLS == [reply.answer.status for reply in large]
    assert [f"large-{number}" for number in range(N_CALLS)] == [answer["request_id"] for answer in answers]
    scores = [prediction["score"] for prediction in answers[0]["predictions"]]
    assert [scores[number:] for number in range(N_CALLS)] == [
        [prediction["score"] for prediction in answer["predictions"]] for answer in answers
    ]
