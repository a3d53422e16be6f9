"""A refused request is recorded with its rows and the rules that they broke, whether it has few rows or many."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from twinscore.audit.masking import hash_cell
from twinscore.audit.reader import Entry
from twinscore.audit.record import AuditRecord, decode_record
from twinscore.audit.rows import table_of
from twinscore.online.call import Call
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway, Reply


def refused(bundle: Any, rows: list[dict[str, Any]]) -> AuditRecord:
    """Return the record of a request that the contract refuses."""
    endpoint = Endpoint(bundle, model="members", version="3")
    gateway = Gateway("members", endpoint)
    gateway.record_with(b"salt", str)
    body = msgspec.json.encode({"instances": rows})
    reply = gateway.handle(Call("POST", "/predict", {b"content-type": b"application/json"}, body, "r"))
    assert isinstance(reply, Reply)
    assert 422 == reply.answer.status
    (record,) = map(decode_record, reply.records)
    return record


@pytest.mark.parametrize("n_rows", [8, 9, 32, 33, 100])
def test_the_rows_of_a_refused_request_are_recorded(binary: Any, n_rows: int) -> None:
    """One row in the log for each that was sent, with its cells and no score, and the rule beside the broken one."""
    rows = [dict(row) for row in binary.rows[:n_rows]]
    rows[3]["age"] = -5
    record = refused(binary.bundle, rows)
    logged = table_of([Entry("r1", 1, 1, record)], binary.bundle.contract)

    assert (422, "contract_broken") == (record.status, record.code)
    assert list(range(n_rows)) == logged["row"].to_pylist()
    assert n_rows == logged["score"].null_count
    assert [row["age"] for row in rows] == logged["feature_age"].to_pylist()
    assert [(3, ["expect_column_values_to_be_between(age)"])] == [
        (row["row"], row["fault_rules"]) for row in logged.to_pylist() if row["fault_rules"]
    ]


def test_marked_cells_of_a_refused_table_are_not_recorded(binary: Any) -> None:
    """What the contract hashes or drops is hashed or dropped in a refusal, too."""
    marks: dict[str, Any] = {"income": "drop", "city": "hash"}
    contract = binary.bundle.contract
    columns = tuple(dataclasses.replace(one, audit=marks.get(one.name, "keep")) for one in contract.columns)
    bundle = dataclasses.replace(binary.bundle, contract=dataclasses.replace(contract, columns=columns))
    rows = [dict(row) for row in binary.rows[:40]]
    rows[3]["age"] = -5
    logged = table_of([Entry("r1", 1, 1, refused(bundle, rows))], bundle.contract)

    assert "feature_income" not in logged.column_names
    assert [row["city"] and hash_cell(row["city"], b"salt") for row in rows] == logged["feature_city"].to_pylist()
