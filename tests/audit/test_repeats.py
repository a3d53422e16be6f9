"""What is a repeat and what is another request, and that nothing in one segment keeps the others from compaction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from twinscore.audit import compaction
from twinscore.audit.compaction import compact_model
from twinscore.audit.places import STREAMS
from twinscore.audit.record import TablePacker
from twinscore.audit.verify import verify_model
from twinscore.bundle.files import Bundle
from twinscore.contract.model import Column
from twinscore.scoring.table import score
from twinscore.testing.models import make_rows

from .logs import KEY, log_rows, record_of, scored_records, write_log


@pytest.mark.parametrize("kind", [pa.timestamp("us", "UTC"), pa.timestamp("us"), pa.date32()])
def test_times_after_the_year_9999_are_compared(tmp_path: Path, bundle: Bundle, kind: pa.DataType) -> None:
    """Arrow has them and Python has not: sent again they collapse, another one is a conflict."""
    table = bundle.checker.conform(make_rows("binary", 12, 9).drop_columns(["label"]))
    contract = bundle.contract
    place = contract.schema.get_field_index("opened_at")
    columns = [replace(one, type=kind) if one.name == "opened_at" else one for one in contract.columns]
    contract = replace(contract, columns=tuple(columns))

    def far(number: int) -> pa.Table:
        late = pa.array([number] * 12, pa.int32() if pa.types.is_date32(kind) else pa.int64()).cast(kind)
        return table.set_column(place, Column("opened_at", kind).name, late)

    first = 3_000_000 if pa.types.is_date32(kind) else 3_000_000 * 86_400_000_000
    packed = [TablePacker().pack(far(number), score(table, bundle)) for number in (first, first, first + 1)]
    records = [record_of(bundle, "bulk-1", contract_digest=contract.digest, table=data) for data in packed]
    write_log(tmp_path, records)
    done = compact_model(tmp_path, KEY, lambda _: contract)

    assert (24, 12, ("bulk-1",), ()) == (done.rows, done.collapsed, done.conflicts, done.waiting)


def test_one_segment_that_fails_leaves_the_others_to_be_compacted(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits with the reason, nothing of it is shown twice, and the next compaction takes it."""
    records = scored_records(bundle, 12)
    write_log(tmp_path, records[:6], stream="r1", segment_bytes=1 << 20)
    late = [msgspec.structs.replace(one, received_us=one.received_us + 86_400_000_000) for one in records[9:]]
    write_log(tmp_path, [*records[6:9], *late], stream="r2", segment_bytes=1 << 20)
    settle = compaction.settle_repeats

    def failing(table: pa.Table, earlier: Any) -> Any:
        if pc.any(pc.equal(table["request_id"], "q-9")).as_py():
            message = "date value out of range"
            raise OverflowError(message)
        return settle(table, earlier)

    monkeypatch.setattr(compaction, "settle_repeats", failing)
    done = compact_model(tmp_path, KEY, lambda _: bundle.contract)
    shown = [row["request_id"] for row in log_rows(tmp_path)]
    monkeypatch.undo()
    later = compact_model(tmp_path, KEY, lambda _: bundle.contract)
    path = tmp_path / STREAMS / "r2" / "0000000001.segment"

    assert (1, (f"{path}: OverflowError: date value out of range",)) == (done.segments, done.waiting)
    assert [f"q-{number}" for number in range(6)] == shown
    assert (1, 6, ()) == (later.segments, later.rows, later.waiting)
    assert [(), ()] == [state.faults for state in verify_model(tmp_path, KEY)]


def test_the_same_id_of_another_caller_is_another_request(tmp_path: Path, bundle: Bundle) -> None:
    """Callers choose ids, so two may choose alike, and one may ask by two protocols; a repeat has both alike."""
    one, two = scored_records(bundle, 2)
    first = msgspec.structs.replace(one, request_id="1", caller="key-1")
    records = [
        first,
        msgspec.structs.replace(first, caller="key-2"),
        msgspec.structs.replace(two, request_id="1", caller="key-3"),
        msgspec.structs.replace(two, request_id="1", caller="key-1", path="invocations"),
        first,
    ]
    write_log(tmp_path, records)
    done = compact_model(tmp_path, KEY, lambda _: bundle.contract)
    rows = [(row["caller"], row["path"], row["conflict"]) for row in log_rows(tmp_path)]

    assert (4, 1, ()) == (done.rows, done.collapsed, done.conflicts)
    assert [
        ("key-1", "predict", False), ("key-2", "predict", False), ("key-3", "predict", False),
        ("key-1", "invocations", False),
    ] == rows  # fmt: skip
