"""Bytes to JSON values, or a refusal that says where; knows nothing of HTTP, rows or contracts.

RFC 8259 leaves open what a parser does with duplicate keys, NaN, numbers beyond a double, lone
surrogates and other encodings; the Python parsers answer differently, and two readers of one body
could score two different rows. Here each of them is refused.

Two decoders, one answer. The fast one (msgspec) refuses everything above except duplicate keys, which
it cannot see: so keys are counted, and where the count is not beyond doubt the slow one (standard
library with hooks) decides. The slow one also decides whenever the fast one refuses, and finds the
place for the message.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from twinscore.errors import RequestMalformed, RequestTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MAX_DEPTH", "MAX_TEXT_CHARS", "decode", "decode_slowly", "has_no_more_keys"]

MAX_DEPTH = 32
"""Deepest nesting of arrays and objects that is read."""
MAX_TEXT_CHARS = 10_000
"""Longest string or key that is read, in characters."""

_DIGITS_MAX = 4300  # what int() takes from text before it refuses (CVE-2020-10735)
_SHOWN_CHARS = 200  # of a path in a message: keys are the caller's text, and a payload is never sent back
_KEY_END = re.compile(rb'"[ \t\n\r]*:')
_SURROGATE = re.compile("[\ud800-\udfff]")
_QUOTE = ord('"')
_FOLD, _OPENING, _CLOSING = 0xDF, ord("["), ord("]")  # one bit tells [ from { and ] from }
_STEP = np.zeros(256, dtype=np.int8)
_STEP[[ord("["), ord("{")]] = 1
_STEP[[ord("]"), ord("}")]] = -1
_WHITESPACE = b" \t\n\r"
_fast = msgspec.json.Decoder().decode


def decode(body: bytes, *, nan_is_null: bool = False) -> object:
    """Return the value of a JSON text in UTF-8; NaN may stand for null, for clients that cannot help writing it.

    Raises:
        RequestMalformed: the text is not JSON, or is JSON that two readers could take differently.
        RequestTooLarge: a string or key is longer than `MAX_TEXT_CHARS`.

    >>> decode(b'{"age": 41}')
    {'age': 41}
    """
    long_text = _scan(body)
    try:
        value = _fast(body)
    except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
        return decode_slowly(body, nan_is_null=nan_is_null)
    if not has_no_more_keys(body, _count_keys(value)) and not has_no_more_keys(body, _count_all_keys(value)):
        return decode_slowly(body)
    if long_text:
        _refuse_long_text(value)
    return value


def has_no_more_keys(body: bytes, n_keys: int) -> bool:
    """Tell whether a JSON text has surely no more keys than were decoded from it, so that none came twice.

    Every key has one colon and one closing quote, so neither count can be below the keys in the text.

    >>> has_no_more_keys(b'{"at": "12:30"}', 1), has_no_more_keys(b'{"a": 1, "a": 2}', 1)
    (True, False)
    """
    return body.count(b":") == n_keys or len(_KEY_END.findall(body)) == n_keys


def decode_slowly(body: bytes, *, nan_is_null: bool = False) -> object:
    """Do what `decode` does through the standard library alone; the authority where the two could differ."""
    long_text = _scan(body)
    if not body.strip(_WHITESPACE):
        message = "The body is empty; expected a JSON object."
        raise RequestMalformed(message)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"The body is not UTF-8: byte {error.start} cannot be read. Send UTF-8 without a byte order mark."
        raise RequestMalformed(message, offset=error.start) from None
    if text.startswith("\ufeff"):
        message = "The body starts with a byte order mark; send UTF-8 without one."
        raise RequestMalformed(message, offset=0)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_nan_as_null if nan_is_null else _Rejected.constant,
            parse_float=_float,
            parse_int=_int,
        )
    except json.JSONDecodeError as error:
        message = f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        raise RequestMalformed(message, line=error.lineno, column=error.colno) from None
    except RecursionError:
        message = f"The body is nested deeper than {MAX_DEPTH} levels."
        raise RequestMalformed(message) from None
    for path, found in _walk(value, ""):
        if isinstance(found, _Rejected):
            place = path[:_SHOWN_CHARS]
            message = f"The value at {place or 'the top'} {found.why}."
            raise RequestMalformed(message, path=place)
        if any(not text.isascii() and _SURROGATE.search(text) for text in _texts(found)):
            place = path[:_SHOWN_CHARS]
            message = f"A string at {place or 'the top'} has a lone surrogate escape; it is no Unicode text."
            raise RequestMalformed(message, path=place)
    if long_text:
        _refuse_long_text(value)
    return value


@dataclass(frozen=True, slots=True)
class _Rejected:
    """Stands where a value was refused, so that its path can be told afterwards."""

    why: str

    @classmethod
    def constant(cls, name: str) -> _Rejected:
        return cls(f"is {name}; JSON has no such number. Send null for a missing value")


def _nan_as_null(name: str) -> _Rejected | None:
    return None if name == "NaN" else _Rejected.constant(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Rejected:
    built = dict(pairs)
    if len(built) == len(pairs):
        return built
    # An inner refusal is hidden by this outer one: either alone refuses the body.
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return _Rejected(f"has the key {key[:80]!r} twice")
        seen.add(key)
    message = "unreachable: fewer keys than pairs means one came twice"
    raise AssertionError(message)


def _float(literal: str) -> float | _Rejected:
    value = float(literal)
    if value in (float("inf"), float("-inf")):
        return _Rejected("is a number beyond the range of a 64-bit float")
    return value


def _int(literal: str) -> int | _Rejected:
    n_digits = len(literal) - literal.startswith("-")
    if n_digits > _DIGITS_MAX:
        return _Rejected(f"is an integer of {n_digits} digits; at most {_DIGITS_MAX} are read")
    return int(literal)


def _scan(body: bytes) -> bool:
    """Refuse deep nesting before parsing; return whether a string may be longer than allowed."""
    deep = body.count(b"[") + body.count(b"{") > MAX_DEPTH
    long = len(body) > MAX_TEXT_CHARS
    if not (deep or long):
        return False
    if b"\\" in body:
        # Escapes of the same length without quotes, so that every quote left opens or closes a string.
        body = body.replace(b"\\\\", b"xx").replace(b'\\"', b"xx")
    text = np.frombuffer(body, dtype=np.uint8)
    quotes = np.flatnonzero(text == _QUOTE)
    if deep:
        folded = text & _FOLD
        brackets = np.flatnonzero((folded == _OPENING) | (folded == _CLOSING))
        outside = brackets[np.searchsorted(quotes, brackets) % 2 == 0]
        if len(outside) > MAX_DEPTH and int(np.cumsum(_STEP[text[outside]], dtype=np.int32).max()) > MAX_DEPTH:
            message = f"The body is nested deeper than {MAX_DEPTH} levels; a row is a flat object."
            raise RequestMalformed(message, max_depth=MAX_DEPTH)
    if not long or len(quotes) == 0:
        return False
    # The text between the first quote and the second, the third and the fourth; an unclosed string ends with the body.
    ends = quotes[1::2] if len(quotes) % 2 == 0 else np.append(quotes[1::2], len(body))
    return int((ends - quotes[0::2]).max()) - 1 > MAX_TEXT_CHARS


def _count_keys(value: object) -> int:
    """Count the keys of `{..}` or `{"instances": [{..}, ..]}`, which is what most bodies are."""
    if not isinstance(value, dict):
        return 0
    rows = value.get("instances")
    if not isinstance(rows, list):
        return len(value)
    return len(value) + sum([len(row) for row in rows if isinstance(row, dict)])


def _count_all_keys(value: object) -> int:
    """Count the keys of any value; cells that hold no others are not looked at one by one."""
    if isinstance(value, dict):
        inside = [item for item in value.values() if isinstance(item, dict | list)]
        return len(value) + sum([_count_all_keys(item) for item in inside])
    if not isinstance(value, list) or {dict, list}.isdisjoint(map(type, value)):
        return 0
    return sum([_count_all_keys(item) for item in value])


def _walk(value: object, path: str) -> Iterator[tuple[str, object]]:
    """Yield every value with its JSON pointer (RFC 6901)."""
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, f"{path}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _walk(item, f"{path}/{position}")


def _texts(value: object) -> Iterable[str]:
    """Return the strings that stand at one place: the value itself, or the keys of an object."""
    if isinstance(value, str):
        return (value,)
    return value if isinstance(value, dict) else ()


def _refuse_long_text(value: object) -> None:
    for path, found in _walk(value, ""):
        for text in _texts(found):
            if len(text) > MAX_TEXT_CHARS:
                place = path[:_SHOWN_CHARS]
                at = place or "the top"
                message = f"A string at {at} has {len(text)} characters; at most {MAX_TEXT_CHARS} are read."
                raise RequestTooLarge(message, path=place, max_chars=MAX_TEXT_CHARS)
