"""What the layout tests read: the tracked files and the syntax trees of the product."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tracked(repository: Path) -> list[Path]:
    """Every file that git tracks and that is there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=repository, check=True, capture_output=True, text=True
    ).stdout
    return [repository / name for name in listed.split("\0") if name and (repository / name).is_file()]


@pytest.fixture(scope="session")
def product(repository: Path) -> dict[str, ast.Module]:
    """Syntax tree of every module of the product and of the jobs, by its path from the root."""
    paths = [*sorted((repository / "platform").rglob("*.py")), *sorted((repository / "jobs").glob("*.py"))]
    return {path.relative_to(repository).as_posix(): ast.parse(path.read_text()) for path in paths}
