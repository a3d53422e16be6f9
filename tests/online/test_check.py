"""Parity between both paths: nothing to report where they agree, the one bit where they do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.errors import FileUnreadable, InputEmpty, ModelNotReady, PredictFailed
from twinscore.online.check import _first_rows, compare_paths, run_parity
from twinscore.online.client import PredictClient
from twinscore.scoring.parity import StoredScores
from twinscore.scoring.table import check_and_score
from twinscore.settings import Settings

from .conftest import ask

Change = Callable[[dict[str, Any]], None]


def client_of(trained: Any, change: Change | None = None) -> PredictClient:
    """Return a client whose server is the endpoint itself, with each 200 passed through `change`."""

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/version"):
            return httpx.Response(200, json=trained.endpoint.facts())
        answer = ask(trained.endpoint, request.content, request.headers["content-type"])
        if answer.status != 200 or change is None:
            return httpx.Response(answer.status, content=answer.body)
        document = msgspec.json.decode(answer.body)
        change(document)
        return httpx.Response(200, content=msgspec.json.encode(document))

    return PredictClient("http://serve/m", retries=0, transport=httpx.MockTransport(handler))


def with_value(table: pa.Table, row: int, name: str, value: object) -> pa.Table:
    column = table[name].to_pylist()
    column[row] = value
    return table.set_column(table.column_names.index(name), name, pa.array(column, table[name].type))


def test_both_paths_agree(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows alone and rows in groups: no differing bit, no differing verdict, every row counted."""
    monkeypatch.setattr("twinscore.online.exchange._SINGLE_ROWS", 50)
    seen: list[tuple[int, int]] = []
    with client_of(trained) as client:
        found = compare_paths(client, trained.table, trained.bundle, progress=lambda *step: seen.append(step))

    assert (True, 0, trained.table.num_rows) == (found.equal, found.n_refused, found.report.rows)
    assert (50, True) == (found.n_single, found.n_requests > 50)
    assert (trained.table.num_rows,) * 2 == seen[-1]


def test_rows_that_both_refuse_are_no_difference(binary: Any) -> None:
    """A refused category, a missing key and an infinite number are refused by both paths."""
    table = with_value(binary.table, 3, "plan", "yacht")
    table = with_value(table, 5, "row_id", None)
    table = with_value(table, 9, "debt", math.inf)
    with client_of(binary) as client:
        found = compare_paths(client, table, binary.bundle)

    assert (True, 3, table.num_rows - 3) == (found.equal, found.n_refused, found.report.rows)


def test_one_differing_bit_is_found(binary: Any) -> None:
    """The next float instead of the score, in one row of all, makes the check fail and is described."""
    key = binary.rows[17]["row_id"]

    def nudge(document: dict[str, Any]) -> None:
        for prediction in document["predictions"]:
            if prediction["key"]["row_id"] == key:
                prediction["score"] = math.nextafter(prediction["score"], 2.0)

    with client_of(binary, nudge) as client:
        found = compare_paths(client, binary.table, binary.bundle)

    assert (False, 1, 0) == (found.equal, found.report.differing_rows, len(found.verdicts_differ))
    assert found.report.differing_bits >= 1
    assert "score" in str(found.report.first)


@pytest.mark.parametrize("single", [4000, 0], ids=["alone", "in groups"])
def test_a_row_that_only_one_path_refuses_is_found(binary: Any, monkeypatch: pytest.MonkeyPatch, single: int) -> None:
    """Where the endpoint refuses what the batch path scored, the row is named and the others still compared."""
    monkeypatch.setattr("twinscore.online.exchange._SINGLE_ROWS", single)
    key = f'"{binary.rows[17]["row_id"]}"'.encode()

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/version"):
            return httpx.Response(200, json=binary.endpoint.facts())
        if key in request.content:
            return httpx.Response(422, json={"detail": "no"})
        return httpx.Response(200, content=ask(binary.endpoint, request.content).body)

    with PredictClient("http://serve/m", transport=httpx.MockTransport(handler)) as client:
        found = compare_paths(client, binary.table, binary.bundle)

    assert (False, (17,), binary.table.num_rows - 1) == (found.equal, found.verdicts_differ, found.report.rows)


def test_a_run_is_compared_with_what_it_has_on_disk(
    binary: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored scores that agree are no difference; one bit of them, and a run of another version, are."""
    _, scores = check_and_score(binary.table, binary.bundle)
    positions = tuple(range(binary.table.num_rows))
    stored = StoredScores("members", "1", "r", binary.bundle.digest, binary.table, scores, positions, 2)
    nudged = pa.array([math.nextafter(scores["score"][0].as_py(), 2.0), *scores["score"].to_pylist()[1:]])
    other = replace(stored, scores=scores.set_column(0, "score", nudged))
    settings = Settings(home=tmp_path)
    monkeypatch.setattr("twinscore.online.check.PredictClient", lambda url, **_: client_of(binary))

    same = run_parity(settings, stored, url="http://serve/m")
    differs = run_parity(settings, other, url="http://serve/m")
    with pytest.raises(ModelNotReady, match="run r was scored by version 1"):
        run_parity(settings, replace(stored, bundle_digest="0" * 64), url="http://serve/m")

    assert (True, binary.table.num_rows, 2) == (same.equal, same.report.rows, same.n_by_key)
    assert (False, 1, True) == (differs.equal, differs.report.differing_rows, "score" in str(differs.report.first))


def test_a_change_of_version_ends_the_comparison(binary: Any) -> None:
    """Answers of another version are not compared with this one's."""

    def promote(document: dict[str, Any]) -> None:
        document["version"] = "99"

    with client_of(binary, promote) as client, pytest.raises(PredictFailed, match="changed from version"):
        compare_paths(client, binary.table, binary.bundle)


def test_input_is_read_from_a_file_a_folder_or_a_glob(binary: Any, tmp_path: Path) -> None:
    """The first rows come in order of the files' names; hidden and underscored folders are left out."""
    for name, part in (("b", slice(10, 20)), ("a", slice(0, 10)), ("_quarantine/c", slice(20, 30))):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(binary.table.slice(part.start, 10), path)
    first = binary.table.slice(0, 15)

    assert first == _first_rows(tmp_path, 15, binary.bundle)
    assert first == _first_rows(tmp_path / "*.parquet", 15, binary.bundle)
    assert binary.table.slice(10, 10) == _first_rows(tmp_path / "b.parquet", 15, binary.bundle)


def test_unusable_input_is_named(binary: Any, tmp_path: Path) -> None:
    """No file, a file that is no Parquet, and no rows are told apart."""
    (tmp_path / "text.parquet").write_text("not parquet")
    pq.write_table(binary.table.slice(0, 0), tmp_path / "none.parquet")

    with pytest.raises(FileUnreadable, match="no Parquet file"):
        _first_rows(tmp_path / "absent", 5, binary.bundle)
    with pytest.raises(FileUnreadable, match="cannot be read"):
        _first_rows(tmp_path / "text.parquet", 5, binary.bundle)
    with pytest.raises(InputEmpty, match="no rows"):
        _first_rows(tmp_path / "none.parquet", 5, binary.bundle)
