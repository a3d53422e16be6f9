"""Replay: what was answered is answered again, to the bit, from segments and from Parquet; what was changed shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from twinscore.audit.compaction import compact_model
from twinscore.audit.find import find_request, last_entries
from twinscore.audit.operate import load_known, open_log, replay_request
from twinscore.audit.replay import replay_rows
from twinscore.bundle.files import Bundle
from twinscore.errors import FileUnreadable, ModelNotFound

from .logs import KEY, bulk_record, log_rows, record_of, scored_records, write_log


def test_thousands_of_rows_are_equal(tmp_path: Path, bundle: Bundle) -> None:
    """Every row of a compacted log is scored again with the same bits."""
    records = scored_records(bundle, 1_000, rows_each=3)
    write_log(tmp_path, [*records, bulk_record(bundle, "bulk-1", 400)], batch=50, segment_bytes=200_000)
    compact_model(tmp_path, KEY, lambda _: bundle.contract)
    tables = [pa.parquet.read_table(path) for path in tmp_path.glob("date=*/*.parquet")]
    answers = [replay_rows(table, bundle) for table in tables]

    assert [()] * len(answers) == [answer.differences for answer in answers]
    assert (3_399, 1) == (sum(answer.rows for answer in answers), sum(answer.refused for answer in answers))


def test_a_request_is_found_before_and_after_compaction(tmp_path: Path, bundle: Bundle) -> None:
    """The same answer from the segment and from the Parquet file; an unknown id is refused."""
    write_log(tmp_path, [*scored_records(bundle, 30), bulk_record(bundle, "bulk-1", 20)])
    before = [replay_request(tmp_path, name, lambda _: bundle.folder) for name in ("q-17", "bulk-1")]
    tables = find_request(tmp_path, "q-17", lambda _: bundle.contract)
    compact_model(tmp_path, KEY, lambda _: bundle.contract)
    after = [replay_request(tmp_path, name, lambda _: bundle.folder) for name in ("q-17", "bulk-1")]
    with pytest.raises(ModelNotFound, match="has no request 'q-99'"):
        replay_request(tmp_path, "q-99", lambda _: bundle.folder)

    assert before == after
    assert [[(1, ())], [(19, ())]] == [[(answer.rows, answer.differences) for answer in each] for each in after]
    assert tables[0].to_pylist() == find_request(tmp_path, "q-17", lambda _: bundle.contract)[0].to_pylist()


def test_what_was_changed_is_shown(tmp_path: Path, bundle: Bundle) -> None:
    """One bit of a recorded score, and the output is named with both values."""
    (record,) = scored_records(bundle, 1)
    outputs = list(record.outputs[0] or [])
    import numpy as np

    changed = [float(np.nextafter(outputs[0], 1.0)), *outputs[1:]]
    write_log(tmp_path, [msgspec.structs.replace(record, outputs=[changed])])
    (answer,) = replay_request(tmp_path, "q-0", lambda _: bundle.folder)

    assert [("q-0", 0, "score", changed[0], outputs[0])] == [
        (item.request_id, item.row, item.output, item.recorded, item.replayed) for item in answer.differences
    ]


def test_what_cannot_be_scored_again_says_why(tmp_path: Path, bundle: Bundle) -> None:
    """Hashed columns, refusals and foreign versions are told apart from equal answers."""
    (record,) = scored_records(bundle, 1)
    hashed = replace(
        bundle.contract,
        columns=tuple(
            replace(column, audit="hash" if column.name == "city" else "keep") for column in bundle.contract.columns
        ),
    )
    write_log(tmp_path, [record, record_of(bundle, "refused-1", status=422, rows=[None], outputs=[None])])
    rows = find_request(tmp_path, "q-0", lambda _: bundle.contract)[0]
    masked = replay_rows(rows, replace(bundle, contract=hashed))
    foreign = replay_rows(rows, replace(bundle, digest="f" * 64))
    (refused,) = replay_request(tmp_path, "refused-1", lambda _: bundle.folder)

    assert "the log has no values of city: the contract hashes or drops them" == masked.unable
    assert f"rows are of bundle {bundle.digest[:12]}, not ffffffffffff" == foreign.unable
    assert (0, 1, "no row was scored") == (refused.rows, refused.refused, refused.unable)


def test_the_latest_requests_are_shown_oldest_first(tmp_path: Path, bundle: Bundle) -> None:
    """Over all streams, by their time."""
    records = scored_records(bundle, 10)
    write_log(tmp_path, records[::2], stream="a")
    write_log(tmp_path, records[1::2], stream="b")

    assert ["q-6", "q-7", "q-8", "q-9"] == [entry.record.request_id for entry in last_entries(tmp_path, 4)]
    assert [] == log_rows(tmp_path)


def test_a_log_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A mistyped model is offered the near one; a file of something else is not what was known."""
    (tmp_path / "audit" / "loans").mkdir(parents=True)
    other = tmp_path / "known.json"
    other.write_text("{}")

    with pytest.raises(ModelNotFound, match="Did you mean 'loans'"):
        open_log(tmp_path, "loan")
    with pytest.raises(FileUnreadable, match="is not what"):
        load_known(tmp_path / "absent.json")
    assert {} == load_known(other)
