"""The commands for keys, as a person or a script types them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from twinscore.access.gate import Access
from twinscore.access.keys import load_keys
from twinscore.cli.main import app
from twinscore.errors import Unauthenticated


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["keys", *words], env={"COLUMNS": "160"})


def opens(home: Path, key: str, model: str = "loans", verb: str = "predict") -> bool:
    try:
        return bool(Access.load(home).admit(None, key.encode(), model=model, verb=verb, now_s=time.time()))
    except Unauthenticated:
        return False


def test_create_prints_the_key_alone_on_standard_output(home: Path) -> None:
    """A script can take it as it is; the words for people are on standard error."""
    result = run("create", "--label", "billing", "--model", "loans", "--verb", "predict", "--days", "90")

    assert (0, True) == (result.exit_code, opens(home, result.stdout.strip()))
    assert 1 == len(result.stdout.splitlines())
    assert "(billing) may predict on loans until" in result.stderr
    assert result.stdout.strip() not in result.stderr


def test_list_shows_everything_but_secrets(home: Path) -> None:
    """Id, label, scope, end and state of each key, as a table and as JSON."""
    assert "No key was ever made" in run("list").stdout
    key = run("create", "--label", "billing", "--model", "loans", "--model", "adult").stdout.strip()
    table, document = run("list").stdout, json.loads(run("list", "--json").stdout)
    _, key_id, secret = key.split("_", 2)

    for shown in (key_id, "billing", "adult, loans", "predict, read", "valid"):
        assert shown in table
    assert [("billing", ["adult", "loans"], "valid")] == [
        (one["label"], one["models"], one["state"]) for one in document
    ]
    assert {"id", "label", "models", "verbs", "created", "expires", "revoked", "state"} == set(document[0])
    assert secret not in table + json.dumps(document)


def test_rotate_and_revoke(home: Path) -> None:
    """After a rotation both keys are good; revoked, the old one is not."""
    first = run("create", "--label", "billing", "--model", "*").stdout.strip()
    second = run("rotate", "billing", "--days", "30", "--grace-days", "1").stdout.strip()
    assert [True, True] == [opens(home, first), opens(home, second, "adult", "read")]
    result = run("revoke", first.split("_")[1])

    assert f"Revoked {first.split('_')[1]} (billing).\n" == result.stdout
    assert [False, True] == [opens(home, first), opens(home, second)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create", "--label", "x y", "--model", "m"], "error[settings_invalid]: The label"),
        (["create", "--label", "x", "--model", "m", "--verb", "write"], "error[settings_invalid]: A key needs verbs"),
        (["rotate", "nobody"], "error[settings_invalid]: There is no valid key labelled 'nobody'"),
        (["revoke", "nothing"], "error[settings_invalid]: There is no key of that id"),
    ],
)
def test_a_mistake_is_one_message(home: Path, words: list[str], said: str) -> None:
    """Wrong words end with exit code 1 and one message, and make no key."""
    result = run(*words)

    assert (1, True) == (result.exit_code, said in result.output)
    assert load_keys(home) is None
