"""A replica's way in, with a real audit log: what is answered is recorded, what cannot be recorded is not answered."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from twinscore.access.keys import create_key
from twinscore.audit.places import model_folder
from twinscore.audit.reader import read_model
from twinscore.audit.record import AuditRecord
from twinscore.errors import SettingsInvalid
from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.listener import ListenerLimits
from twinscore.online.spec import AuditPolicy
from twinscore.settings import Settings
from twinscore.wiring import listener_roster

SMALL = AuditPolicy(reserve_mb=1)


@pytest.fixture
def front(binary: Any, tmp_path: Path) -> Iterator[Front]:
    """A front of the binary model in a home of its own."""
    found = open_front(binary, tmp_path)
    yield found
    found.close()


def open_front(binary: Any, home: Path, **options: Any) -> Front:
    settings = Settings(home=home)
    gateway = Gateway("members", binary.endpoint)
    options = {"audit": SMALL, "replica": "r1", **options}
    return Front(gateway, settings, listener_roster(settings), **options)


def post(front: Front, body: Any, **headers: str) -> httpx.Response:
    url = f"http://127.0.0.1:{front.listener.port}/members/predict"
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", **headers}
    # To read the certificates that plain HTTP needs none of takes forty times as long as the request.
    return httpx.post(url, content=content, headers=headers, trust_env=False, verify=False)


def records(front: Front, home: Path) -> list[AuditRecord]:
    """Return what the log holds, after everything was answered."""
    del front
    folder = model_folder(Settings(home=home).lake, "members")
    return [entry.record for entry in read_model(folder)]


def test_every_answer_is_in_the_log(front: Front, binary: Any, tmp_path: Path) -> None:
    """One row, many rows, refused rows and unreadable bodies: each has its record, with what was scored and said."""
    rows = binary.rows
    broken = {**rows[1], "age": -5}
    sent = {"one": rows[0], "few": {"instances": rows[:3]}, "many": {"instances": rows[:50]}, "bad": broken}
    answers = {name: post(front, body, **{"x-request-id": name}) for name, body in sent.items()}
    answers["mess"] = post(front, b"{", **{"x-request-id": "mess"})
    found = {record.request_id: record for record in records(front, tmp_path)}

    assert {name: answer.status_code for name, answer in answers.items()} == {
        name: record.status for name, record in found.items()
    }
    assert [200, 200, 200, 422, 400] == [answer.status_code for answer in answers.values()]
    one = answers["one"].json()["predictions"][0]
    assert [one["score"], one["decision"]] == (found["one"].outputs[0] or [])[:2]
    assert binary.bundle.contract.columns[0].name in rows[0]
    assert list(rows[0].values())[:5] == (found["one"].rows[0] or [])[:5]
    assert (3, 50) == (len(found["few"].outputs), pa.ipc.open_stream(found["many"].table).read_all().num_rows)
    assert [(0, "age")] == [(row, column) for row, _, column in found["bad"].faults]
    assert ("contract_broken", "bad_json") == (found["bad"].code, found["mess"].code)
    assert {binary.bundle.digest} == {record.bundle_digest for record in found.values()}


def test_partial_answers_score_the_good_rows(front: Front, binary: Any, tmp_path: Path) -> None:
    """With `x-partial` good rows are scored and bad ones carry their errors, few or many, with the same bits."""
    for n_rows in (4, 40):
        rows = [dict(row) for row in binary.rows[:n_rows]]
        rows[2]["age"] = -5
        if n_rows == 4:
            del rows[3]["income"]
        answer = post(front, {"instances": rows}, **{"x-partial": "true", "x-request-id": f"p{n_rows}"})
        whole = post(front, {"instances": binary.rows[:n_rows]}).json()["predictions"]
        said = answer.json()["predictions"]
        bad = [2, 3] if n_rows == 4 else [2]

        assert 200 == answer.status_code
        assert bad == [one["row"] for one in said if one["errors"]]
        assert [one for one in whole if one["row"] not in bad] == [one for one in said if not one["errors"]]
        assert (None, None, "refused") == (said[2]["score"], said[2]["decision"], said[2]["explanation_reason"])
        assert ["/instances/2/age"] == [error["path"] for error in said[2]["errors"]]
    found = {record.request_id: record for record in records(front, tmp_path)}
    assert [False, False, True, True] == [output is None for output in found["p4"].outputs]


def test_without_x_partial_one_bad_row_refuses_all(front: Front, binary: Any) -> None:
    """The default of the deployment file holds when the request does not say, and the request may say no."""
    rows = [binary.rows[0], {**binary.rows[1], "age": -5}]

    assert [422, 422] == [post(front, {"instances": rows}, **more).status_code for more in ({}, {"x-partial": "no"})]


def test_callers_need_a_key_once_there_is_one(binary: Any, tmp_path: Path) -> None:
    """Without a key 401, with one for another model 403, with the right one an answer, recorded under its id."""
    made = [
        create_key(tmp_path, label=model, models=[model], verbs=["predict"], days=1, now=datetime.now(UTC))
        for model in ("members", "others")
    ]
    front = open_front(binary, tmp_path)
    url = f"http://127.0.0.1:{front.listener.port}/members"
    try:
        bare = post(front, binary.rows[0])
        others = post(front, binary.rows[0], authorization=f"Bearer {made[1].text}")
        right = post(front, binary.rows[0], **{"x-api-key": made[0].text})
        reading = httpx.get(f"{url}/version", headers={"x-api-key": made[0].text}, trust_env=False)
        health = httpx.get(f"{url}/health/ready", trust_env=False)
    finally:
        front.close()

    assert [401, 403, 200, 403, 200] == [one.status_code for one in (bare, others, right, reading, health)]
    assert bare.headers["www-authenticate"].startswith("Bearer")
    assert "predictions" not in bare.text
    callers = [(record.status, record.caller) for record in records(front, tmp_path)]
    assert [(401, ""), (403, ""), (200, made[0].key.id)] == callers


def test_no_listener_on_an_open_address_without_keys(binary: Any, tmp_path: Path) -> None:
    """An address that others can reach is refused where nobody is asked who calls."""
    with pytest.raises(SettingsInvalid, match="keys create"):
        open_front(binary, tmp_path, host="192.0.2.1")


def test_a_full_disk_refuses_and_recovers(binary: Any, tmp_path: Path) -> None:
    """While the log cannot be written nothing is answered and readiness says so; afterwards it goes on by itself."""
    front = open_front(binary, tmp_path)
    assert front.writer is not None
    full = OSError(28, "No space left on device")
    whole = front.writer._disk
    url = f"http://127.0.0.1:{front.listener.port}/members/health/ready"
    try:
        before = post(front, binary.rows[0]).status_code

        class Full(type(whole)):  # type: ignore[misc]
            def write(self, *_: Any) -> int:
                raise full

        front.writer._disk = Full()
        during = [post(front, binary.rows[0]) for _ in range(2)]
        ready = httpx.get(url, trust_env=False)
        live = httpx.get(url.replace("ready", "live"), trust_env=False)
        front.writer._disk = whole
        front.writer.recover()
        after = [httpx.get(url, trust_env=False).status_code, post(front, binary.rows[0]).status_code]
    finally:
        front.writer._disk = whole
        front.close()

    assert (200, [503, 503], 503, 200, [200, 200]) == (
        before,
        [one.status_code for one in during],
        ready.status_code,
        live.status_code,
        after,
    )
    assert {("audit_unavailable", "1")} == {(one.json()["code"], one.headers["retry-after"]) for one in during}
    assert 2 == len([one for one in records(front, tmp_path) if one.status == 200])


def test_the_policy_may_be_to_answer_all_the_same(binary: Any, tmp_path: Path) -> None:
    """With `on_failure: answer` the score is given without a record, and counted."""
    front = open_front(binary, tmp_path, audit=AuditPolicy(reserve_mb=1, on_failure="answer"))
    assert front.writer is not None
    front.writer.close()
    try:
        answer = post(front, binary.rows[0])
    finally:
        front.close()

    assert (200, 1) == (answer.status_code, front.unrecorded)


def test_the_roster_follows_the_life_of_a_front(binary: Any, tmp_path: Path) -> None:
    """Edges find the listener while it serves, and no more afterwards."""
    roster = listener_roster(Settings(home=tmp_path))
    front = open_front(binary, tmp_path, limits=ListenerLimits(max_waiting=7))
    entries = roster.listeners()
    front.close()

    assert [("members", "r1", front.listener.port, 7, "ready")] == [
        (one.model, one.replica, one.port, one.max_connections, one.state) for one in entries
    ]
    assert () == listener_roster(Settings(home=tmp_path)).listeners()


def test_a_later_replica_takes_up_a_stream(binary: Any, tmp_path: Path) -> None:
    """Two replicas have a stream each; a third that starts after them continues the first one."""
    first, second = open_front(binary, tmp_path), open_front(binary, tmp_path, replica="r2")
    names = {first.writer.stream, second.writer.stream}  # type: ignore[union-attr]
    post(first, binary.rows[0])
    first.close()
    third = open_front(binary, tmp_path, replica="r3")
    post(third, binary.rows[0])
    taken_up = third.writer.stream  # type: ignore[union-attr]
    second.close()
    third.close()

    assert (2, True) == (len(names), taken_up in names)
    assert 2 == len(records(third, tmp_path))
    assert os.listdir(model_folder(Settings(home=tmp_path).lake, "members") / "_streams")  # noqa: PTH208 - names only
