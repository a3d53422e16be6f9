"""Strict JSON: two decoders, one answer."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from twinscore.errors import RequestError, RequestMalformed, RequestTooLarge
from twinscore.online.strict_json import MAX_DEPTH, MAX_TEXT_CHARS, decode, decode_slowly

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8) | st.sampled_from(
    ['a":', '"', "\\", '\\":', "[[", "}", "instances", "NaN", "\ud7ff", "\U0001f600", ":", "é"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4))
ROWS = st.dictionaries(TEXTS, SCALARS, max_size=6)
DOCUMENTS = VALUES | ROWS | st.builds(lambda rows: {"instances": rows}, st.lists(ROWS, max_size=4))
FRAGMENTS = st.sampled_from(
    [
        b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"1E400", b"01", b"1.", b".5", b"-", b"+1", b"\xff",
        b"\xed\xa0\x80", b"\xc0\x80", b"\\ud800", b'"\\ud800"', b'"\\udc00\\ud800"', b"\xef\xbb\xbf", b"\x00", b"\x1f",
        b'{"a":1,"a":2}', b'{"a" :1,"a"\n:2}', b'{"a":1,"\\u0061":2}', b"[" * 40, b"{", b"}", b"]", b",", b":", b'"',
        b"1" * 4300, b"-" + b"1" * 4300, b"1" * 4301, b"1" * 400 + b".5", b"\\", b"'", b"//", b"\t", b"\x0b", b"\xa0",
        b"0." + b"1" * 900, b"1" * 400 + b"e-300", b"true", b"nul", b'"' + b"x" * 10_001 + b'"',
        b"2.5e-324", b"-0", b"-0.0",
    ]
)  # fmt: skip


def outcome(decoder: Any, body: bytes) -> str:
    """Return what a decoder says, with the types and signs that == would hide."""
    try:
        return repr(decoder(body))
    except RequestError as error:
        return error.code


def mutate(document: object, fragment: bytes, at: float, cut: int, ascii_only: bool) -> bytes:
    body = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    position = int(at * len(body))
    return body[:position] + fragment + body[position + cut :]


@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 1]))
@settings(max_examples=300, deadline=None)
def test_valid_documents_come_back_as_they_were(document: object, ascii_only: bool, indent: int | None) -> None:
    """What the standard library writes is read back equal, with types and signs, by both decoders."""
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()

    assert [repr(document)] * 2 == [repr(decode(body)), repr(decode_slowly(body))]


@given(DOCUMENTS, FRAGMENTS, st.floats(0, 1), st.integers(0, 3), st.booleans())
@example({"a": 1}, b',"a":2', 0.9, 0, True)
@example({"a": ""}, b"\\ud800", 0.86, 0, True)
@example({"": 1}, b"\\udc00", 0.25, 0, True)
@example({"a": 1}, b"-" + b"1" * 4300, 0.75, 1, True)
@example({"a": 1}, b"1" * 4301, 0.75, 1, True)
@example({"a": 1}, b"1" * 400 + b"e-300", 0.75, 1, True)
@settings(max_examples=1500, deadline=None)
def test_both_decoders_agree_on_broken_documents(
    document: object, fragment: bytes, at: float, cut: int, ascii_only: bool
) -> None:
    """A document is refused by the fast decoder exactly when the slow one refuses it, else read equal."""
    body = mutate(document, fragment, at, cut, ascii_only)

    assert outcome(decode_slowly, body) == outcome(decode, body)


@given(st.binary(max_size=60))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """No byte string raises anything but a refusal, and both decoders agree."""
    assert outcome(decode_slowly, body) == outcome(decode, body)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["1", '":"', '"\\":"', "null"])), max_size=4),
       st.sampled_from(["", " ", "\n\t"]))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_duplicate_keys_are_refused_exactly(pairs: list[tuple[str, str]], space: str) -> None:
    """A key that comes twice is refused however the colons around it are written; others are read."""
    body = ("{" + ",".join(f'"{key}"{space}:{value}' for key, value in pairs) + "}").encode()
    twice = len({key for key, _ in pairs}) < len(pairs)

    assert (outcome(decode, body) == "bad_json") is twice


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b'{"a": NaN}', "/a is NaN"),
        (b'{"instances": [{"a": 1}, {"a": 1e999}]}', "/instances/1/a is a number beyond"),
        (b'{"instances": [{"a": 1, "a": 1}]}', "/instances/0 has the key 'a' twice"),
        (b'{"a": "\\ud800"}', "surrogate"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a": "\xff"}', "not UTF-8: byte 7"),
        (b"[" * 100_000, "deeper than 32"),
        (b'{"a":' * 50_000, "deeper than 32"),
        (b"1" * 5000, "5000 digits"),
        (b'{"a": 1,}', "line 1"),
    ],
)
def test_refusals_say_where(body: bytes, said: str) -> None:
    """A refusal names the place and the reason."""
    with pytest.raises(RequestMalformed) as caught:
        decode(body)

    assert said in caught.value.message


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
@pytest.mark.parametrize("filler", ["", '"]]]]",', '"\\"]]]",', '"\\\\",'])
def test_depth_counts_brackets_outside_strings(depth: int, filler: str) -> None:
    """The limit is exact and closing brackets inside strings do not hide depth."""
    body = (f"[{filler}" * depth + "1" + "]" * depth).encode()
    expected = "refused" if depth > MAX_DEPTH else "read"

    try:
        decode(body)
        seen = "read"
    except RequestMalformed:
        seen = "refused"

    assert expected == seen


@pytest.mark.parametrize("unit", ["x", "é", "\U0001f600", "\\", '"'])
@pytest.mark.parametrize("n_chars", [MAX_TEXT_CHARS, MAX_TEXT_CHARS + 1])
def test_long_text_counts_characters(unit: str, n_chars: int) -> None:
    """Strings and keys are measured in characters, however many bytes or escapes they take."""
    for document in ({"a": unit * n_chars}, {unit * n_chars: 1}):
        body = json.dumps(document).encode()
        if n_chars > MAX_TEXT_CHARS:
            with pytest.raises(RequestTooLarge):
                decode(body)
        else:
            assert document == decode(body)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_read_to_the_nearest_double(number: float) -> None:
    """Seventeen digits read back to the same bits."""
    read = decode(f"{number:.17g}".encode())

    assert isinstance(read, int | float)
    assert math.copysign(1, number) == math.copysign(1, read) or number == 0
    assert number == read
