"""A contract as a YAML file: literally a Great Expectations suite; knows nothing of what the expectations mean.

The reader is strict. A duplicate key, an unknown key or a wrong kind of value is refused with
its line and column, because a contract that is half understood is worse than none.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import yaml

from twinscore.contract.model import (
    AUDIT_FORMS,
    SEVERITIES,
    AuditForm,
    Column,
    Contract,
    Expectation,
    type_name,
    type_of,
)
from twinscore.errors import ContractInvalid, near

__all__ = ["dumps_contract", "load_contract", "loads_contract", "save_contract"]


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and aliases, and leaves dates as the text they are."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            _refuse("an alias (*name) is not allowed in a contract", self.peek_event())  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        _check_keys(node)
        return super().construct_mapping(node, deep=deep)


# Dates stay text: an expectation's bound must reach Great Expectations exactly as it was written.
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_contract(path: str | Path) -> Contract:
    """Read a contract file.

    Raises:
        ContractInvalid: the file is missing, empty, not UTF-8 YAML, or not a contract.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        message = f"contract file {file} does not exist. Write one with `twinscore contract infer`."
        raise ContractInvalid(message, path=str(file)) from None
    except (OSError, UnicodeDecodeError) as exc:
        message = f"contract file {file} cannot be read: {exc}."
        raise ContractInvalid(message, path=str(file)) from exc
    return _read(text, str(file))


def loads_contract(text: str) -> Contract:
    """Read a contract from YAML text.

    Raises:
        ContractInvalid: the text is empty, not YAML, or not a contract; line and column are named.
    """
    return _read(text, "contract text")


def dumps_contract(contract: Contract) -> str:
    """Return the contract as YAML that `loads_contract` reads back to an equal contract."""
    marked = {column.name: column.audit for column in contract.columns if column.audit != "keep"}
    document = {
        "name": contract.name,
        "expectations": [
            {
                "type": e.type,
                "kwargs": dict(e.kwargs),
                **({"severity": e.severity} if e.severity != "critical" else {}),
                **({"meta": dict(e.meta)} if e.meta else {}),
            }
            for e in contract.expectations
        ],
        "meta": {
            "twinscore": {
                "version": contract.version,
                "key": list(contract.key),
                "columns": {column.name: type_name(column.type) for column in contract.columns},
                **({"audit": marked} if marked else {}),
            }
        },
    }
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def save_contract(contract: Contract, path: str | Path) -> None:
    """Write the contract file, whole or not at all."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    temporary.write_text(dumps_contract(contract), encoding="utf-8")
    temporary.replace(file)


class _Dumper(yaml.SafeDumper):
    """SafeDumper without anchors; the reader refuses them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # Plain and single-quoted YAML folds the rarer line ends (U+0085, U+2028), which are data here.
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _refuse(text: str, node: Any, cause: Exception | None = None) -> NoReturn:
    mark = node.start_mark
    message = f"line {mark.line + 1}, column {mark.column + 1}: {text}"
    raise ContractInvalid(message, line=mark.line + 1, column=mark.column + 1) from cause


def _check_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            _refuse("a key must be text", key)
        if key.value in seen:
            _refuse(f"the key {key.value!r} is written twice", key)
        seen.add(key.value)


def _read(text: str, source: str) -> Contract:
    try:
        loader = _StrictLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                message = f"{source} is empty; a contract needs a name, expectations and meta.twinscore."
                raise ContractInvalid(message, source=source)
            return _contract(loader, node)
        finally:
            loader.dispose()
    except ContractInvalid as exc:
        if exc.message.startswith("line "):
            message = f"{source}, {exc.message}."
            raise ContractInvalid(message, **{**exc.fields, "source": source}) from None
        raise
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        message = f"{source}{where}: not YAML: {getattr(exc, 'problem', None) or exc}."
        raise ContractInvalid(message, source=source) from exc
    except RecursionError:
        message = f"{source} is nested too deeply to be a contract."
        raise ContractInvalid(message, source=source) from None


def _contract(loader: _StrictLoader, root: yaml.Node) -> Contract:
    top = _fields(root, "a contract", required=("name", "expectations", "meta"))
    own = _fields(_fields(top["meta"], "meta", required=("twinscore",))["twinscore"], "meta.twinscore",
                  required=("version", "key", "columns"), optional=("audit",))  # fmt: skip
    version = _value(loader, own["version"], int, "meta.twinscore.version", "a whole number from 1")
    if version < 1:
        _refuse(f"meta.twinscore.version must be 1 or more, not {version}", own["version"])
    columns = _columns(loader, own["columns"])
    names = [column.name for column in columns]
    if "audit" in own:
        columns = _marked(loader, own["audit"], columns)
    key = tuple(_value(loader, item, str, "meta.twinscore.key", "a column name") for item in _items(own["key"], "key"))
    for item, name in zip(own["key"].value, key, strict=True):
        if name not in names:
            _refuse(f"the key column {name!r} is not among the columns. {near(name, names)}".rstrip("."), item)
    if not key or len(set(key)) != len(key):
        _refuse("meta.twinscore.key must name at least one column, each once", own["key"])
    name = _value(loader, top["name"], str, "name", "text")
    expectations = tuple(_expectation(loader, item) for item in _items(top["expectations"], "expectations"))
    return Contract(name, version, columns, key, expectations)


def _columns(loader: _StrictLoader, node: yaml.Node) -> tuple[Column, ...]:
    if not isinstance(node, yaml.MappingNode) or not node.value:
        _refuse("meta.twinscore.columns must map at least one column name to its type", node)
    _check_keys(node)
    columns = []
    for key, value in node.value:
        try:
            columns.append(Column(key.value, type_of(_value(loader, value, str, f"the type of {key.value!r}", "text"))))
        except ContractInvalid as exc:
            if exc.message.startswith("line "):
                raise
            _refuse(f"column {key.value!r}: {exc.message}".rstrip("."), value)
    return tuple(columns)


def _marked(loader: _StrictLoader, node: yaml.Node, columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """Return the columns with how the audit log has each."""
    part = _fields(node, "meta.twinscore.audit", required=(), optional=tuple(column.name for column in columns))
    forms: dict[str, AuditForm] = {}
    for name, value in part.items():
        form = _value(loader, value, str, f"meta.twinscore.audit of {name!r}", "text")
        if form not in AUDIT_FORMS:
            _refuse(f"meta.twinscore.audit of {name!r} must be one of {', '.join(AUDIT_FORMS)}, not {form!r}", value)
        forms[name] = form
    return tuple(replace(column, audit=forms.get(column.name, "keep")) for column in columns)


def _expectation(loader: _StrictLoader, node: yaml.Node) -> Expectation:
    part = _fields(node, "an expectation", required=("type", "kwargs"), optional=("severity", "meta"))
    kwargs, meta = ({str(k): v for k, v in _value(loader, part[key], dict, key, "a mapping").items()}
                    if key in part else {} for key in ("kwargs", "meta"))  # fmt: skip
    severity = _value(loader, part["severity"], str, "severity", "text") if "severity" in part else "critical"
    if severity not in SEVERITIES:
        _refuse(f"severity {severity!r} must be one of {', '.join(SEVERITIES)}", part["severity"])
    return Expectation(_value(loader, part["type"], str, "type", "text"), kwargs, severity, meta)


def _fields(
    node: yaml.Node, what: str, *, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        _refuse(f"{what} must be a mapping of {', '.join(required or optional)}", node)
    _check_keys(node)
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if key.value not in required + optional:
            _refuse(f"{what} has no key {key.value!r}. {near(key.value, required + optional)}".rstrip("."), key)
        found[key.value] = value
    missing = [name for name in required if name not in found]
    if missing:
        _refuse(f"{what} lacks {', '.join(missing)}", node)
    return found


def _items(node: yaml.Node, what: str) -> list[yaml.Node]:
    if not isinstance(node, yaml.SequenceNode):
        _refuse(f"{what} must be a list", node)
    return list(node.value)


def _value(loader: _StrictLoader, node: yaml.Node, kind: type, what: str, expected: str) -> Any:
    try:
        value = loader.construct_object(node, deep=True)
    except yaml.constructor.ConstructorError as exc:
        _refuse(f"{what}: {exc.problem}", node, exc)
    except ValueError as exc:
        _refuse(f"{what}: {exc}", node, exc)
    if type(value) is not kind:
        _refuse(f"{what} must be {expected}, not {type(value).__name__}", node)
    if not _plain(value):
        _refuse(f"{what} may hold only text, finite numbers, true, false, null, lists and mappings", node)
    return value


def _plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_plain(item) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int | bool)
