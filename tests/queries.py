"""Every PromQL expression of the deployments, and the names of metrics in one; for the tests of who exposes them.

Tests of the rooms that expose metrics import this: what a dashboard asks for must be there.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

__all__ = ["DEPLOYMENTS", "alert_expressions", "dashboard_expressions", "names_in", "wanted_names"]

DEPLOYMENTS = Path(__file__).resolve().parents[1] / "deployments"
_WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"}


def names_in(expression: str) -> set[str]:
    """Return the metrics of an expression: names that are no function, no keyword and no label.

    >>> sorted(names_in('sum by (le) (rate(a_bucket{x="b"}[5m])) / time() > on (z) c'))
    ['a_bucket', 'c']
    """
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", expression)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", bare)
    return set(re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", bare)) - _WORDS


def dashboard_expressions() -> list[str]:
    """Return every expression of the dashboard, those of its variables too, with the variables filled in."""
    found = json.loads((DEPLOYMENTS / "grafana" / "twinscore.json").read_text())
    expressions = [target["expr"] for panel in found["panels"] for target in panel.get("targets", ())]
    for one in found["templating"]["list"]:
        if one["type"] == "query":
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", one["query"]["query"])
            assert match is not None
            expressions.append(match.group(1))
    filled = {"$model": "loans", "$version": ".*", "$path": ".*", "$__rate_interval": "1m"}
    for name, value in filled.items():
        expressions = [one.replace(name, value) for one in expressions]
    return expressions


def alert_expressions() -> dict[str, str]:
    """Return the expression of each alert by its name."""
    found = yaml.safe_load((DEPLOYMENTS / "prometheus" / "alerts.yml").read_text())
    return {rule["alert"]: rule["expr"] for group in found["groups"] for rule in group["rules"]}


def wanted_names(prefix: str) -> set[str]:
    """Return the metrics that begin with a prefix and that dashboard or alerts ask for."""
    expressions = [*dashboard_expressions(), *alert_expressions().values()]
    return {name for one in expressions for name in names_in(one) if name.startswith(prefix)}
