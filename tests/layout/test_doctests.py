"""Examples in docstrings are run, so they stay true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "platform" / "twinscore"
WITH_EXAMPLES = [path.relative_to(SOURCE.parent) for path in sorted(SOURCE.rglob("*.py")) if ">>> " in path.read_text()]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.as_posix())
def test_examples_are_true(path: Path) -> None:
    """What the example prints is what it says."""
    module = importlib.import_module(path.with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"))

    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).failed == 0
