"""Whatever a client sends to a live listener: the documented status and code, one record of it, and it goes on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from twinscore.audit.places import model_folder
from twinscore.audit.reader import read_model
from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.listener import ListenerLimits
from twinscore.online.spec import AuditPolicy
from twinscore.settings import Settings
from twinscore.wiring import listener_roster

HEAD = b"POST /members/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


class Open(NamedTuple):
    """A front and the home of its log."""

    front: Front
    home: Path

    def record_of(self, request_id: str) -> tuple[int, str] | None:
        """Return status and code of a request's record, or None; more than one is a failure."""
        log = model_folder(Settings(home=self.home).lake, "members")
        found = [one.record for one in read_model(log) if one.record.request_id == request_id]
        assert len(found) < 2
        return (found[0].status, found[0].code) if found else None


@pytest.fixture(scope="module")
def opened(binary: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """A front of the binary model that gives a request a second to arrive."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home)
    front = Front(
        Gateway("members", binary.endpoint),
        settings,
        listener_roster(settings),
        replica="r1",
        audit=AuditPolicy(reserve_mb=1),
        limits=ListenerLimits(read_timeout_s=0.5),
    )
    yield Open(front, home)
    front.close()


def with_cell(row: dict[str, Any], name: str, cell: str) -> bytes:
    """Return a row as JSON, with the text `cell` where the column's value stands."""
    return json.dumps({**row, name: "CELL"}).replace('"CELL"', cell).encode()


ROWS: dict[str, tuple[Any, int, str]] = {
    "NaN": (lambda row: with_cell(row, "income", "NaN"), 400, "bad_json"),
    "Infinity": (lambda row: with_cell(row, "income", "-Infinity"), 400, "bad_json"),
    "1e999": (lambda row: with_cell(row, "income", "1e999"), 400, "bad_json"),
    "beyond float32": (lambda row: with_cell(row, "income", "1e39"), 422, "contract_broken"),
    "2^53 + 1": (lambda row: with_cell(row, "income", str(2**53 + 1)), 422, "contract_broken"),
    "-2^53 - 1": (lambda row: with_cell(row, "income", str(-(2**53) - 1)), 422, "contract_broken"),
    "beyond int64": (lambda row: with_cell(row, "age", str(2**63)), 422, "contract_broken"),
    "5,000 digits": (lambda row: with_cell(row, "age", "9" * 5_000), 400, "bad_json"),
    "duplicate keys": (lambda row: json.dumps(row)[:-1].encode() + b', "age": 30}', 400, "bad_json"),
    "invalid UTF-8": (lambda row: with_cell(row, "city", '"X"').replace(b"X", b"\xff\xfe"), 400, "bad_json"),
    "UTF-16": (lambda row: json.dumps(row).encode("utf-16"), 400, "bad_json"),
    "BOM": (lambda row: b"\xef\xbb\xbf" + json.dumps(row).encode(), 400, "bad_json"),
    "lone surrogate": (lambda row: with_cell(row, "city", '"\\ud800"'), 400, "bad_json"),
    "depth 33": (lambda row: with_cell(row, "city", "[" * 33 + "]" * 33), 400, "bad_json"),
    "depth 100,000": (lambda row: b"[" * 100_000, 400, "bad_json"),
    "10,001 rows": (lambda row: json.dumps({"instances": [row] * 10_001}).encode(), 413, "too_large"),
    "10,001 characters": (lambda row: with_cell(row, "city", '"' + "a" * 10_001 + '"'), 413, "too_large"),
    "unknown feature": (lambda row: json.dumps({**row, "shoe_size": 44}).encode(), 422, "contract_broken"),
    "missing feature": (lambda row: json.dumps(without(row, "age")).encode(), 422, "contract_broken"),
    "text for a number": (lambda row: with_cell(row, "age", '"41"'), 422, "contract_broken"),
    "true for a number": (lambda row: with_cell(row, "age", "true"), 422, "contract_broken"),
    "a fraction for a whole number": (lambda row: with_cell(row, "age", "3.5"), 422, "contract_broken"),
    "no rows": (lambda row: b'{"instances": []}', 422, "contract_broken"),
    "no body": (lambda row: b"", 400, "bad_json"),
}


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in row.items() if other != name}


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_cannot_be_scored(opened: Open, binary: Any, name: str) -> None:
    """Each has its status and code, names the place where there is one, and its one record says the same."""
    make, status, code = ROWS[name]
    request_id = "".join(sign if sign.isalnum() else "-" for sign in name)
    headers = {"content-type": "application/json", "x-request-id": request_id}
    url = f"http://127.0.0.1:{opened.front.listener.port}/members/predict"
    answer = httpx.post(url, content=make(binary.rows[0]), headers=headers, trust_env=False, timeout=30)
    problem = answer.json()

    assert (status, code) == (answer.status_code, problem["code"])
    assert "application/problem+json" == answer.headers["content-type"]
    assert (status, code) == opened.record_of(request_id)
    assert status != 422 or name == "no rows" or any(fault["path"] for fault in problem["faults"])
    assert 200 == httpx.post(url, json=binary.rows[0], trust_env=False).status_code


BYTES: dict[str, tuple[bytes, int, str]] = {
    "100 MB declared": (HEAD + b"content-length: 104857600\r\n\r\n", 413, "too_large"),
    "a length with a sign": (HEAD + b"content-length: -5\r\n\r\n", 400, "bad_request"),
    "two lengths": (HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", 400, "bad_request"),
    "a length and chunks": (HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}", 400, "bad_request"),
    "slow header": (HEAD, 408, "timeout"),
    "slow body": (HEAD + b"content-length: 100\r\n\r\n{", 408, "timeout"),
    "no length": (HEAD + b"connection: close\r\n\r\n", 400, "bad_json"),
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_request(opened: Open, binary: Any, name: str) -> None:
    """Each is answered at once, or once its time is over, with a problem document, and the connection is closed."""
    sent, status, code = BYTES[name]
    with socket.create_connection(("127.0.0.1", opened.front.listener.port), timeout=20) as peer:
        peer.sendall(sent)
        said = b""
        while chunk := peer.recv(65_536):
            said += chunk
    head, _, body = said.partition(b"\r\n\r\n")
    url = f"http://127.0.0.1:{opened.front.listener.port}/members/predict"

    assert (b"HTTP/1.1 %d" % status, code) == (head[:12], json.loads(body)["code"])
    assert b"connection: close" in head
    assert 200 == httpx.post(url, json=binary.rows[0], trust_env=False).status_code


def test_a_client_that_goes_before_its_request_is_whole(opened: Open, binary: Any) -> None:
    """Nothing was asked, so nothing is recorded, and its connection is given back."""
    with socket.create_connection(("127.0.0.1", opened.front.listener.port), timeout=20) as peer:
        peer.sendall(HEAD + b"x-request-id: left\r\ncontent-length: 100\r\n\r\n{")
    url = f"http://127.0.0.1:{opened.front.listener.port}/members/predict"

    assert 200 == httpx.post(url, json=binary.rows[0], trust_env=False).status_code
    assert opened.record_of("left") is None
