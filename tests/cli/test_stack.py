"""Commands of the stack where none runs; tests/stack has the real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from twinscore.cli.main import app


@pytest.mark.usefixtures("home")
def test_status_of_nothing_is_three() -> None:
    """Without a stack the exit code is 3, and the next step is named."""
    result = CliRunner().invoke(app, ["status"])

    assert result.exit_code == 3
    assert "`twinscore up`" in result.stdout


def test_status_for_programs(home: Path) -> None:
    """With `--json` the same is said to programs."""
    result = CliRunner().invoke(app, ["status", "--json"])

    assert result.exit_code == 3
    assert json.loads(result.stdout) == {"condition": "down", "home": str(home), "components": []}


@pytest.mark.usefixtures("home")
def test_down_twice_says_that_nothing_runs() -> None:
    """Taking down what is not up is no error."""
    first, second = (CliRunner().invoke(app, ["down"]) for _ in range(2))

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "Nothing is running" in first.stdout
    assert "Nothing is running" in second.stdout


@pytest.mark.usefixtures("home")
def test_env_without_a_stack_prints_no_line_for_a_shell() -> None:
    """`eval` of nothing does no harm; the reason goes to stderr."""
    result = CliRunner().invoke(app, ["env"])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "twinscore up" in result.stderr
