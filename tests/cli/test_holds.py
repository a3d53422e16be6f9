"""`twinscore hold` and `twinscore ledger`: what is placed is listed and entered, and what was touched is named."""

from __future__ import annotations

import getpass
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from twinscore.cli.main import app


def run(*words: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "250"})


@pytest.mark.usefixtures("home")
def test_a_hold_is_placed_listed_and_released() -> None:
    """The id stands alone on standard output; the list shows it until it is released, with --all afterwards too."""
    assert "Nothing is held" in run("hold", "list").stdout
    placed = run("hold", "place", "loans", "--reason", "drift of [income]", "--hours", "2")
    hold_id = placed.stdout.strip()
    table, (document,) = run("hold", "list").stdout, json.loads(run("hold", "list", "--json").stdout)

    assert (0, 1) == (placed.exit_code, len(placed.stdout.splitlines()))
    assert "loans is held until" in placed.stderr
    for shown in (hold_id, "loans", "held", "drift of [income]", getpass.getuser(), "person"):
        assert shown in table
    assert (hold_id, "held", []) == (document["id"], document["state"], document["overrides"])
    assert 0 == run("hold", "release", hold_id, "--reason", "over", "--by", "bob").exit_code
    assert json.loads(run("hold", "list", "--json").stdout) == []
    assert "released" in run("hold", "list", "--all").stdout
    again = run("hold", "release", hold_id, "--reason", "over", "--by", "bob")
    assert 1 == again.exit_code
    assert "released by bob" in again.stderr


@pytest.mark.usefixtures("home")
def test_an_override_names_a_person_in_the_ledger() -> None:
    """It needs a name, is shown with the hold, and is entered into the chain of the model that goes on."""
    hold_id = run("hold", "place", "*", "--reason", "audit week", "--source", "calendar").stdout.strip()
    unnamed = run("hold", "override", hold_id, "--model", "loans", "--reason", "wrong price")
    named = run("hold", "override", hold_id, "--model", "loans", "--reason", "wrong price", "--by", "ann")
    entries = [json.loads(line) for line in run("ledger", "show", "loans", "--json").stdout.splitlines()]

    assert (2, 0) == (unnamed.exit_code, named.exit_code)
    assert "loans (ann)" in run("hold", "list").stdout
    assert [("hold_overridden", "ann", "wrong price", hold_id)] == [
        (entry["kind"], entry["decided_by"], entry["reason"], entry["evidence"]["hold"]) for entry in entries
    ]
    for shown in ("hold_placed", "calendar", "audit week"):
        assert shown in run("ledger", "show", "*").stdout


@pytest.mark.usefixtures("home")
def test_an_unknown_model_or_hold_is_answered_with_what_is_near() -> None:
    """A typing slip is found at once."""
    hold_id = run("hold", "place", "loans", "--reason", "drift").stdout.strip()

    assert "Did you mean 'loans'?" in run("ledger", "show", "lonas").stderr
    assert hold_id in run("hold", "release", f"{hold_id}0", "--reason", "over").stderr


def test_a_touched_ledger_is_named(home: Path) -> None:
    """Whole it ends well; an edited entry, and an end that was there before, end with 1 and the entry's number."""
    for number in range(3):
        run("hold", "place", "loans", "--reason", f"reason {number}")
    known = home / "known.json"
    known.write_text(run("ledger", "verify", "--json").stdout)
    whole = run("ledger", "verify", "loans", "--known", str(known))
    with closing(sqlite3.connect(home / "control" / "control.db")) as connection:
        connection.execute("drop trigger twinscore_ledger_update")
        connection.execute("update twinscore_ledger set reason = 'x' where number = 2")
        connection.commit()
    edited = run("ledger", "verify")

    assert (0, "whole loans: 3 entries") == (whole.exit_code, whole.stdout.strip())
    assert 1 == edited.exit_code
    assert "entry 2 was changed" in edited.stdout


def test_a_store_made_anew_shows_against_an_earlier_check(home: Path) -> None:
    """Who deletes the whole store and begins again is found out by the heads that were kept."""
    for number in range(2):
        run("hold", "place", "loans", "--reason", f"reason {number}")
    known = home / "known.json"
    known.write_text(run("ledger", "verify", "--json").stdout)
    for path in (home / "control").iterdir():
        path.unlink()
    lost = run("ledger", "verify", "--known", str(known), "--json")

    assert 1 == lost.exit_code
    assert "entry 1 is missing; the chain once reached 2" == json.loads(lost.stdout)[0]["broken"]
    assert "verify --json" in run("ledger", "verify", "--known", str(home / "nothing")).stderr
