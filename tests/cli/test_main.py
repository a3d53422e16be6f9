"""The command line as such: light help, errors for people, exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from twinscore.cli.main import app

HEAVY = ["ray", "mlflow", "great_expectations", "xgboost", "pandas", "pyarrow", "numba", "numpy", "httpx", "fastapi"]
RUN = "from twinscore.cli.main import main; main()"


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["contract", "--help"],
        ["score", "--help"],
        ["report", "--help"],
        ["keys", "--help"],
        ["demo", "--help"],
    ],
)
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    """A help page answers at once, because no package that takes long is imported for it."""
    code = (
        f"import sys; sys.argv[1:] = {command!r}\n"
        "from twinscore.cli.main import main\n"
        "try:\n    main()\n"
        f"finally:\n    print('LOADED', sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "Usage: " in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_help_lists_every_command() -> None:
    """Each command has its place in the table of the help page."""
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).stdout

    for name in (
        "up",
        "status",
        "env",
        "down",
        "train",
        "adopt",
        "contract",
        "score",
        "report",
        "serve",
        "parity",
        "keys",
        "demo",
    ):
        assert f"│ {name} " in shown


def test_version_is_the_packages() -> None:
    """`--version` prints the version and nothing else."""
    from importlib.metadata import version

    assert CliRunner().invoke(app, ["--version"]).stdout == f"{version('twinscore')}\n"


def test_error_is_one_message_without_traceback(tmp_path: Path) -> None:
    """An error raised on purpose goes to stderr with its code; the exit code is 1."""
    missing = str(tmp_path / "missing.yaml")
    result = CliRunner().invoke(app, ["contract", "check", "--contract", missing, "--data", "x"])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error[contract_invalid]: ")
    assert "Traceback" not in result.stderr


def test_debug_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    """With `--debug` the error is raised as it is."""
    missing = str(tmp_path / "missing.yaml")
    done = subprocess.run(
        [sys.executable, "-c", RUN, "--debug", "contract", "check", "--contract", missing, "--data", "x"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ContractInvalid" in done.stderr


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["score"], ["status", "--nonsense"], ["score", "--model", "m", "--input", "i", "--output", "o",
      "--max-quarantine-share", "2"]],
)  # fmt: skip
def test_wrong_use_ends_with_two(words: list[str]) -> None:
    """An unknown command or option, or one that is missing or out of range, is wrong use: exit code 2."""
    assert CliRunner().invoke(app, words).exit_code == 2


def test_unknown_setting_is_an_error_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable is not ignored."""
    monkeypatch.setenv("TWINSCORE_HOEM", "x")
    result = CliRunner().invoke(app, ["status"])

    assert result.exit_code == 1
    assert (
        "error[settings_invalid]: The setting TWINSCORE_HOEM is unknown. Did you mean 'TWINSCORE_HOME'" in result.stderr
    )
