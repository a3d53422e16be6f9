"""The generated description: true types and rules, real examples, a page that stands alone."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from twinscore.contract.model import Column, Contract, Expectation
from twinscore.online.call import Call
from twinscore.online.column_schema import column_schema
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway, Reply
from twinscore.online.openapi import describe
from twinscore.online.page import docs_page

from .conftest import ask


def schema_of(*expectations: Expectation, kind: pa.DataType | None = None, key: str = "id") -> dict[str, Any]:
    column = Column("x", kind or pa.float64())
    return column_schema(column, Contract("m", 1, (Column("id", pa.int64()), column), (key,), expectations))


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (pa.int64(), {"type": ["integer", "null"]}),
        (pa.float64(), {"type": ["number", "null"]}),
        (pa.bool_(), {"type": ["boolean", "null"]}),
        (pa.string(), {"type": ["string", "null"]}),
        (pa.timestamp("us", "UTC"), {"type": ["string", "null"], "format": "date-time"}),
        (pa.date32(), {"type": ["string", "null"], "format": "date"}),
    ],
)
def test_arrow_types_have_a_json_type(kind: pa.DataType, schema: dict[str, Any]) -> None:
    """Each type a contract can hold is described as the JSON it is sent as."""
    assert schema == schema_of(kind=kind)


@pytest.mark.parametrize(
    ("name", "kwargs", "said"),
    [
        ("expect_column_values_to_not_be_null", {}, {"type": "number"}),
        ("expect_column_values_to_be_between", {"min_value": 0, "max_value": 1.5}, {"minimum": 0, "maximum": 1.5}),
        ("expect_column_values_to_be_between", {"min_value": 0, "strict_min": True}, {"exclusiveMinimum": 0}),
        ("expect_column_values_to_be_between", {"min_value": "2024-01-01"}, {}),
        ("expect_column_values_to_be_in_set", {"value_set": [1, 2]}, {"enum": [1, 2, None]}),
        ("expect_column_values_to_match_regex", {"regex": "^a"}, {"pattern": "^a"}),
        ("expect_column_value_lengths_to_be_between", {"min_value": 1}, {"minLength": 1}),
    ],
)
def test_row_rules_become_json_schema(name: str, kwargs: dict[str, Any], said: dict[str, Any]) -> None:
    """A critical row rule is told in the words of JSON schema; where those cannot say it, nothing is claimed."""
    assert {"type": ["number", "null"], **said} == schema_of(Expectation(name, {"column": "x", **kwargs}))


def test_rules_that_refuse_no_row_are_not_claimed() -> None:
    """Warnings, run-level shares and rules of other columns do not narrow the schema."""
    between = {"min_value": 0, "max_value": 1}
    name = "expect_column_values_to_be_between"

    assert {"type": ["number", "null"]} == schema_of(
        Expectation(name, {"column": "x", **between}, severity="warning"),
        Expectation(name, {"column": "x", **between, "mostly": 0.9}),
        Expectation(name, {"column": "id", **between}),
    )


def test_key_columns_are_not_nullable() -> None:
    """A row without its key is refused, so the description says so."""
    assert {"type": "number"} == schema_of(key="x")


def test_every_column_and_status_is_described(trained: Any) -> None:
    """The document lists the contract's columns as required and every status that predict can give."""
    document = describe(trained.endpoint)
    row = document["components"]["schemas"]["Row"]
    operation = document["paths"]["/predict"]["post"]

    names = list(trained.bundle.contract.schema.names)
    assert (names, names, False) == (list(row["properties"]), row["required"], row["additionalProperties"])
    assert {"200", "400", "413", "415", "422", "503"} == set(operation["responses"])


def test_references_resolve_and_the_document_is_json(trained: Any) -> None:
    """Every $ref points at something, and the document survives JSON."""
    document = describe(trained.endpoint)
    text = msgspec.json.encode(document).decode()

    assert document == json.loads(text)
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) <= set(document["components"]["schemas"])


def test_examples_are_real(trained: Any) -> None:
    """Each example request is accepted, and the example answer is the endpoint's own."""
    operation = describe(trained.endpoint)["paths"]["/predict"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    answers = [
        ask(trained.endpoint, json.dumps(example["value"]).encode(), request_id="example")
        for example in examples.values()
    ]

    assert [200, 200] == [answer.status for answer in answers]
    assert operation["responses"]["200"]["content"]["application/json"]["example"] == json.loads(answers[0].body)


def test_every_path_is_there_and_answers_as_described(trained: Any) -> None:
    """Each page answers 200 with its example; each example request of each protocol gets its example answer."""
    gateway = Gateway("members", trained.endpoint)
    for path, item in describe(trained.endpoint)["paths"].items():
        for method, operation in item.items():
            described = operation["responses"]["200"]["content"]
            wanted = described.get("application/json", {}).get("example")
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            sent = [one["value"] for one in content.get("examples", {}).values()] or [content.get("example")]
            for value in sent:
                headers = {b"content-type": b"application/json"}
                body = b"" if value is None else json.dumps(value).encode()
                reply = gateway.handle(Call(method.upper(), path, headers, body, "example"))
                assert isinstance(reply, Reply)
                assert 200 == reply.answer.status, (path, reply.answer.body)
                if wanted is not None:
                    assert wanted == json.loads(reply.answer.body)


class Elements(HTMLParser):
    """Collects what a page links, names and leaves open."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag's links and id."""
        for name, value in attrs:
            if name in {"href", "src"}:
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag not in {"meta", "link", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost tag, which must be this one."""
        assert tag == self.open.pop()


def test_the_page_stands_alone(trained: Any) -> None:
    """No link leaves the endpoint, every tag is closed, every column and refusal is there."""
    page = docs_page(trained.endpoint)
    elements = Elements()
    elements.feed(page)

    assert [] == elements.open
    assert {"data:,", "openapi.json", "contract", "version", "health/ready"} == set(elements.links)
    assert len(elements.ids) == len(set(elements.ids))
    assert all(f"<code>{name}</code>" in page for name in trained.bundle.contract.schema.names)
    assert {"bad_json", "too_large", "unsupported_media_type", "contract_broken"} <= set(elements.ids)


def test_the_page_escapes_what_comes_from_a_contract(binary: Any) -> None:
    """A category that looks like markup stays text."""
    nasty = Expectation(
        "expect_column_values_to_match_regex", {"column": "plan", "regex": "<script>x()</script>|[a-z_]+"}
    )
    contract = binary.bundle.contract
    contract = dataclasses.replace(contract, expectations=(*contract.expectations, nasty))
    bundle = dataclasses.replace(binary.bundle, contract=contract)

    assert "<script>x()" not in docs_page(Endpoint(bundle, model="members", version="1"))
