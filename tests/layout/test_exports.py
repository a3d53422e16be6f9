"""Public names: a list, and true."""

from __future__ import annotations

import ast
from pathlib import Path

import twinscore

PUBLIC = [
    "Settings",
    "TwinscoreError",
    "adopt",
    "check_parity",
    "down",
    "freshness",
    "labels",
    "load_settings",
    "monitor_report",
    "parity",
    "retry",
    "score",
    "serve",
    "shadow_report",
    "status",
    "train",
    "up",
    "watch",
]


def exported(tree: ast.Module) -> list[str] | None:
    """Return the module's `__all__`, or None when it has none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            return list(ast.literal_eval(node.value))
    return None


def defined(tree: ast.AST) -> set[str]:
    """Return the names that a module's top level binds, whatever the branch."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {leaf.id for target in node.targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.If | ast.Try):
            names |= defined(node)
    return names


def test_public_api_is_this_list() -> None:
    """Adding or losing a public name is a decision, made here."""
    assert twinscore.__all__ == PUBLIC


def test_public_names_resolve() -> None:
    """Each lazily loaded name is there when asked for."""
    assert [name for name in PUBLIC if getattr(twinscore, name, None) is None] == []


def test_every_module_lists_its_public_names(product: dict[str, ast.Module]) -> None:
    """`__all__` exists wherever something is defined, and names only what is there; ruff keeps it sorted."""
    wrong: dict[str, str] = {}
    for name, tree in product.items():
        if not name.startswith("platform/") or (
            Path(name).name == "__init__.py" and not defined(tree) - {"annotations"}
        ):
            continue
        names = exported(tree)
        if names is None:
            wrong[name] = "has no __all__"
        elif len(names) != len(set(names)):
            wrong[name] = "__all__ names something twice"
        elif set(names) - defined(tree):
            wrong[name] = f"does not define {sorted(set(names) - defined(tree))}"

    assert wrong == {}


def test_every_module_says_what_it_is_for(product: dict[str, ast.Module]) -> None:
    """A newcomer finds the module for a change in one guess, because each says what it holds."""
    assert [name for name, tree in product.items() if not ast.get_docstring(tree)] == []


def test_every_test_states_a_behaviour(repository: Path) -> None:
    """Each test has one sentence that says what holds."""
    silent = [
        f"{path.relative_to(repository)}::{node.name}"
        for path in sorted((repository / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]

    assert silent == []
