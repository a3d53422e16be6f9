"""Promotion policies in the repository: all of them can be read, and are of the model that they are named after."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinscore.rollout.policy_file import load_policy

FOLDER = Path(__file__).resolve().parents[2] / "registry" / "promotion"
POLICIES = sorted(path for path in FOLDER.iterdir() if path.is_file())


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.name)
def test_policy_is_sound(path: Path) -> None:
    """Each file can be read strictly; one with another ending would never be found."""
    assert (path.stem, ".yaml") == (load_policy(path).model, path.suffix)


def test_there_is_an_example() -> None:
    """The model of the demonstration has a policy."""
    assert "loans.yaml" in [path.name for path in POLICIES]
