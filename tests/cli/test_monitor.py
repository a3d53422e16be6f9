"""Commands of monitoring: rules that are read and shown, and the playbook."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from twinscore.cli.main import app

DEPLOYMENTS = Path(__file__).resolve().parents[2] / "deployments"


def test_rules_are_shown_as_they_will_be_judged() -> None:
    """A file's own rules first, then the playbook's, with what each does."""
    done = CliRunner().invoke(app, ["monitor", "check", str(DEPLOYMENTS / "loans.yaml")])

    assert 0 == done.exit_code
    assert "drift: feature_drift: value >= 1; warning; does ticket, hold" == done.stdout.splitlines()[0]
    assert "does nothing (dry run)" in done.stdout


def test_a_mistake_is_named_with_its_place(tmp_path: Path) -> None:
    """The exit code says so, too."""
    (tmp_path / "a.yaml").write_text("model: a\nmonitor:\n  rules:\n    - {name: x, metric: psi, when: valu > 1}\n")
    done = CliRunner().invoke(app, ["monitor", "check", str(tmp_path / "a.yaml")])

    assert 1 == done.exit_code
    assert "(line 4, column 36)" in done.stderr


def test_the_playbook_is_shown_as_markdown() -> None:
    """What the command prints is the page of the reference."""
    done = CliRunner().invoke(app, ["monitor", "playbook"])

    assert done.stdout.startswith("# The playbook\n")
