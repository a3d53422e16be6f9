"""Opening a run, and proving that it is what was committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinscore.batch.read import open_run
from twinscore.errors import FileUnreadable

from .conftest import Run


def test_verify_passes_on_a_fresh_run(run: Run) -> None:
    """Sizes and checksums of the manifest are those of the files."""
    opened = open_run(run(shard_rows=500).folder)
    opened.verify()

    assert opened.predictions(["row_id"]).num_rows == 3_000
    assert opened.quarantine().num_rows == 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "bytes instead of"),
        (lambda path: path.write_bytes(bytes([*path.read_bytes()[:-20], *bytes(20)])), "has another SHA-256"),
        (lambda path: path.unlink(), "is missing"),
        (lambda path: (path.parent / "part-99999.parquet").write_bytes(b"x"), "is not in the manifest"),
    ],
)
def test_verify_names_what_changed(run: Run, damage: object, said: str) -> None:
    """A file that was touched, lost or added after the commit is named."""
    opened = open_run(run(shard_rows=500).folder)
    assert callable(damage)
    damage(opened.folder / "part-00001.parquet")

    with pytest.raises(FileUnreadable) as caught:
        opened.verify()

    assert said in caught.value.message


def test_no_run_is_said(tmp_path: Path) -> None:
    """A path without a run is answered with what to do."""
    with pytest.raises(FileUnreadable, match="There is no run at"):
        open_run(tmp_path / "nothing")
