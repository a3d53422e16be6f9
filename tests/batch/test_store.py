"""Input in an object store, over real HTTP."""

from __future__ import annotations

import json
import pickle
import traceback
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.batch.place import Place
from twinscore.batch.read import open_run
from twinscore.batch.run import run_version
from twinscore.batch.snapshot import take_snapshot
from twinscore.batch.spec import ScoreSpec
from twinscore.bundle.files import Bundle
from twinscore.errors import FileUnreadable, InputEmpty, SettingsInvalid, StoreConflict, StoreUnavailable
from twinscore.scoring.table import SCORE_SCHEMA
from twinscore.settings import Settings

from .conftest import Run, model_version, workers_here
from .stores import CREDENTIALS, bucket, put, s3_server

__all__ = ["bucket", "s3_server"]

WANTED = pa.schema([("id", pa.int64())])


def test_run_over_a_store_is_the_run_over_the_same_files(
    run: Run, data: Path, tmp_path: Path, bucket: tuple[str, str]
) -> None:
    """The rows, their order and the snapshot are those of a local folder; no option or secret reaches the manifest."""
    here = run()
    there = run(input=put(data, bucket, "loans"), output=str(tmp_path / "out-2"))
    text = (tmp_path / "out-2/_manifest.json").read_text()

    assert here.run_id == there.run_id
    assert pq.read_table(tmp_path / "out").drop_columns("scored_at") == pq.read_table(tmp_path / "out-2").drop_columns(
        "scored_at"
    )
    assert json.loads(text)["input"]["path"] == f"s3://{bucket[0]}/loans"
    assert [word for word in (*CREDENTIALS.values(), "endpoint_override", "127.0.0.1") if word in text] == []


@pytest.mark.cluster
def test_workers_read_a_store(
    settings: Settings, bundle: Bundle, data: Path, tmp_path: Path, bucket: tuple[str, str]
) -> None:
    """A whole run on a Ray of its own: each worker connects to the store by itself, and writes what a folder gives."""
    uri = put(data, bucket, "loans")
    spec = ScoreSpec(model="demo", input=uri, output=str(tmp_path / "out"), shard_rows=400)
    here = replace(spec, input=str(data), output=str(tmp_path / "here"))

    made = run_version(settings, spec, model_version(bundle), bundle)
    beside = run_version(settings, here, model_version(bundle), bundle, workers=workers_here)
    open_run(made.folder).verify()

    assert (beside.run_id, 3_000) == (made.run_id, made.rows_scored)
    assert open_run(beside.folder).predictions(SCORE_SCHEMA.names) == open_run(made.folder).predictions(
        SCORE_SCHEMA.names
    )
    assert f"s3://{bucket[0]}/loans" == made.manifest["input"]["path"]


def test_folder_glob_and_object_of_a_store(tmp_path: Path, bucket: tuple[str, str]) -> None:
    """An object names itself, a pattern crosses no slash, hidden and foreign names are left out of a prefix."""
    for name in ("x/a.parquet", "x/b.parquet", "x/deep/c.parquet", "x/_skip/d.parquet", "x/.e.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": [1, 2]}), tmp_path / name)
    (tmp_path / "x/read.me").write_text("x")
    put(tmp_path / "x", bucket, "x")

    def names(path: str) -> list[str]:
        source = f"s3://{bucket[0]}/{path}{bucket[1]}"
        return [file.name for file in take_snapshot(source, WANTED, contract="c").files]

    assert names("x") == ["a.parquet", "b.parquet", "deep/c.parquet"]
    assert names("x/*.parquet") == ["a.parquet", "b.parquet"]
    assert names("x/**/[bc].parquet") == ["b.parquet", "deep/c.parquet"]
    assert names("x/deep/c.parquet") == ["c.parquet"]


def test_what_is_wrong_in_a_store_is_named(tmp_path: Path, bucket: tuple[str, str]) -> None:
    """A prefix without an object, a bucket that is not there, and objects that are no Parquet: each in its words."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x/note.txt").write_text("x")
    (tmp_path / "z").mkdir()
    (tmp_path / "z/zero.parquet").write_bytes(b"")
    put(tmp_path / "x", bucket, "x")
    put(tmp_path / "z", bucket, "z")
    name, options = bucket
    for uri, kind, said in (
        (f"s3://{name}/nothing{options}", FileUnreadable, f"s3://{name}/nothing does not exist"),
        (f"s3://not-{name}/x{options}", FileUnreadable, "does not exist"),
        (f"s3://{name}/x{options}", InputEmpty, "it holds note.txt"),
        (f"s3://{name}/x/*.parquet{options}", InputEmpty, f"No object matches s3://{name}/x/*.parquet"),
        (f"s3://{name}/z{options}", FileUnreadable, "zero.parquet is empty (0 bytes)"),
    ):
        with pytest.raises(kind) as caught:
            take_snapshot(uri, WANTED, contract="c")
        assert said in caught.value.message
        assert "endpoint_override" not in "".join(traceback.format_exception(caught.value))


def test_object_that_changed_is_a_conflict(tmp_path: Path, bucket: tuple[str, str]) -> None:
    """Other bytes under the same name after the snapshot stop the run."""
    from twinscore.batch.plan import plan_shards
    from twinscore.batch.reading import read_piece
    from twinscore.batch.recipe import Recipe

    (tmp_path / "x").mkdir()
    pq.write_table(pa.table({"id": [1, 2]}), tmp_path / "x/a.parquet")
    snapshot = take_snapshot(put(tmp_path / "x", bucket, "x"), WANTED, contract="c")
    pq.write_table(pa.table({"id": [1, 2, 3]}), tmp_path / "x/a.parquet")
    put(tmp_path / "x", bucket, "x")

    with pytest.raises(StoreConflict, match="changed while the run was reading"):
        list(read_piece(plan_shards(snapshot)[0].pieces[0], WANTED, recipe=Recipe(place=snapshot.place)))


def test_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed port is a store that is unavailable; the message holds no credential."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    uri = "s3://bucket/x?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1"

    with pytest.raises(StoreUnavailable) as caught:
        take_snapshot(uri, WANTED, contract="c")

    assert "The store of s3://bucket/x does not answer" in caught.value.message
    assert [value for value in CREDENTIALS.values() if value in caught.value.message] == []


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://KEY:hush@bucket/x", "holds credentials"),
        ("s3://bucket/x?secret_key=hush", "holds credentials"),
        ("abfs://container:hush@account.dfs.core.windows.net/x", "holds credentials"),
        ("gs://KEY@bucket/x?a=hush", "holds credentials"),
        ("s3://bucket/x?regoin=hush", "an option 'regoin'. Did you mean 'region'?"),
        ("s4://bucket/x?a=hush", "begins with 's4'. Known: abfs, abfss, file, gcs, gs, s3."),
        ("s3:///x", "names no bucket"),
        ("file://host/x", "must be file:///PATH"),
    ],
)
def test_location_is_checked_before_anything_is_opened(uri: str, said: str) -> None:
    """Credentials and unknown words are refused, and not repeated in the message."""
    with pytest.raises(SettingsInvalid) as caught:
        Place.at(uri)

    assert said in caught.value.message
    assert "hush" not in caught.value.message


def test_place_travels(tmp_path: Path) -> None:
    """A place is values only: what a worker gets is what was sent."""
    for location in ("s3://bucket/x?region=eu-west-1", "gs://anonymous@b/x", f"file://{tmp_path}", str(tmp_path)):
        place = Place.at(location)
        assert place == pickle.loads(pickle.dumps(place))
    assert Place.at(f"file://{tmp_path}") == Place.at(str(tmp_path))
