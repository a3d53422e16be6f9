"""The Containerfile: only locked packages, no root, nothing copied that is not there; no builder is needed here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """Instruction and argument of each step, continued lines joined."""
    text = (ROOT / "deployments" / "container" / "Containerfile").read_text()
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    return [(word, " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in lines)]


def test_instructions_are_known(steps: list[tuple[str, str]]) -> None:
    """Every instruction is one that each builder knows, and the last stage says whose rights it runs with."""
    known = {"ARG", "FROM", "ENV", "RUN", "COPY", "VOLUME", "WORKDIR", "USER", "ENTRYPOINT", "CMD"}

    assert {word for word, _ in steps} <= known
    assert [argument for word, argument in steps if word == "USER"] == ["10001:10001"]


def test_packages_are_the_locked_ones(steps: list[tuple[str, str]]) -> None:
    """Pip installs with hashes, or the wheel without dependencies and without an index."""
    installs = [argument for word, argument in steps if word == "RUN" and "pip install" in argument]

    assert len(installs) == 2
    assert "--require-hashes --only-binary=:all:" in installs[0]
    assert "--no-deps --no-index" in installs[1]


def test_base_has_a_version(steps: list[tuple[str, str]]) -> None:
    """The base image is named with a version, never the newest there is."""
    bases = [argument.partition("=")[2] for word, argument in steps if word == "ARG"]

    assert [base for base in bases if not re.search(r":\d+\.\d+", base)] == []


def test_copied_files_exist(steps: list[tuple[str, str]]) -> None:
    """What is copied from the checkout is there; the wheel is what `make wheel` writes."""
    sources = [argument.split()[0] for word, argument in steps if word == "COPY" and not argument.startswith("--from")]

    assert [source for source in sources if not source.startswith("dist/") and not (ROOT / source).exists()] == []
    assert "dist/twinscore-*.whl" in sources
