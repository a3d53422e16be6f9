"""The spec of a batch scoring: strict, with changes from the command line."""

from __future__ import annotations

import datetime as dt
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
        (PLAIN, ["input=[a, 1]"], "has input[1]: 1, which must be text"),
        (PLAIN, ["columns={a: 1}"], "has columns.a: 1, which must be text"),
        (PLAIN, ["empty=maybe"], "has empty: 'maybe', which must be one of fail, commit"),
        (PLAIN, ["restart=yes"], "has restart: 'yes', which must be true or false"),
        (PLAIN, ["filter=[[a, isnt, 1]]"], "the operator 'isnt'"),
        (PLAIN, ["filter=[[a, !=, 1]]"], "Put text with special signs in quotes."),
        (PLAIN, ["join=[{path: x, on: k}]"], "join[0], lacks columns; it needs path, on and columns"),
        (PLAIN, ["join=[{path: x, on: k, column: a}]"], "unknown key 'column'. Did you mean 'columns'"),
        (PLAIN, ["join=[{path: x, on: k, columns: a}, {path: y, on: k, columns: a}]"], "give one a prefix"),
        (PLAIN, ["explain.rows=some"], "explain.rows: 'some', which must be one of none, all, flagged, sample"),
        (PLAIN, ["explain.sample=0"], "above 0 and at most 1, got 0"),
        (PLAIN, ["publish={to: here, table: t}"], "must be a URI such as"),
        (PLAIN, ["publish={to: 'pg://me:hush@h/d', table: t}"], "without a password, which the environment holds"),
        (PLAIN, ["labels={path: x}"], "lacks column"),
        (PLAIN, ["freshness.max_age=soon"], "a number and a unit (s, m, h, d), such as 26h, got 'soon'"),
        (PLAIN, ["output=s3://b/x?a=hush"], "The output s3://b/x is in an object store"),
        (PLAIN, ["input=s3://k:hush@b/x"], "The location s3://b/x holds credentials"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, changes: list[str], said: str) -> None:
    """A spec that says something we do not do is refused with the key and the nearest known one."""
    with pytest.raises(SettingsInvalid) as caught:
        load_score_spec(written(tmp_path, text), changes)

    assert said in caught.value.message
    assert "hush" not in caught.value.message


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


def test_every_mapping_of_the_spec_is_a_value(tmp_path: Path) -> None:
    """`on`, NO and `=` are text as they stand; one item alone is a list of one; a duration has its length."""
    text = PLAIN + (
        "filter: [[country, =, NO], [age, '>', 18]]\n"
        "join: {path: side, on: customer, columns: [income], prefix: c_}\n"
        "explain: {rows: sample, sample: 0.5, into: columns}\n"
        "publish: [{to: 'postgresql://host/db', table: scores}]\n"
        "labels: {path: outcomes, key: loan_id, column: defaulted, at: known_at}\n"
        "freshness: {max_age: 26h}\nempty: commit\nrestart: true\ncolumns: {income: inc}\n"
    )

    spec = load_score_spec(written(tmp_path, text), ["input=[a, s3://b/c]"]).placed(Path("/lake"))

    assert str(spec.filter) == "country == 'NO' and age > 18"
    assert [("/lake/side", "customer", ("c_income",))] == [(one.path, one.on, one.names) for one in spec.join]
    assert ("sample", 0.5, "columns") == (spec.explain.rows, spec.explain.sample, spec.explain.into)
    assert [("postgresql://host/db", "scores")] == [(one.to, one.table) for one in spec.publish]
    assert spec.labels is not None
    assert ("/lake/outcomes", ("loan_id",), "known_at") == (spec.labels.path, spec.labels.key, spec.labels.at)
    assert spec.freshness is not None
    assert spec.freshness.limit == dt.timedelta(hours=26)
    assert (("/lake/a", "s3://b/c"), "commit", True, {"income": "inc"}) == (
        spec.input, spec.empty, spec.restart, spec.columns,
    )  # fmt: skip
