"""The command `route`: what it refuses before it connects to anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from twinscore.cli.main import app


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rollback", "--clear"],
        ["--clear", "--canary", "2", "--share", "5%"],
        ["--file", "plan.yaml", "--shadow", "2"],
    ],
)
def test_one_change_at_a_time(arguments: list[str], home: Path) -> None:
    """Two changes in one command are refused by name, and nothing is started."""
    found = CliRunner().invoke(app, ["route", "--model", "loans", *arguments], env={"COLUMNS": "200"})

    assert 2 == found.exit_code
    assert "cannot be asked for together" in found.output
    assert [] == list(home.iterdir())


def test_a_model_must_be_named() -> None:
    """There is no routing of everything."""
    found = CliRunner().invoke(app, ["route"], env={"COLUMNS": "200"})

    assert 2 == found.exit_code
    assert "--model" in found.output
