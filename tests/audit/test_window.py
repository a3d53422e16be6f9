"""Windows of the log: every row once, before, while and after compaction takes it; a candidate scores what is there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from twinscore.audit.candidate import replay_candidate, unreadable
from twinscore.audit.compaction import compact_model
from twinscore.audit.pairs import answered_rows, join_shadow, main_version, shadow_rows
from twinscore.audit.places import STREAMS, file_name
from twinscore.audit.window import Piece, Window, pieces_of, read_piece
from twinscore.bundle.files import Bundle
from twinscore.errors import AuditDamaged
from twinscore.scoring.table import score
from twinscore.testing.models import make_bundle, make_rows

from .logs import KEY, MORNING_US, bulk_record, record_of, scored_records, write_log


@pytest.fixture(scope="session")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Another version with the same columns."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "candidate", trees=5)


def read_all(folder: Path, bundle: Bundle, window: Window | None = None, **more: Any) -> pa.Table:
    options = {"window": window or Window(), "roles": ["live"], **more}
    tables = [
        table
        for piece in pieces_of(folder)
        for table in read_piece(folder, piece, lambda _: bundle.contract, **options)
    ]
    return pa.concat_tables(tables).sort_by([("request_id", "ascending"), ("row", "ascending")])


def test_a_window_is_the_same_before_and_after_compaction(tmp_path: Path, bundle: Bundle) -> None:
    """Single rows and bulk, of a part of the time; refusals that read no row and other roles are not in it."""
    records = [*scored_records(bundle, 60), bulk_record(bundle, "bulk-30", 20)]
    records += [record_of(bundle, "bad-31", status=400, contract_digest=""), record_of(bundle, "s-32", role="shadow")]
    write_log(tmp_path, records)
    start = datetime.fromtimestamp(MORNING_US / 1e6, UTC)
    window = Window(start + timedelta(milliseconds=20), start + timedelta(milliseconds=40))
    before, whole = read_all(tmp_path, bundle, window), read_all(tmp_path, bundle)
    compact_model(tmp_path, KEY, lambda _: bundle.contract)
    after = read_all(tmp_path, bundle, window)

    assert (40, 80) == (before.num_rows, whole.num_rows)
    assert before.to_pylist() == after.to_pylist()


def test_a_segment_that_compaction_takes_meanwhile_is_found(tmp_path: Path, bundle: Bundle) -> None:
    """Pieces that were listed before are read from where their rows went."""
    write_log(tmp_path, scored_records(bundle, 50))
    listed = pieces_of(tmp_path)
    compact_model(tmp_path, KEY, lambda _: bundle.contract)
    tables = [
        table
        for piece in listed
        for table in read_piece(tmp_path, piece, lambda _: bundle.contract, window=Window(), roles=["live"])
    ]

    assert 50 == sum(table.num_rows for table in tables)
    assert [] == read_piece(tmp_path, Piece("r1", 99), lambda _: bundle.contract, window=Window(), roles=["live"])


def test_damage_is_told(tmp_path: Path, bundle: Bundle) -> None:
    """A segment that cannot be read raises, or is told of and left out."""
    write_log(tmp_path, scored_records(bundle, 50))
    path = tmp_path / STREAMS / "r1" / file_name(1, "segment")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    told: list[AuditDamaged] = []
    left = read_all(tmp_path, bundle, on_damage=told.append)
    with pytest.raises(AuditDamaged):
        read_all(tmp_path, bundle)

    assert 1 == len(told)
    assert 0 < left.num_rows < 50


def test_answers_and_shadows_are_joined_row_by_row(tmp_path: Path, bundle: Bundle, candidate: Bundle) -> None:
    """By request and place, once each although a request was recorded twice; units are entities."""
    live = scored_records(bundle, 40, rows_each=2)
    shadows = [
        msgspec.structs.replace(
            one, role="shadow", version="4", bundle_digest=candidate.digest, took_us=900, call_rows=3
        )
        for one in live[:30]
    ]
    write_log(tmp_path, [*live, live[3], *shadows, shadows[3]])
    rows = read_all(tmp_path, bundle, roles=["live", "shadow"])
    both = [rows.filter([role == name for role in rows["role"].to_pylist()]) for name in ("live", "shadow")]
    pairs = join_shadow(answered_rows(both[0], bundle.contract.key, ["city"]), shadow_rows(both[1]))

    assert (82, 62, 60) == (both[0].num_rows, both[1].num_rows, pairs.num_rows)
    assert pairs["live_score"].to_pylist() == pairs["candidate_score"].to_pylist()
    assert 60 == len(set(pairs["unit"].to_pylist()))
    assert ({300.0}, bundle.digest) == (set(pairs["candidate_row_us"].to_pylist()), main_version(pairs))
    assert "feature_city" in pairs.column_names


def test_a_candidate_scores_the_window(tmp_path: Path, bundle: Bundle, candidate: Bundle) -> None:
    """Every scored row gets the bits that the candidate gives it in bulk, and both times."""
    write_log(tmp_path, [*scored_records(bundle, 300), bulk_record(bundle, "bulk-1", 50)])
    rows = read_all(tmp_path, bundle)
    found = replay_candidate(rows, bundle.contract, candidate, live=bundle, columns=["plan"], block="b")
    assert found.pairs is not None
    features = bundle.checker.conform(make_rows("binary", 300, 5).drop_columns(["label"]))
    wanted = dict(zip(features["row_id"].to_pylist(), score(features, candidate)["score"].to_pylist(), strict=True))
    mine = found.pairs.filter([name in wanted for name in found.pairs["unit"].to_pylist()])

    assert (349, 0, 0, "") == (found.pairs.num_rows, found.refused, found.cached, found.unable)
    assert [wanted[name] for name in mine["unit"].to_pylist()] == mine["candidate_score"].to_pylist()
    assert all(value > 0 for name in ("live_row_us", "candidate_row_us") for value in found.pairs[name].to_pylist())


def test_what_the_log_does_not_have_is_named(tmp_path: Path, bundle: Bundle, candidate: Bundle) -> None:
    """A hashed column that the candidate reads ends it; one that nobody reads does not, and its rules are not asked."""
    write_log(tmp_path, scored_records(bundle, 40))
    rows = read_all(tmp_path, bundle)

    def hiding(name: str) -> Any:
        columns = tuple(replace(one, audit="drop" if one.name == name else "keep") for one in bundle.contract.columns)
        return replace(bundle.contract, columns=columns)

    read = replay_candidate(rows, hiding("city"), candidate, live=None, columns=[], block="b")
    key = replay_candidate(rows, hiding("row_id"), candidate, live=None, columns=[], block="b")
    without = replace(bundle.contract, columns=tuple(one for one in bundle.contract.columns if one.name != "plan"))

    assert read.pairs is None
    assert "no values of city" in read.unable
    assert key.pairs is not None
    assert (40, 0) == (key.pairs.num_rows, key.refused)
    assert key.pairs["live_row_us"].null_count == 40
    assert "reads plan, which the requests did not have" in unreadable(without, candidate)


def test_rows_of_a_batch_run_and_refused_ones_are_counted(tmp_path: Path, bundle: Bundle, candidate: Bundle) -> None:
    """Cached answers are not replayed; rows that the candidate's contract refuses have no pair."""
    records = scored_records(bundle, 20)
    records[0] = msgspec.structs.replace(records[0], source="cache", run_id="r", age_s=1.0)
    age = [column.name for column in bundle.contract.columns].index("age")
    cells = [list(row) if row else row for row in records[1].rows]
    assert cells[0] is not None
    cells[0][age] = -5
    records[1] = msgspec.structs.replace(records[1], rows=cells)
    write_log(tmp_path, records)
    found = replay_candidate(read_all(tmp_path, bundle), bundle.contract, candidate, live=None, columns=[], block="b")
    assert found.pairs is not None

    assert (18, 1, 1) == (found.pairs.num_rows, found.refused, found.cached)
