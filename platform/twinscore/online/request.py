"""The rows of a request: content type, limits and shape; knows no contract, no model and no HTTP library."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinscore.contract.show import show
from twinscore.contract.verdict import Fault, pointer
from twinscore.errors import MediaTypeUnsupported, RequestMalformed, RequestTooLarge
from twinscore.online import strict_json
from twinscore.online.asked import RowsRefusedError

if TYPE_CHECKING:
    from twinscore.settings import Settings

__all__ = ["Limits", "body_too_large", "check_body", "read_rows"]

_JSON = re.compile(r'application/json(?:\s*;\s*charset\s*=\s*"?utf-8"?)?', re.IGNORECASE)
_EXTRA_MEMBERS = 10_000
_TOP = ""
_INSTANCES = "/instances"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for."""

    max_body_bytes: int = 16 * 1024 * 1024
    max_rows: int = 10_000

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return the limits that the settings name."""
        return cls(max_body_bytes=settings.max_body_bytes, max_rows=settings.max_rows_per_request)


def read_rows(
    body: bytes,
    content_type: str | None,
    limits: Limits,
    *,
    n_columns: int,
    has_instances_column: bool = False,
) -> tuple[Sequence[object], str]:
    """Return the JSON values of the rows and the JSON pointer that they stand under.

    Args:
        body: one flat row, or `{"instances": [row, ..]}`.
        content_type: what the caller says the body is.
        limits: bytes and rows that are read.
        n_columns: columns of a row; requests with far more members are refused before each is looked at.
        has_instances_column: a column is called `instances`; a flat row may then hold it, but never as an array.

    Raises:
        MediaTypeUnsupported, RequestTooLarge, RequestMalformed: the body cannot be read.
        RowsRefusedError: it is JSON of another shape.
    """
    check_body(body, content_type, limits)
    value = strict_json.decode(body)
    if not isinstance(value, dict):
        expected = 'a row object or {"instances": [row, ..]}'
        raise _wrong_shape(_TOP, "type", expected, value)
    rows = value.get("instances")
    if isinstance(rows, list):
        listed = _listed(rows, value, limits)
        _refuse_flood(listed, n_columns)
        return listed, _INSTANCES
    if "instances" in value and not has_instances_column:
        raise _wrong_shape(_INSTANCES, "type", "an array of rows", rows)
    _refuse_flood([value], n_columns)
    return [value], _TOP


def check_body(body: bytes, content_type: str | None, limits: Limits) -> None:
    """Refuse a body that is not called JSON, too large or empty, without reading it; raises as `read_rows`."""
    plain = content_type == "application/json"
    if not plain and (content_type is None or _JSON.fullmatch(content_type.strip()) is None):
        message = "The content type is not one that is read; send application/json in UTF-8, or an Arrow stream."
        raise MediaTypeUnsupported(message, expected="application/json")
    if len(body) > limits.max_body_bytes:
        raise body_too_large(limits)
    if not body:
        message = "The body is empty; expected a JSON object."
        raise RequestMalformed(message)


def body_too_large(limits: Limits) -> RequestTooLarge:
    """Return the refusal of a body beyond the limit; listeners raise it before reading the rest."""
    message = f"The body is larger than {limits.max_body_bytes} bytes; send fewer rows at a time."
    return RequestTooLarge(message, max_body_bytes=limits.max_body_bytes)


def _listed(rows: list[object], body: dict[str, object], limits: Limits) -> list[object]:
    if len(body) > 1:
        other = next(name for name in body if name != "instances")
        raise _wrong_shape(pointer(_TOP, other), "unknown_member", "only instances", body[other])
    if not rows:
        raise _wrong_shape(_INSTANCES, "row_count", f"1 to {limits.max_rows} rows", rows)
    if len(rows) > limits.max_rows:
        message = f"The request has {len(rows)} rows; at most {limits.max_rows} are read at a time."
        raise RequestTooLarge(message, rows=len(rows), max_rows=limits.max_rows)
    return rows


def _refuse_flood(rows: Sequence[object], n_columns: int) -> None:
    """Refuse a request that could only be answered by listing a great many unknown members."""
    n_extra = sum([len(row) for row in rows if isinstance(row, dict)]) - n_columns * len(rows)
    if n_extra > _EXTRA_MEMBERS:
        message = f"The rows have {n_extra} members more than the contract has columns; send its columns only."
        raise RequestTooLarge(message, extra_members=n_extra)


def _wrong_shape(path: str, rule: str, expected: str, value: object) -> RowsRefusedError:
    """Return the refusal of a body that holds no rows; a container is shown by its kind only."""
    return RowsRefusedError([Fault(path, None, rule, expected, show(value), "critical")], 1, 1)
