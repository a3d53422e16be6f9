"""Records: nothing is lost on the way to bytes and back, and marked columns never get that far."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.audit.masking import Masker, hash_cell, masker
from twinscore.audit.record import AuditRecord, decode_record, encode_record
from twinscore.bundle.files import Bundle
from twinscore.contract.model import Contract
from twinscore.errors import AuditDamaged

cells = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.datetimes(timezones=st.just(UTC))
)


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.none() | st.lists(cells, max_size=6), max_size=4),
    st.binary(max_size=50),
    st.none() | st.floats(allow_nan=False),
)
def test_a_record_survives(text: str, rows: list[list[Any] | None], table: bytes, age_s: float | None) -> None:
    """Any text, cells and bytes come back as they were."""
    record = AuditRecord(text, "shadow", 1, 2, 3, 422, rows=rows, outputs=rows, table=table, age_s=age_s,
                         faults=[(0, text, None), (None, "x", text)])  # fmt: skip

    assert record == decode_record(encode_record(record))


def test_what_is_no_record_is_refused() -> None:
    """Bytes of something else raise, and are not half read."""
    with pytest.raises(AuditDamaged, match="cannot be read"):
        decode_record(b"\x93\x01\x02\x03")


def test_a_record_may_grow(bundle: Bundle) -> None:
    """A record with fewer fields at its end, as an older version wrote it, has the defaults."""
    import msgspec

    older = msgspec.msgpack.encode(["q-1", "live", 1, 2, 3, 200])

    assert AuditRecord("q-1", "live", 1, 2, 3, 200) == decode_record(older)


def marked(contract: Contract, **forms: Any) -> Contract:
    return replace(
        contract, columns=tuple(replace(column, audit=forms.get(column.name, "keep")) for column in contract.columns)
    )


def test_a_contract_without_marks_masks_nothing(bundle: Bundle) -> None:
    """The usual case costs a copy of the list and no more."""
    assert masker(bundle.contract, b"salt") is list
    assert Masker(bundle.contract, b"salt").idle
    assert "anna" == Masker(bundle.contract, b"salt").entity("anna")


def test_marked_columns_are_hashed_or_dropped(bundle: Bundle) -> None:
    """In rows and in tables alike; equal values have equal hashes, another salt has others, missing stays missing."""
    contract = marked(bundle.contract, city="hash", income="drop", row_id="hash")
    names = [column.name for column in contract.columns]
    table = bundle.golden.select(names).slice(0, 50)
    rows = [list(row.values()) for row in table.to_pylist()]
    one, other = Masker(contract, b"salt"), Masker(contract, b"other")
    masked = [one.row(row) for row in rows]
    as_table = one.table(bundle.checker.conform(table))
    city, income = names.index("city"), names.index("income")

    assert [row[income] for row in masked] == [None] * 50
    assert len({row[city] for row in rows}) == len({row[city] for row in masked})
    assert {row[city] for row in rows if row[city]} & {row[city] for row in masked} == set()
    assert not {row[city] for row in masked if row[city]} & {other.row(row)[city] for row in rows}
    assert [row[city] is None for row in rows] == [row[city] is None for row in masked]
    assert [row[city] for row in masked] == as_table.column("city").to_pylist()
    assert pa.string() == as_table.schema.field("city").type
    assert 50 == as_table.column("income").null_count
    assert "anna" != one.entity("anna") == hash_cell("anna", b"salt")
    assert "" == one.entity("")
    assert [row[0] for row in rows] == table.column(0).to_pylist()


@given(cells.filter(lambda cell: cell is not None), cells.filter(lambda cell: cell is not None))
def test_hashes_tell_values_apart(left: Any, right: Any) -> None:
    """Two hashes agree exactly when type and value do."""
    same = type(left) is type(right) and left == right

    assert same == (hash_cell(left, b"salt") == hash_cell(right, b"salt"))


def test_a_time_is_hashed_by_its_instant() -> None:
    """An instant has one hash, and another one has another."""
    one = datetime(2026, 1, 1, tzinfo=UTC)

    assert hash_cell(one, b"s") == hash_cell(datetime(2026, 1, 1, tzinfo=UTC), b"s") != hash_cell(one.date(), b"s")
