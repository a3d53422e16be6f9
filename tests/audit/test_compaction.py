"""Compaction: every record becomes its rows exactly once, typed, whatever is killed, repeated or damaged."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.audit.compaction import Compacted, compact_model
from twinscore.audit.disk import Disk
from twinscore.audit.head import decode_head
from twinscore.audit.places import STREAMS
from twinscore.audit.reader import read_model
from twinscore.audit.record import encode_record
from twinscore.audit.verify import verify_model
from twinscore.audit.writer import SegmentWriter
from twinscore.bundle.files import Bundle
from twinscore.contract.model import Column, Contract
from twinscore.errors import BundleInvalid, StoreConflict

from .logs import KEY, MORNING_US, bulk_record, log_rows, record_of, scored_records, visible, write_log


def compact(folder: Path, bundle: Bundle, **more: Any) -> Compacted:
    return compact_model(folder, KEY, lambda _: bundle.contract, **more)


def test_every_row_is_there_once_and_typed(tmp_path: Path, bundle: Bundle) -> None:
    """Requests of one row, some rows, many rows as a table, and refusals: a typed row each, and the chain holds."""
    refused = record_of(
        bundle,
        "refused-901",
        status=422,
        code="contract_broken",
        rows=[scored_records(bundle, 1)[0].rows[0], None],
        outputs=[None, None],
        faults=[(0, "between(age)", "age"), (0, "not_null(debt)", "debt"), (1, "not_an_object", None)],
    )
    unread = record_of(
        bundle, "unread-902", status=400, code="bad_json", bundle_digest="", contract_digest="", version=""
    )
    records = [
        *scored_records(bundle, 40),
        *scored_records(bundle, 3, rows_each=4, prefix="some"),
        bulk_record(bundle, "bulk-903", 50),
        refused,
        unread,
    ]
    write_log(tmp_path, records)
    done = compact(tmp_path, bundle)
    rows = log_rows(tmp_path)
    by_id: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_id.setdefault(row["request_id"], []).append(row)
    (folder,) = tmp_path.glob("date=*")
    schema = pq.read_schema(next(path for path in sorted(folder.iterdir()) if "none" not in path.name))
    (state,) = verify_model(tmp_path, KEY)

    assert "date=2026-01-01" == folder.name
    assert (40 + 12 + 50 + 2 + 1, 0, (), (), ()) == (
        done.rows, done.collapsed, done.conflicts, done.damaged, done.waiting
    )  # fmt: skip
    assert [record.request_id for record in records] == list(by_id)
    for record in records[:43]:
        for cells, outputs, row in zip(record.rows, record.outputs, by_id[record.request_id], strict=True):
            assert cells is not None
            assert outputs is not None
            names = [f"feature_{column.name}" for column in bundle.contract.columns]
            assert cells == [row[name] for name in names]
            assert outputs[0] == row["score"]
            assert outputs[4] == row["prediction_set"]
    assert [None, False] == [by_id["bulk-903"][1]["score"], by_id["bulk-903"][0]["score"] is None]
    assert ["not_null(age)"] == by_id["bulk-903"][1]["fault_rules"]
    assert [["between(age)", "not_null(debt)"], ["not_an_object"]] == [
        row["fault_rules"] for row in by_id["refused-901"]
    ]
    assert [(None, 400, "bad_json")] == [(row["row"], row["status"], row["code"]) for row in by_id["unread-902"]]
    for column in bundle.contract.columns:
        assert column.type == schema.field(f"feature_{column.name}").type
    assert datetime(2026, 1, 1, 10, tzinfo=UTC) == rows[0]["received_at"]
    assert [] == list(read_model(tmp_path))
    assert {".head", ""} == {path.suffix for path in (tmp_path / STREAMS / "r1").iterdir()}
    assert (len(records), ()) == (state.records, state.faults)


def test_compacting_again_changes_nothing(tmp_path: Path, bundle: Bundle) -> None:
    """With nothing new there is nothing to do."""
    write_log(tmp_path, scored_records(bundle, 20))
    compact(tmp_path, bundle)
    before = visible(tmp_path)
    again = compact(tmp_path, bundle)

    assert Compacted() == again
    assert before == visible(tmp_path)


class Dying(Disk):
    """A real disk whose program is killed before one of its calls."""

    def __init__(self, last: int) -> None:
        self.left = last

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in {"create", "write", "fdatasync", "rename", "unlink", "sync_folder"}:
            return found
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return found


def test_killed_at_every_call_and_done_again(tmp_path: Path, bundle: Bundle) -> None:
    """Whatever call a compaction is killed before, the next one ends with the same log as an undisturbed one."""
    records = scored_records(bundle, 10)
    late = msgspec.structs.replace(records[-1], request_id="late-77", received_us=MORNING_US + 86_400_000_000)
    conflicting = msgspec.structs.replace(records[4], outputs=[[0.5, *(records[4].outputs[0] or [])[1:]]])
    records = [*records, late, records[3], conflicting]
    whole = tmp_path / "whole"
    write_log(whole, records, segment_bytes=3_000)
    shutil.copytree(whole, tmp_path / "log")
    compact(whole, bundle)
    wanted = visible(whole)
    finished, calls = False, 0
    while not finished:
        folder = tmp_path / f"killed-{calls}"
        shutil.copytree(tmp_path / "log", folder)
        try:
            compact(folder, bundle, disk=Dying(calls))
            finished = True
        except KeyboardInterrupt:
            compact(folder, bundle)
        states = verify_model(folder, KEY)

        assert wanted == visible(folder), calls
        assert [()] == [state.faults for state in states], calls
        assert [] == list(folder.glob("**/*.tmp")) or not finished
        calls += 1
    assert calls > 20


def test_a_repeated_request_is_one_row(tmp_path: Path, bundle: Bundle) -> None:
    """A whole stream sent again through another replica collapses; another answer to the same request is marked."""
    records = scored_records(bundle, 30)
    other = msgspec.structs.replace(records[7], outputs=[[0.123, *(records[7].outputs[0] or [])[1:]]])
    shadow = msgspec.structs.replace(records[8], role="shadow")
    failed = msgspec.structs.replace(records[9], status=503, code="audit_unavailable", rows=[], outputs=[])
    write_log(tmp_path, records, stream="r1")
    write_log(tmp_path, [*records, other, shadow, failed, records[7]], stream="r2")
    done = compact(tmp_path, bundle)
    write_log(tmp_path, records, stream="r3")
    later = compact(tmp_path, bundle)
    rows = log_rows(tmp_path)
    shown = [(row["request_id"], row["row"], row["version"], row["role"], row["score"] is None) for row in rows]

    assert (33, 31, ("q-7",)) == (done.rows, done.collapsed, done.conflicts)
    assert (0, 30, ()) == (later.rows, later.collapsed, later.conflicts)
    assert [("q-7", 0.123)] == [(row["request_id"], row["score"]) for row in rows if row["conflict"]]
    assert [("q-7", 0, "3", "live", False)] == [item for item in set(shown) if shown.count(item) > 1]
    assert 33 == len(rows)


def test_damage_is_set_aside_and_never_removed(tmp_path: Path, bundle: Bundle, log: list[dict[str, Any]]) -> None:
    """A damaged segment stays with a note of what is wrong, is told once, and the others are compacted."""
    write_log(tmp_path, scored_records(bundle, 30), segment_bytes=3_000)
    path = tmp_path / STREAMS / "r1" / "0000000002.segment"
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    first, second = compact(tmp_path, bundle), compact(tmp_path, bundle)
    (state,) = verify_model(tmp_path, KEY)

    assert [1, 0] == [len(first.damaged), len(second.damaged)]
    assert str(path) in first.damaged[0]
    assert bytes(data) == path.read_bytes()
    assert path.with_suffix(".damaged").exists()
    assert 0 < len(log_rows(tmp_path)) < 30
    assert 1 == len(state.faults)
    assert ["audit_damaged"] == [line["event"] for line in log]


def test_what_a_killed_writer_left_is_compacted(tmp_path: Path, bundle: Bundle) -> None:
    """The open segment of a writer at work is left alone; that of a dead one is sealed, its reserve given back."""
    writer = SegmentWriter(tmp_path / STREAMS, stream="r1", key=KEY, reserve_bytes=4_096)
    writer.commit([encode_record(record) for record in scored_records(bundle, 5)])
    at_work = compact(tmp_path, bundle)
    writer._disk.close(writer._lock)  # as the end of its process would
    dead = compact(tmp_path, bundle)

    assert (0, 5) == (at_work.rows, dead.rows)
    assert ["0000000001.head", "lock"] == sorted(path.name for path in (tmp_path / STREAMS / "r1").iterdir())


def test_a_segment_waits_for_its_contract(tmp_path: Path, bundle: Bundle) -> None:
    """Without the bundle that answered, nothing can be typed, so the segment stays and the reason is told."""

    def missing(digest: str) -> Contract:
        message = f"No bundle {digest[:12]}"
        raise BundleInvalid(message)

    write_log(tmp_path, scored_records(bundle, 5))
    waiting = compact_model(tmp_path, KEY, missing)
    done = compact(tmp_path, bundle)

    assert (1, 0) == (len(waiting.waiting), waiting.rows)
    assert f"No bundle {bundle.digest[:12]}" in waiting.waiting[0]
    assert 5 == done.rows


def test_a_canarys_records_stand_under_the_live_contract(tmp_path: Path, bundle: Bundle) -> None:
    """A bundle with another contract answered some of the rows; those of the live one say what the rows are."""
    other = replace(bundle.contract, version=bundle.contract.version + 1)
    records = scored_records(bundle, 6)
    canary = {"bundle_digest": "c" * 64, "role": "canary", "arm": "canary"}
    write_log(tmp_path, [msgspec.structs.replace(record, **canary) for record in records[:3]] + records[3:])
    done = compact_model(tmp_path, KEY, lambda digest: bundle.contract if digest == bundle.digest else other)

    assert (6, ()) == (done.rows, tuple(done.waiting))
    assert {"c" * 64, bundle.digest} == {row["bundle_digest"] for row in log_rows(tmp_path)}


def test_a_parquet_file_that_was_changed_is_named(tmp_path: Path, bundle: Bundle) -> None:
    """After compaction the signed head speaks for the file: another byte, or no file, and `verify` names it."""
    write_log(tmp_path, scored_records(bundle, 5))
    compact(tmp_path, bundle)
    (path,) = tmp_path.glob("date=*/*.parquet")
    data = path.read_bytes()
    path.write_bytes(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
    (changed,) = verify_model(tmp_path, KEY)
    path.unlink()
    (gone,) = verify_model(tmp_path, KEY)
    (head_path,) = tmp_path.glob(f"{STREAMS}/r1/*.head")
    head = decode_head(head_path.read_bytes(), "head")
    head_path.write_bytes(head_path.read_bytes().replace(b'"records":5', b'"records":4'))
    (forged,) = verify_model(tmp_path, KEY)

    assert [f"{path} is not the file that compaction wrote."] == list(changed.faults)
    assert [f"{path} is missing."] == list(gone.faults)
    assert [f"{head_path} was not signed with this key."] == list(forged.faults)
    assert 5 == head.records


def test_one_compaction_at_a_time(tmp_path: Path, bundle: Bundle) -> None:
    """A second one is refused by name, and may run after the first."""
    write_log(tmp_path, scored_records(bundle, 2))
    lock = Disk().lock(tmp_path / STREAMS / "lock")
    with pytest.raises(StoreConflict, match="Another compaction"):
        compact(tmp_path, bundle)
    Disk().close(lock)

    assert 2 == compact(tmp_path, bundle).rows


def test_a_jumping_clock_is_marked(tmp_path: Path, bundle: Bundle) -> None:
    """A wall clock that jumps by an hour marks the records that it was wrong for."""
    records = scored_records(bundle, 9)
    records[4] = msgspec.structs.replace(records[4], received_us=records[4].received_us + 3_600_000_000)
    write_log(tmp_path, records, segment_bytes=1 << 20)
    compact(tmp_path, bundle)

    assert ["q-4"] == [row["request_id"] for row in log_rows(tmp_path) if row["clock_suspect"]]


@pytest.mark.parametrize("forms", [("keep", "keep", "keep"), ("hash", "drop", "hash")])
def test_every_type_of_cell_survives(tmp_path: Path, bundle: Bundle, forms: tuple[Any, Any, Any]) -> None:
    """Times, dates, large numbers, NaN, missing cells and marked columns come back as the contract says."""
    from twinscore.audit.masking import masker

    types: dict[str, pa.DataType] = {
        "i": pa.int64(),
        "f": pa.float64(),
        "b": pa.bool_(),
        "s": pa.string(),
        "z": pa.timestamp("us", "UTC"),
        "n": pa.timestamp("us"),
        "d": pa.date32(),
    }
    contract = replace(bundle.contract, columns=tuple(Column(name, kind) for name, kind in types.items()), key=("i",))
    marked = dict(zip(("i", "s", "d"), forms, strict=True))
    columns = tuple(replace(column, audit=marked.get(column.name, "keep")) for column in contract.columns)
    contract = replace(contract, columns=columns)
    cells: list[list[Any]] = [
        [2**62, 1.5, True, "ä", datetime(1900, 1, 1, 1, 2, 3, 456789, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, 6),
         date(1969, 7, 20)],
        [None] * 7,
        [-1, math.nan, False, "", datetime(2200, 1, 1, tzinfo=UTC), datetime(1, 1, 1), date(2026, 1, 1)],
    ]  # fmt: skip
    mask = masker(contract, b"salt")
    outputs = [0.5, "no", None, None, ["no"], 0.5, False, None, {"age": 0.25}]
    record = record_of(
        bundle,
        "q-1",
        contract_digest=contract.digest,
        rows=[mask(row) for row in cells],
        outputs=[outputs] * 3,
    )
    write_log(tmp_path, [record])
    compact_model(tmp_path, KEY, lambda _: contract)
    (path,) = tmp_path.glob("date=*/*.parquet")
    table = pq.read_table(path)
    found = {name: table.column(f"feature_{name}").to_pylist() for name in types if name != "s" or "drop" not in forms}

    assert ['{"age":0.25}'] * 3 == table.column("explanation").to_pylist()
    assert [cells[0][4], None, cells[2][4]] == found["z"]
    assert [cells[0][5], None, cells[2][5]] == found["n"]
    assert [1.5, None] == found["f"][:2]
    assert math.isnan(found["f"][2])
    if "hash" in forms:
        assert "feature_s" not in table.column_names
        assert [32, None, 32] == [value and len(value) for value in found["d"]]
        assert pa.string() == table.schema.field("feature_i").type
        assert len({value for value in found["i"] if value}) == 2
    else:
        assert [row[6] for row in cells] == found["d"]
        assert [row[0] for row in cells] == found["i"]
        assert [row[3] for row in cells] == found["s"]


def test_repeats_are_looked_for_around_their_time(tmp_path: Path, bundle: Bundle) -> None:
    """A request id that comes again a day later is another request, unless the span is made longer."""
    first = scored_records(bundle, 1)
    again = [msgspec.structs.replace(first[0], received_us=first[0].received_us + 86_400_000_000)]
    write_log(tmp_path, first, stream="r1")
    compact(tmp_path, bundle)
    write_log(tmp_path, again, stream="r2")
    kept = compact(tmp_path, bundle)
    write_log(tmp_path, again, stream="r3")
    span = compact(tmp_path, bundle, repeats_within_s=timedelta(days=2).total_seconds())

    assert (1, 0) == (kept.rows, kept.collapsed)
    assert (0, 1) == (span.rows, span.collapsed)
