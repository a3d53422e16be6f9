"""Dependencies: declared where they are imported, pinned with hashes, without addresses."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ["requirements.lock", "requirements-dev.lock"]
# Imported nowhere, but given: Great Expectations and pyfunc work on it.
NOT_IMPORTED: set[str] = set()


def direct(repository: Path) -> dict[str, Requirement]:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    requirements = [Requirement(line) for line in project["dependencies"]]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def optional(repository: Path) -> dict[str, Requirement]:
    """Return what only some places of publication need."""
    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    requirements = [Requirement(line) for lines in extras.values() for line in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def pinned(repository: Path, lock: str) -> dict[str, set[str]]:
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)", (repository / lock).read_text(), flags=re.MULTILINE
    ):
        versions.setdefault(canonicalize_name(name), set()).add(version)
    return versions


def imported(product: dict[str, ast.Module]) -> dict[str, str]:
    """Return each foreign top-level module with one file that imports it."""
    found: dict[str, str] = {}
    for name, tree in product.items():
        for node in ast.walk(tree):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module or ""]
            found |= {module.split(".")[0]: name for module in modules}
    return {
        module: name
        for module, name in found.items()
        if module not in sys.stdlib_module_names and module != "twinscore"
    }


def test_every_import_is_a_direct_dependency(product: dict[str, ast.Module], repository: Path) -> None:
    """What the product imports is declared, not borrowed from a dependency of a dependency."""
    known = packages_distributions()
    declared = {*direct(repository), *optional(repository)}
    missing = {
        module: name
        for module, name in imported(product).items()
        if not {canonicalize_name(owner) for owner in known.get(module, [module])} & declared
    }

    assert missing == {}


def test_every_direct_dependency_is_imported(product: dict[str, ast.Module], repository: Path) -> None:
    """A dependency that nothing imports carries no weight."""
    known = packages_distributions()
    used = {canonicalize_name(owner) for module in imported(product) for owner in known.get(module, [])}

    assert {*direct(repository), *optional(repository)} - used - NOT_IMPORTED == set()


def test_optional_dependencies_are_tested(repository: Path) -> None:
    """The development group has each with the range that is shipped, so that no test of a sink is skipped for it."""
    group = tomllib.loads((repository / "pyproject.toml").read_text())["dependency-groups"]["dev"]

    assert {str(requirement) for requirement in optional(repository).values()} - {
        str(Requirement(line)) for line in group
    } == set()


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_satisfies_the_ranges(lock: str, repository: Path) -> None:
    """Each direct dependency is in the lock, with a version that its range allows."""
    versions = pinned(repository, lock)
    broken = {
        name: versions.get(name)
        for name, requirement in direct(repository).items()
        if not versions.get(name) or not all(requirement.specifier.contains(version) for version in versions[name])
    }

    assert broken == {}


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_hashes_and_no_addresses(lock: str, repository: Path) -> None:
    """A lock says what, never from where; every package has its hash."""
    text = (repository / lock).read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]

    assert re.findall(r"\w+://|^-|@ ?file|--(?:index|find|trusted)\S*", text, flags=re.MULTILINE) == []
    assert [entry.split("\n")[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_development_lock_extends_the_other(repository: Path) -> None:
    """What is tested is what is shipped: both locks pin the same versions."""
    shipped, developed = (pinned(repository, lock) for lock in LOCKS)

    assert {
        name: (versions, developed.get(name)) for name, versions in shipped.items() if developed.get(name) != versions
    } == {}
