"""The contract that records stand under is found by its own digest: a canary's bundle may have another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from twinscore.adapters.bundle_folder import BundleFolder
from twinscore.audit.compaction import compact_model
from twinscore.audit.find import find_request
from twinscore.audit.operate import contracts_in
from twinscore.audit.window import Window, pieces_of, read_piece
from twinscore.bundle.files import Bundle
from twinscore.contract.model import Contract
from twinscore.errors import BundleInvalid
from twinscore.testing.models import make_bundle

from .logs import KEY, log_rows, scored_records, write_log

CANARY: dict[str, Any] = {"bundle_digest": "c" * 64, "role": "canary", "arm": "canary", "assigned": "canary"}


def swapped(contract: Contract) -> Contract:
    """Return a contract with two columns of text the other way round."""
    columns = list(contract.columns)
    columns[6], columns[7] = columns[7], columns[6]
    return replace(contract, columns=tuple(columns))


def cells(rows: list[dict[str, Any]]) -> dict[str, tuple[Any, Any]]:
    return {row["request_id"]: (row["feature_city"], row["feature_plan"]) for row in rows}


@pytest.mark.parametrize("canary_first", [True, False])
def test_a_canarys_cells_are_those_of_the_live_contract(tmp_path: Path, bundle: Bundle, canary_first: bool) -> None:
    """Found alone, read in a window and compacted, its rows have the cells that were recorded."""
    live = scored_records(bundle, 4)
    canary = [msgspec.structs.replace(record, **CANARY) for record in scored_records(bundle, 4, prefix="can")]
    records = canary + live if canary_first else live + canary
    other = swapped(bundle.contract)
    write_log(tmp_path, records, segment_bytes=1 << 20)

    def contract_of(digest: str) -> Contract:
        return other if digest == CANARY["bundle_digest"] else bundle.contract

    roles = ["live", "canary"]
    found = [find_request(tmp_path, record.request_id, contract_of)[0].to_pylist()[0] for record in records]
    pieces = pieces_of(tmp_path)
    tables = [read_piece(tmp_path, piece, contract_of, window=Window(), roles=roles) for piece in pieces]
    read = [row for piece in tables for table in piece for row in table.to_pylist()]
    compact_model(tmp_path, KEY, contract_of)
    expected = {record.request_id: tuple((record.rows[0] or [])[6:8]) for record in records}

    assert [expected] * 3 == [cells(found), cells(read), cells(log_rows(tmp_path))]


def test_a_contract_that_no_named_bundle_has_is_looked_for_in_the_store(tmp_path: Path, bundle: Bundle) -> None:
    """A segment of a canary's records alone is compacted as soon as a version with the live contract is there."""
    store = BundleFolder(tmp_path / "bundles")
    canary = make_bundle(tmp_path / "canary", "multiclass", trees=2)
    changes = {**CANARY, "bundle_digest": store.publish(canary.folder)}
    write_log(tmp_path / "log", [msgspec.structs.replace(record, **changes) for record in scored_records(bundle, 5)])
    contract_of = contracts_in(store.path, store.digests)
    waiting = compact_model(tmp_path / "log", KEY, contract_of)
    with pytest.raises(BundleInvalid, match=f"{bundle.contract_digest[:12]}, which no bundle here has"):
        find_request(tmp_path / "log", "q-3", contract_of)
    store.publish(bundle.folder)
    found = find_request(tmp_path / "log", "q-3", contract_of)
    done = compact_model(tmp_path / "log", KEY, contract_of)

    assert (0, True) == (waiting.rows, "no bundle here has" in "".join(waiting.waiting))
    assert [1] == [table.num_rows for table in found]
    assert (5, ()) == (done.rows, done.waiting)


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path, bundle: Bundle) -> None:
    """Without the version that answered, and without its contract elsewhere, the message says which to load."""
    store = BundleFolder(tmp_path / "bundles")
    write_log(tmp_path / "log", scored_records(bundle, 1))
    with pytest.raises(BundleInvalid, match=f"No bundle {bundle.digest[:12]}"):
        find_request(tmp_path / "log", "q-0", contracts_in(store.path, store.digests))
