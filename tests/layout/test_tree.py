"""The tree: what may be a package, how long a module may be, what may not be committed."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

TOP = ["platform", "jobs", "deployments", "contracts", "registry"]
LONGEST_MODULE = 350
LARGEST_FILE = 1 << 20


@pytest.mark.parametrize("folder", [*TOP, "tests", "benchmarks"])
def test_top_folders_are_not_packages(folder: str, repository: Path) -> None:
    """A package called `platform` would hide the standard library's; tests need no packages either."""
    assert sorted((repository / folder).glob("__init__.py")) == []


def test_no_package_below_tests(repository: Path) -> None:
    """Tests are found by path (importmode=importlib), so folders of the same name never collide."""
    assert sorted((repository / "tests").rglob("__init__.py")) == []


def test_jobs_hide_no_module(repository: Path) -> None:
    """A job's folder is first on every worker's path, so its files must not be named like a module others import."""
    taken = set(sys.stdlib_module_names) | set(packages_distributions())
    names = {path.stem for path in (repository / "jobs").glob("*") if path.suffix == ".py" or path.is_dir()}

    assert names & taken == set()


def test_no_module_is_too_long(repository: Path) -> None:
    """A module above 350 lines is two things."""
    lengths = {
        path.relative_to(repository).as_posix(): len(path.read_text().splitlines())
        for folder in ("platform", "jobs", "tests", "benchmarks")
        for path in (repository / folder).rglob("*.py")
    }

    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE} == {}


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "base", "misc", "manager", "processor"])
def test_no_module_is_named_after_nothing(word: str, product: dict[str, ast.Module]) -> None:
    """A module is named after the one thing in it."""
    assert [name for name in product if word in Path(name).stem.split("_")] == []


def test_tests_mirror_the_product(repository: Path) -> None:
    """Every folder of tests is a room of the product, or one of the few kinds of test that cross rooms."""
    rooms = {path.name for path in (repository / "platform/twinscore").iterdir() if path.is_dir()}
    across = {"layout", "jobs", "parity", "end_to_end", "chaos", "browser", "deployments", "registry", "docs"}
    folders = {path.name for path in (repository / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}

    assert folders - rooms - across == set()


def test_no_machine_path_is_committed(tracked: list[Path], repository: Path) -> None:
    """A path of one machine means nothing on another."""
    pattern = re.compile(r"/(?:root|work|home/(?!ray\b)\w+|Users/\w+)/[\w.]")
    found = [
        f"{path.relative_to(repository)}: {hit.group()}"
        for path in tracked
        if path.suffix not in {".png", ".parquet", ".ubj"}
        for hit in pattern.finditer(path.read_text(errors="replace"))
    ]

    assert found == []


def test_no_large_file_is_committed(tracked: list[Path], repository: Path) -> None:
    """Data and models are made or fetched, never committed."""
    assert [path.relative_to(repository).as_posix() for path in tracked if path.stat().st_size > LARGEST_FILE] == []
