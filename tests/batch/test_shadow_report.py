"""Reports on a candidate: from a shadow's records and from a replay of the same window, which must agree."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from twinscore.audit.compaction import compact_model
from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_key, contracts_in
from twinscore.audit.places import STREAMS, model_folder
from twinscore.audit.record import AuditRecord, encode_record, outputs_of
from twinscore.audit.window import Window, pieces_of
from twinscore.audit.writer import SegmentWriter
from twinscore.batch.replay_shadow import ReplayJob, ReplayPiece
from twinscore.batch.shadow_report import shadow_report
from twinscore.bundle.files import Bundle
from twinscore.cli.main import app
from twinscore.errors import InputEmpty, SettingsInvalid
from twinscore.scoring.table import score
from twinscore.settings import Settings, load_settings
from twinscore.testing.models import make_bundle, make_rows
from twinscore.wiring import bundle_store, model_store

N_ROWS = 300
START_US = 1_767_261_600_000_000
ALL = Window()


@pytest.fixture(scope="session")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Another version of the model, with fewer trees."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "candidate", trees=4)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a home that the module shares: a registry takes seconds to be made."""
    return load_settings(home=tmp_path_factory.mktemp("home"), num_cpus=2)


@pytest.fixture(scope="module")
def logged(settings: Settings, bundle: Bundle, candidate: Bundle) -> Path:
    """Both versions registered, and a log of answers of version 1 with what version 2 made of most of them."""
    store = model_store(settings)
    for one in (bundle, candidate):
        store.register("loans", one.folder, metrics={}, params={}, tags={"twinscore.bundle_digest": one.digest})
        bundle_store(settings).publish(one.folder)
    table = bundle.checker.conform(make_rows("binary", N_ROWS, 3).drop_columns(["label"]))
    cells = [list(row.values()) for row in table.to_pylist()]
    outputs = [[outputs_of(row) for row in score(table, one).to_pylist()] for one in (bundle, candidate)]
    records = []
    for number in range(N_ROWS):
        facts: dict[str, Any] = {"model": "loans", "rows": [cells[number]], "contract_digest": bundle.contract_digest}
        when = (START_US + number * 1_000_000, number * 1_000_000_000, 400 + number % 7, 200)
        records.append(AuditRecord(f"q-{number}", "live", *when, version="1", bundle_digest=bundle.digest,
                                   outputs=[outputs[0][number]], **facts))  # fmt: skip
        if number % 10:
            records.append(AuditRecord(f"q-{number}", "shadow", *when, version="2", bundle_digest=candidate.digest,
                                       outputs=[outputs[1][number]], call_rows=4, **facts))  # fmt: skip
    folder = model_folder(settings.lake, "loans")
    writer = SegmentWriter(folder / STREAMS, stream="r1", key=load_secret(audit_key(settings.home)),
                           segment_bytes=30_000, reserve_bytes=1024)  # fmt: skip
    for start in range(0, len(records), 20):
        writer.commit([encode_record(record) for record in records[start : start + 20]])
    writer.close()
    return folder


def test_a_shadow_is_reported(settings: Settings, logged: Path, bundle: Bundle, candidate: Bundle) -> None:
    """Every pair of the log, before and after compaction; what has no pair is said; JSON, page and pairs are there."""
    output = settings.home / "first"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    first = shadow_report(settings, "loans", "2", output, window=ALL, segments=["plan"])
    compact_model(logged, load_secret(audit_key(settings.home)), contracts_in(bundle_store(settings).path))
    again = shadow_report(settings, "loans", "2", output, window=ALL, segments=["plan"])
    pairs = pq.read_table(output / "pairs")
    told = json.loads((output / "comparison.json").read_text())

    assert first.report["difference"] == again.report["difference"] == told["difference"]
    assert (270, 270) == (again.report["rows"]["compared"], pairs.num_rows)
    assert {"answered, and not recorded by the shadow (not sampled, dropped or failed)": "30"} == told["facts"][
        "left_out"
    ]
    assert (bundle.digest, candidate.digest) == (told["live"]["digest"], told["candidate"]["digest"])
    assert ["plan"] == [one["column"] for one in told["segments"]]
    assert told["latency"]["live"]["p50"]["value"] == pytest.approx(0.403, abs=0.002)
    assert told["cost"]["ratio"]["value"] == pytest.approx(0.25)
    assert "By plan" in (output / "comparison.html").read_text()
    assert "mine" == (output / "notes.txt").read_text()


def test_a_window_and_what_is_wrong_with_it(settings: Settings, logged: Path) -> None:
    """A part of the time has its pairs; one without any, an unknown segment and an unknown live version are named."""
    del logged
    output = settings.home / "windows"

    def report(since_s: int, until_s: int, **more: Any) -> Any:
        bounds = pa.array([START_US + one * 1_000_000 for one in (since_s, until_s)], pa.timestamp("us", "UTC"))
        return shadow_report(settings, "loans", "2", output, window=Window(*bounds.to_pylist()), **more).report

    assert 90 == report(100, 200)["rows"]["compared"]
    with pytest.raises(InputEmpty, match="nothing to compare loans/2 with"):
        report(5_000, 6_000)
    with pytest.raises(SettingsInvalid, match="Did you mean 'plan'"):
        report(0, 10, segments=["plam"])
    with pytest.raises(SettingsInvalid, match="Version 7 answered no row of the window; 1 did"):
        report(0, 100, against="7")


def test_a_piece_that_cannot_be_replayed_says_why(settings: Settings, logged: Path, tmp_path: Path) -> None:
    """A candidate whose bundle is gone is an answer of the worker's, not a stack trace of Ray's."""
    job = ReplayJob(str(logged), str(settings.lake / "bundles"), "0" * 64, str(tmp_path), ALL, ())
    piece = pieces_of(logged)[0]
    answer = ReplayPiece(job)(pa.table({"stream": [piece.stream], "segment": [piece.segment]}))

    assert "is not in the store" in json.loads(answer["answer"][0].as_py())["error"]


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
def test_a_replay_agrees_with_the_shadow(
    settings: Settings, logged: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The candidate on Ray Data gives the bits that the shadow gave; the command and the job write the same figures."""
    del logged
    monkeypatch.setenv("TWINSCORE_HOME", str(settings.home))
    shadow = shadow_report(settings, "loans", "2", settings.home / "shadow", window=ALL)
    words = ["shadow", "report", "--model", "loans", "--version", "2", "--replay", "--json"]
    ran = CliRunner().invoke(app, [*words, "--output", str(settings.home / "replay")], catch_exceptions=False)
    replayed = json.loads(ran.stdout)
    script = repository / "jobs" / "replay_shadow.py"
    monkeypatch.setattr(
        sys, "argv", [str(script), "--model", "loans", "--version", "2", "--since", "2026-01-01T10:01:40", "--until",
                      "2026-01-01T10:03:20", "--output", str(settings.home / "job")],
    )  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if '"event": "compared"' in line]
    both = [
        {
            (row["request_id"], row["row"]): (row["live_score"], row["candidate_score"], row["candidate_decision"])
            for row in pq.read_table(settings.home / name / "pairs").to_pylist()
        }
        for name in ("shadow", "replay")
    ]

    assert (0, 0) == (ran.exit_code, ended.value.code)
    assert (270, 300) == (shadow.report["rows"]["compared"], replayed["rows"]["compared"])
    assert both[0].items() <= both[1].items()
    assert (None, True) == (replayed["latency"], replayed["cost"]["ratio"]["value"] > 0)
    assert json.loads((Path(json.loads(line)["report"]) / "comparison.json").read_text())["rows"]["compared"] == 100
