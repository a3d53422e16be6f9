"""Columns that a contract marks do not reach the audit log by way of an explanation."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from twinscore.audit.masking import hash_cell
from twinscore.audit.record import decode_record
from twinscore.online.call import Call
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway, Reply
from twinscore.online.spec import ExplainPolicy

MARKS: dict[str, Any] = {"income": "drop", "age": "hash"}


def explained(trained: Any, marks: dict[str, Any], n_rows: int) -> tuple[list[dict[str, Any]], list[Any], list[Any]]:
    """Return the explanations of an answer, those of its record, and the record's rows."""
    contract = trained.bundle.contract
    columns = tuple(dataclasses.replace(one, audit=marks.get(one.name, "keep")) for one in contract.columns)
    bundle = dataclasses.replace(trained.bundle, contract=dataclasses.replace(contract, columns=columns))
    endpoint = Endpoint(bundle, model="members", version="3")
    gateway = Gateway("members", endpoint, explain=ExplainPolicy(deadline_ms=60_000))
    gateway.record_with(b"salt", str)
    headers = {b"content-type": b"application/json", b"x-explain": b"999"}
    body = msgspec.json.encode({"instances": trained.rows[:n_rows]})
    reply = gateway.handle(Call("POST", "/predict", headers, body, "r"))
    assert isinstance(reply, Reply)
    (record,) = map(decode_record, reply.records)
    said = [one["explanation"] for one in msgspec.json.decode(reply.answer.body)["predictions"]]
    return said, [(outputs or [])[-1] for outputs in record.outputs], record.rows


def values(explanation: dict[str, Any]) -> dict[str, Any]:
    return {one["feature"]: one["value"] for one in explanation["contributions"]}


@pytest.mark.parametrize("n_rows", [1, 40])
def test_an_explanation_is_recorded_without_marked_cells(binary: Any, n_rows: int) -> None:
    """Dropped cells and what derives from one are null, hashed ones have the row's hash; the answer shows all."""
    said, recorded, rows = explained(binary, MARKS, n_rows)
    names = [column.name for column in binary.bundle.contract.columns]
    cells = [dict(zip(names, row, strict=True)) for row in rows]

    assert n_rows == len(said) == len(recorded)
    for shown, kept, row, masked in zip(said, recorded, binary.rows, cells, strict=False):
        features = values(shown)
        hashed = None if row["age"] is None else hash_cell(row["age"], b"salt")
        assert (row["income"], row["age"]) == (features["income"], features["age"])
        assert {**features, "income": None, "debt_ratio": None, "age": hashed} == values(kept)
        assert masked["age"] == values(kept)["age"]
        assert [one["contribution"] for one in shown["contributions"]] == [
            one["contribution"] for one in kept["contributions"]
        ]
    assert any(values(one)["debt_ratio"] is not None for one in said)


def test_an_explanation_without_marked_cells_is_recorded_whole(binary: Any) -> None:
    """Where the contract marks nothing, record and answer say the same."""
    said, recorded, _ = explained(binary, {}, 3)

    assert said == recorded
