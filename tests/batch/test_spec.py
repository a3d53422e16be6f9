"""The spec of a batch scoring: strict, with changes from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinscore.batch.spec import QuarantineLimit, ScoreSpec, load_score_spec
from twinscore.errors import SettingsInvalid

PLAIN = "model: loans@champion\ninput: data/loans\noutput: predictions/loans\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(text)
    return path


def test_spec_reads_every_key(tmp_path: Path) -> None:
    """Each key of the file is a field of the spec."""
    path = written(tmp_path, PLAIN + "key: [a, b]\nquarantine: {share: 0.2, count: 5}\nshard_rows: 100\n")

    expected = ScoreSpec(
        model="loans@champion", input="data/loans", output="predictions/loans", key=("a", "b"),
        quarantine=QuarantineLimit(share=0.2, count=5), shard_rows=100,
    )  # fmt: skip

    assert expected == load_score_spec(path)


def test_changes_win_over_the_file(tmp_path: Path) -> None:
    """`key=value` replaces a value, also inside a mapping, and is read as YAML."""
    spec = load_score_spec(written(tmp_path, PLAIN), ["output=today", "quarantine.share=0", "key=[a]"])

    assert ("today", 0, ("a",)) == (spec.output, spec.quarantine.share, spec.key)


@pytest.mark.parametrize(
    ("text", "changes", "said"),
    [
        (PLAIN + "imput: x\n", [], "unknown key 'imput'. Did you mean 'input'"),
        (PLAIN + "model: again\n", [], "the key 'model' is written twice"),
        ("model: loans\n", [], "lacks input, output"),
        ("[1, 2]\n", [], "must be a mapping"),
        ("model: [", [], "cannot be read"),
        (PLAIN, ["nothing"], "must be written key=value"),
        (PLAIN, ["model.x=1"], "which is no mapping"),
        (PLAIN, ["quarantine.share=2"], "from 0 to 1, got 2"),
        (PLAIN, ["quarantine.count=-1"], "0 or more, got -1"),
        (PLAIN, ["quarantine.shares=0"], "unknown key 'shares'"),
        (PLAIN, ["shard_rows=many"], "must be a whole number"),
        (PLAIN, ["key=[a, a]"], "each named once"),
        (PLAIN, ["model=true"], "must be text"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, changes: list[str], said: str) -> None:
    """A spec that says something we do not do is refused with the key and the nearest known one."""
    with pytest.raises(SettingsInvalid) as caught:
        load_score_spec(written(tmp_path, text), changes)

    assert said in caught.value.message


def test_missing_spec_offers_what_is_there(tmp_path: Path) -> None:
    """A wrong file name is answered with the names beside it."""
    written(tmp_path, PLAIN)

    with pytest.raises(SettingsInvalid) as caught:
        load_score_spec(tmp_path / "spek.yaml")

    assert "Did you mean 'spec.yaml'?" in caught.value.message


def test_relative_paths_lie_in_the_lake(tmp_path: Path) -> None:
    """A relative path is one of the lake, an absolute one stays."""
    placed = ScoreSpec(model="m", input="data/loans", output="/elsewhere/out").placed(tmp_path)

    assert (str(tmp_path / "data/loans"), "/elsewhere/out") == (placed.input, placed.output)


@pytest.mark.parametrize(("refused", "allowed"), [(10, True), (11, False), (0, True)])
def test_limit_is_a_share_and_a_count(refused: int, allowed: bool) -> None:
    """The limit itself is allowed; whichever of both is smaller decides."""
    assert allowed == QuarantineLimit(share=0.1).allows(refused, 100)
    assert not QuarantineLimit(share=1, count=5).allows(6, 100)
