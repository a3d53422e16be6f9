"""Commands of the audit log: look, prove, compact and replay, over a small real model."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from twinscore.adapters.bundle_folder import BundleFolder
from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_key
from twinscore.audit.places import STREAMS, model_folder
from twinscore.audit.record import AuditRecord, encode_record, outputs_of
from twinscore.audit.writer import SegmentWriter
from twinscore.cli.main import app
from twinscore.scoring.table import check_and_score
from twinscore.testing.models import make_bundle, make_rows


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "250"})


def records_of(home: Path) -> list[AuditRecord]:
    """Publish a bundle and return twelve answers of it; another answer to the last is the thirteenth."""
    bundle = make_bundle(home / "made")
    BundleFolder(home / "lake" / "bundles").publish(bundle.folder)
    table = bundle.checker.conform(make_rows("binary", 12, 3).drop_columns(["label"]))
    _, scored = check_and_score(table, bundle)
    records = [
        AuditRecord(
            f"q-{number}", "live", 1_767_261_600_000_000 + number, number, 200, 200, model="loans", version="1",
            bundle_digest=bundle.digest, contract_digest=bundle.contract_digest, rows=[list(row.values())],
            outputs=[outputs_of(outputs)],
        )
        for number, (row, outputs) in enumerate(zip(table.to_pylist(), scored.to_pylist(), strict=True))
    ]  # fmt: skip
    other = msgspec.structs.replace(records[-1], outputs=[[0.25, *(records[-1].outputs[0] or [])[1:]]])
    return [*records, other]


@pytest.fixture
def folder(home: Path) -> Path:
    """The audit log of a model `loans`, with one sealed segment."""
    place = model_folder(home / "lake", "loans")
    writer = SegmentWriter(place / STREAMS, stream="r1", key=load_secret(audit_key(home)), reserve_bytes=1)
    writer.commit([encode_record(record) for record in records_of(home)])
    writer.close()
    return place


def test_the_life_of_a_log(folder: Path) -> None:
    """Looked at, proved, replayed, compacted with an alarm for the two answers, and proved and replayed again."""
    tail = invoke("audit", "tail", "loans", "--limit", "2", "--json")
    shown = invoke("audit", "tail", "loans")
    whole = invoke("audit", "verify", "loans")
    known = invoke("audit", "verify", "loans", "--json")
    (folder / "known.json").write_text(known.stdout)
    before = invoke("audit", "replay", "loans", "q-3")
    compacted = invoke("audit", "compact", "loans")
    again = invoke("audit", "compact", "loans", "--json")
    after = invoke("audit", "replay", "loans", "q-3")
    differs = invoke("audit", "replay", "loans", "q-11", "--json")
    proved = invoke("audit", "verify", "loans", "--known", folder / "known.json")

    assert ["q-11", "q-11"] == [json.loads(line)["request_id"] for line in tail.stdout.splitlines()]
    assert "q-7" in shown.stdout
    assert "whole r1: 13 records in 1 segments" in whole.stdout
    assert 13 == json.loads(known.stdout)[0]["records"]
    assert "Equal: 1 rows" in before.stdout
    assert before.stdout == after.stdout
    assert 1 == compacted.exit_code
    assert "Compacted 1 segments to 13 rows" in compacted.stdout
    assert "two different answers: q-11" in compacted.stdout
    assert (0, 0) == (again.exit_code, json.loads(again.stdout)["rows"])
    assert ["score"] == [item["output"] for answer in json.loads(differs.stdout) for item in answer["differences"]]
    assert [1, 0, 0] == [differs.exit_code, after.exit_code, proved.exit_code]


def test_a_touched_log_is_named_with_exit_code_1(folder: Path) -> None:
    """One byte of a record, and `verify` fails with the file and the record."""
    (path,) = folder.glob(f"{STREAMS}/r1/*.segment")
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    proved = invoke("audit", "verify", "loans")
    tail = invoke("audit", "tail", "loans")

    assert 1 == proved.exit_code
    assert "damaged r1" in proved.stdout
    assert f"{path} is damaged at byte" in proved.stdout
    assert "record 1 is cut or changed" in proved.stdout
    assert f"{path} is damaged" in tail.stderr


def test_old_days_are_removed_as_the_deployment_says(folder: Path, home: Path) -> None:
    """Shown first, then removed; held days and a deployment that says nothing remove nothing; `replay` says why."""
    spec, silent, held = home / "loans.yaml", home / "silent.yaml", home / "held.yaml"
    spec.write_text("model: loans\naudit: {keep: 30d}\n")
    silent.write_text("model: loans\n")
    held.write_text(
        "model: loans\naudit:\n  keep: 30d\n  holds:\n    - {first: 2026-01-01, last: 2026-01-31, why: case 17}\n"
    )
    invoke("audit", "compact", "loans")
    refused = invoke("audit", "expire", "loans", "--spec", silent)
    kept = invoke("audit", "expire", "loans", "--spec", held)
    dry = invoke("audit", "expire", "loans", "--spec", spec, "--dry-run", "--json")
    removed = invoke("audit", "expire", "loans", "--spec", spec, "--by", "ann")
    proved = invoke("audit", "verify", "loans")
    replayed = invoke("audit", "replay", "loans", "q-3")

    assert (1, True) == (refused.exit_code, "`audit.keep`" in refused.stderr)
    assert "Removed 0 days" in kept.stdout
    assert "2026-01-01: 13 rows in 1 files; stays, held: case 17" in kept.stdout
    assert (True, 13) == (json.loads(dry.stdout)["dry_run"], json.loads(dry.stdout)["days"][0]["rows"])
    assert "Removed 1 days" in removed.stdout
    assert "whole r1: 13 records in 1 segments, 13 rows removed on purpose" in proved.stdout
    assert 1 == replayed.exit_code
    assert "It may be among the 13 rows received from 2026-01-01 to 2026-01-01" in replayed.stderr
    assert "by ann: kept for 30d." in replayed.stderr


def test_the_job_removes_old_days_too(
    folder: Path, home: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a deployment file the job goes on to what is old."""
    spec = home / "loans.yaml"
    spec.write_text("model: loans\naudit: {keep: 30d}\n")
    script = repository / "jobs" / "compact_audit.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--model", "loans", "--spec", str(spec)])
    with pytest.raises(SystemExit):
        runpy.run_path(str(script), run_name="__main__")
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]

    compacted, expired = [line for line in lines if line.get("event") in ("compacted", "expired")]

    assert (13, 13) == (compacted["rows"], expired["days"][0]["rows"])
    assert [] == list(folder.glob("date=*"))


def test_the_job_compacts(
    folder: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The job does what the command does, and prints one line of JSON; a model without a log fails by name."""
    script = repository / "jobs" / "compact_audit.py"
    codes = []
    for model in ("loans", "loan"):
        monkeypatch.setattr(sys, "argv", [str(script), "--model", model])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(script), run_name="__main__")
        codes.append(ended.value.code)
    printed = capfd.readouterr()
    done = json.loads([line for line in printed.out.splitlines() if line.startswith("{")][-1])
    failed = json.loads(printed.err.splitlines()[-1])

    assert [1, 1] == codes
    assert ("compacted", 13, ["q-11"]) == (done["event"], done["rows"], done["conflicts"])
    assert ("model_not_found", True) == (failed["code"], "Did you mean 'loans'" in failed["message"])
    assert list(folder.glob("date=2026-01-01/part-r1-0000000001-*.parquet"))
