"""Serve specs: values, their file, and the refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinscore.errors import SettingsInvalid
from twinscore.online.spec import ServeSpec, load_serve_spec

DEPLOYMENTS = Path(__file__).parents[2] / "deployments"


@pytest.mark.parametrize("path", sorted(DEPLOYMENTS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_committed_spec_loads(path: Path) -> None:
    """A file in deployments/ is a valid spec of the model it is named after."""
    assert load_serve_spec(path).model.partition("@")[0] == path.stem


def test_absent_keys_take_the_defaults(tmp_path: Path) -> None:
    """Only the model must be named."""
    (tmp_path / "adult.yaml").write_text("model: adult\n")

    assert ServeSpec(model="adult") == load_serve_spec(tmp_path / "adult.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: adult\nreplica: 2\n", "Did you mean 'replicas'"),
        ("model: adult\nreplicas: two\n", "replicas: 'two'"),
        ("model: adult\nreplicas: true\n", "replicas: True"),
        ("model: adult\nreplicas: 0\n", "at least 1"),
        ("model: adult\nreplicas: 3\nmax_replicas: 2\n", "at least replicas (3)"),
        ("model: adult\nmax_queued_requests: 0\n", "at least 1"),
        ("replicas: 1\n", "lacks model"),
        ("- adult\n", "must be a mapping"),
        ("model: [\n", "cannot be read"),
        ("model: adult\ndegrade: {version: '2'}\n", "degrade.p99_ms must be given, or scaling.p99_ms is"),
        ("model: adult\ndegrade: {p99_ms: 50}\n", "degrade.version must be given, or degrade.scores is"),
        ("model: adult\ndegrade: {version: iris/2, p99_ms: 50}\n", "must be a version of adult"),
        ("model: adult\ndegrade: {version: '2', p99_ms: 50, leave_below: 1}\n", "less than 1"),
        ("model: adult\ndegrade: {version: '2', p99_ms: 50, label: live}\n", "none of live"),
        ("model: adult\ndegrade: {version: '2', p99_ms: 50, share: half}\n", "one of needed, all"),
        ("model: adult\ndegrade: {version: '2', p99ms: 50}\n", "Did you mean 'p99_ms'"),
        ("model: adult\ndegrade: {scores: {ttl_s: 0}, p99_ms: 50}\n", "more than 0 seconds"),
        ("model: adult\ngrpc_port: 0\n", "1 to 65535"),
        ("model: adult\naudit: {keep: 400}\n", "audit.keep: 400, which must be text"),
        ("model: adult\naudit: {keep: 400 days}\n", "a number with a unit"),
        ("model: adult\naudit: {keep: 5h}\n", "at least 1d"),
        ("model: adult\naudit: {holds: [{first: 2026-01-01, why: x}]}\n", "lacks last"),
        ("model: adult\naudit: {holds: [{first: soon, last: 2026-01-01, why: x}]}\n", "must be a day, such as"),
        ("model: adult\naudit: {holds: [{first: 2026-01-02, last: 2026-01-01, why: x}]}\n", "2026-01-02 or later"),
        ("model: adult\naudit: {holds: [{first: 2026-01-01 10:00:00, last: 2026-01-01, why: x}]}\n", "must be a day"),
        ("model: adult\naudit: {holds: [{first: 2026-01-01, last: 2026-01-01, why: ' '}]}\n", "held for"),
    ],
)
def test_wrong_specs_are_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    """A refusal names the file or the option and what is expected."""
    (tmp_path / "spec.yaml").write_text(text)

    with pytest.raises(SettingsInvalid) as caught:
        load_serve_spec(tmp_path / "spec.yaml")

    assert said in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A spec that is not there is refused with its path."""
    with pytest.raises(SettingsInvalid, match=r"absent\.yaml"):
        load_serve_spec(tmp_path / "absent.yaml")
