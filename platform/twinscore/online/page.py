"""The documentation page of one endpoint as one HTML text; needs no network and no other file.

Everything that comes from a model or a contract is escaped here, once; the page's own script only reads
what the server answers and shows it as text.
"""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

from twinscore.online.answer import PROBLEMS
from twinscore.online.column_schema import column_schema
from twinscore.online.wire.native import example_answer

if TYPE_CHECKING:
    from twinscore.contract.model import Column, Contract
    from twinscore.online.endpoint import Endpoint

__all__ = ["docs_page"]

_SHOWN_CATEGORIES = 30
_SIGNS = {"minimum": "&ge;", "exclusiveMinimum": "&gt;", "maximum": "&le;", "exclusiveMaximum": "&lt;"}


def docs_page(endpoint: Endpoint) -> str:
    """Return the page: the endpoint, its columns and rules, a real example, the refusals and a box to try it."""
    bundle = endpoint.bundle
    row = endpoint.example()
    answer = example_answer(endpoint, row)
    card_rows = "".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th><td><code>{escape(str(value))}</code></td></tr>"
        for name, value in endpoint.facts().items()
        if value is not None
    )
    template = Template(files("twinscore.online").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        model=escape(endpoint.model, quote=True),
        version=escape(str(endpoint.version)),
        facts=card_rows,
        columns="".join(_column_row(column, bundle.contract) for column in bundle.contract.columns),
        example=escape(json.dumps(row, indent=2, ensure_ascii=False)),
        curl_body=escape(json.dumps(row, ensure_ascii=True).replace("'", "\\u0027")),
        answer=escape(json.dumps(answer, indent=2, ensure_ascii=False)),
        problems="".join(
            f"<tr id='{kind.code}'><td>{kind.status}</td><td><code>{kind.code}</code></td>"
            f"<td>{escape(kind.title)}</td></tr>"
            for kind in PROBLEMS.values()
        ),
        max_rows=endpoint.limits.max_rows,
        max_mib=f"{endpoint.limits.max_body_bytes / 2**20:g}",
    )


def _column_row(column: Column, contract: Contract) -> str:
    schema = column_schema(column, contract)
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    role = "key" if column.name in contract.key else ""
    missing = "may be null" if "null" in kinds else "required"
    return (
        f"<tr><td><code>{escape(column.name)}</code> <em>{role}</em></td>"
        f"<td>{escape(str(schema.get('format', kinds[0])))}</td><td>{missing}</td><td>{_rules(schema)}</td></tr>"
    )


def _rules(schema: dict[str, Any]) -> str:
    said = []
    if "enum" in schema:
        values = [value for value in schema["enum"] if value is not None]
        shown = ", ".join(f"<code>{escape(str(value))}</code>" for value in values[:_SHOWN_CATEGORIES])
        more = f" and {len(values) - _SHOWN_CATEGORIES} more" if len(values) > _SHOWN_CATEGORIES else ""
        said.append(f"one of {shown}{more}")
    for word, sign in _SIGNS.items():
        if word in schema:
            said.append(f"{sign} {schema[word]:g}")
    if "pattern" in schema:
        said.append(f"matches <code>{escape(str(schema['pattern']))}</code>")
    for word, sign in (("minLength", "at least"), ("maxLength", "at most")):
        if word in schema:
            said.append(f"{sign} {schema[word]} characters")
    return ", ".join(said)
