"""Imports: light at the bottom, no pickle anywhere, the standard library's platform unhidden."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HEAVY = ["ray", "mlflow", "great_expectations", "fastapi", "starlette"]
SLOW = [*HEAVY, "xgboost", "pandas", "numba", "sklearn", "matplotlib"]
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"}
LIGHT_ROOMS = ["contract", "bundle", "scoring", "access", "audit", "ports"]


def modules_after(code: str, cwd: Path) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after running `code`."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    ran = subprocess.run([sys.executable, "-c", script], cwd=cwd, check=True, capture_output=True, text=True)
    return set(json.loads(ran.stdout.splitlines()[-1]))


def test_command_line_is_light(tmp_path: Path) -> None:
    """`twinscore --help` answers at once, because nothing heavy loads before a command needs it."""
    assert modules_after("import twinscore, twinscore.cli.main", tmp_path) & set(SLOW) == set()


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    """Not even when the help of every command group is built."""
    code = """
import sys
from twinscore.cli.main import main
sys.argv = ["twinscore", "--help"]
try:
    main()
except SystemExit:
    pass
"""

    assert modules_after(code, tmp_path) & set(SLOW) == set()


@pytest.mark.parametrize("room", LIGHT_ROOMS)
def test_low_floors_are_light(room: str, repository: Path, tmp_path: Path) -> None:
    """A serving process that imports contract, bundle and scoring loads no Ray, MLflow or Great Expectations by it."""
    source = repository / "platform" / "twinscore"
    names = [
        "twinscore." + path.relative_to(source).with_suffix("").as_posix().replace("/", ".")
        for path in sorted((source / room).rglob("*.py"))
        if path.name != "__init__.py"
    ]

    assert modules_after("import " + ", ".join(["twinscore.settings", *names]), tmp_path) & set(HEAVY) == set()


def test_nothing_imports_a_pickle(product: dict[str, ast.Module]) -> None:
    """A bundle is data: no module of the product can even read a pickle."""
    found: list[str] = []
    for name, tree in product.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                parts = {part for alias in node.names for part in alias.name.split(".")}
            elif isinstance(node, ast.ImportFrom):
                parts = {*(node.module or "").split("."), *(alias.name for alias in node.names)}
            else:
                continue
            found += [f"{name}:{node.lineno} {part}" for part in sorted(parts & PICKLES)]

    assert found == []


def test_standard_platform_is_importable_from_the_root(repository: Path) -> None:
    """Our folder `platform` does not hide the module, even for a program started in the root."""
    code = "import platform, uuid; print(platform.python_version())"
    ran = subprocess.run([sys.executable, "-c", code], cwd=repository, check=True, capture_output=True, text=True)

    assert ran.stdout.strip() == ".".join(str(part) for part in sys.version_info[:3])


@pytest.mark.cluster
def test_standard_platform_is_importable_in_a_ray_worker(repository: Path) -> None:
    """Nor does it hide it from a Ray worker whose working directory is the root."""
    code = """
import sys
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1],
         object_store_memory=100 << 20)

@ray.remote
def version():
    import os, platform, uuid
    return os.getcwd() + "|" + platform.python_version()

print(ray.get(version.remote()))
ray.shutdown()
"""
    # A socket's path may have 107 letters.
    with tempfile.TemporaryDirectory(prefix="ts-i-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-c", code, folder]
        ran = subprocess.run(command, cwd=repository, check=False, capture_output=True, text=True, timeout=240)

    assert ran.stdout.strip().splitlines()[-1:] == [
        f"{repository}|{'.'.join(str(part) for part in sys.version_info[:3])}"
    ], ran.stderr
