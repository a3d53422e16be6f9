"""The loops between JSON rows and columns, compiled by numba; imported only when a model is loaded.

Reading takes strict JSON alone (RFC 8259), and of that only what needs no judgement: flat objects with every column
once, text without escapes. It never decides that something is wrong: whatever else comes is left to the readers that
name faults. Writing puts texts side by side that msgspec wrote.
"""

# mypy: disable-error-code="untyped-decorator,assignment,no-untyped-call"
# numba has no types, and its integers are not Python's.

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from twinscore.scoring.kernels import compiled

__all__ = ["FLOAT", "LONGEST_TEXT", "STRIDE", "TEXT", "TRUTH", "WHOLE", "WORD", "gather", "read_cells", "weave"]

FLOAT, WHOLE, TRUTH, TEXT = 0, 1, 2, 3
"""Kinds of columns."""
LONGEST_TEXT = 10_000
"""Bytes of a string; longer ones are left to the reader that counts their characters."""
WORD = 8
"""Bytes that are compared at a time; so many have to be there behind the end of names and of what they stand in."""
STRIDE = 32
"""Bytes that are copied at a time; so many have to be there behind the end of a text, and of room for one."""

_QUOTE, _BACKSLASH, _COMMA, _COLON = ord('"'), ord("\\"), ord(","), ord(":")
_OPEN, _CLOSE, _END = ord("{"), ord("}"), ord("]")
_MINUS, _PLUS, _POINT, _ZERO, _NINE = ord("-"), ord("+"), ord("."), ord("0"), ord("9")
_E, _F, _N, _T = ord("e"), ord("f"), ord("n"), ord("t")
_CAPITAL_E = ord("E")
_SPACE, _TAB, _FEED, _RETURN = ord(" "), ord("\t"), ord("\n"), ord("\r")
_A, _L, _R, _S, _U = ord("a"), ord("l"), ord("r"), ord("s"), ord("u")
_EXACT = 2**53
_EXACT_TENS = 22
FIRST = np.array([256**n_bytes - 1 for n_bytes in range(WORD + 1)], dtype=np.uint64)
"""Of a word in memory, as many bytes as the place says."""
TENS = np.array([10.0**power for power in range(_EXACT_TENS + 1)])


def _loading(kind: Any) -> Any:
    """Return what reads a whole number at a place of a text: for numba's brackets a negative place is one, too."""

    def typed(_: Any, text: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            wanted = context.get_value_type(kind).as_pointer()
            value = builder.load(builder.bitcast(builder.gep(data, [arguments[1]]), wanted))
            value.align = 1
            return value

        return kind(text, types.int64), generate

    return typed


_byte: Any = intrinsic(_loading(types.uint8))
_word: Any = intrinsic(_loading(types.uint64))


@compiled
def read_cells(
    text: Any, at: Any, names: Any, name_ends: Any, kinds: Any, order: Any, cells: Any, floats: Any, stops: Any,
    nulls: Any, hard: Any,
) -> Any:  # fmt: skip
    """Read the rows of `[{..}, ..]}` and return how many there are, and how many numbers are left to be read.

    Args:
        text: uint8 (n_bytes + 1,), ending with a zero, which nothing here takes; WORD bytes more are in its memory.
        at: place behind the opening bracket.
        names, name_ends: the columns' names in quotes, one behind the other, and WORD bytes; where each ends.
        kinds: of the columns, (n_columns,).
        order: the column expected at each place of a row, (n_columns,); kept up as rows are read.
        cells: int64 (n_columns, most_rows), out: whole numbers, truths as 0 and 1, where a text starts; 0 for null.
        floats: the same memory as float64, out.
        stops: (n_columns, most_rows), out: where a text ends.
        nulls: bool (n_columns, most_rows), out where a cell is null; False before.
        hard: int64 (n_columns * most_rows, 3), out: place in `floats`, start and end of the numbers that two exact
            floats and one operation do not give (Clinger, 1990, "How to read floating point numbers accurately").

    Returns:
        Rows and hard numbers; rows are -1 in doubt.
    """
    n_columns, most = cells.shape
    seen = np.zeros(n_columns, np.int64)
    doubt = (-1, 0)
    row = n_hard = 0
    i = _blank(text, at)
    while True:
        if _byte(text, i) != _OPEN or row == most:
            return doubt
        i += 1
        for place in range(n_columns):
            i = _blank(text, i)
            column = order[place]
            length = _named(text, i, names, name_ends, column)
            if length == 0:
                for other in range(n_columns):
                    length = _named(text, i, names, name_ends, other)
                    if length > 0:
                        column = order[place] = other
                        break
            if length == 0 or seen[column] > row:
                return doubt
            seen[column] = row + 1
            i = _blank(text, i + length)
            if _byte(text, i) != _COLON:
                return doubt
            i = _blank(text, i + 1)
            kind = kinds[column]
            if _byte(text, i) == _N:
                if text[i + 1] != _U or text[i + 2] != _L or text[i + 3] != _L:
                    return doubt
                i += 4
                cells[column, row] = 0
                stops[column, row] = 0
                nulls[column, row] = True
            elif kind == TEXT:
                if _byte(text, i) != _QUOTE:
                    return doubt
                i += 1
                cells[column, row] = i
                while _byte(text, i) >= _SPACE and _byte(text, i) != _QUOTE and _byte(text, i) != _BACKSLASH:
                    i += 1
                stops[column, row] = i
                if _byte(text, i) != _QUOTE or i - cells[column, row] > LONGEST_TEXT:
                    return doubt
                i += 1
            elif kind == TRUTH:
                if text[i] == _T and text[i + 1] == _R and text[i + 2] == _U and text[i + 3] == _E:
                    cells[column, row] = 1
                    i += 4
                elif (text[i] == _F and text[i + 1] == _A and text[i + 2] == _L and text[i + 3] == _S
                      and text[i + 4] == _E):  # fmt: skip
                    cells[column, row] = 0
                    i += 5
                else:
                    return doubt
            else:
                start = i
                negative = _byte(text, i) == _MINUS
                if negative:
                    i += 1
                first = i
                mantissa = np.int64(0)
                while _ZERO <= _byte(text, i) <= _NINE:
                    mantissa = mantissa * 10 + np.int64(_byte(text, i) - _ZERO)
                    i += 1
                n_digits = i - first
                if n_digits == 0 or (_byte(text, first) == _ZERO and n_digits > 1):
                    return doubt
                power = 0
                is_whole = True
                if _byte(text, i) == _POINT:
                    is_whole = False
                    i += 1
                    point = i
                    while _ZERO <= _byte(text, i) <= _NINE:
                        mantissa = mantissa * 10 + np.int64(_byte(text, i) - _ZERO)
                        i += 1
                    if i == point:
                        return doubt
                    power = point - i
                    n_digits -= power
                if _byte(text, i) == _E or _byte(text, i) == _CAPITAL_E:
                    is_whole = False
                    i += 1
                    sinks = _byte(text, i) == _MINUS
                    if sinks or _byte(text, i) == _PLUS:
                        i += 1
                    point = i
                    raised = 0
                    while _ZERO <= _byte(text, i) <= _NINE:
                        raised = min(raised * 10 + np.int64(_byte(text, i) - _ZERO), 100_000)
                        i += 1
                    if i == point:
                        return doubt
                    power += -raised if sinks else raised
                # Of 18 digits none was lost; more may have wrapped around.
                if kind == WHOLE:
                    if not is_whole or n_digits > 18:
                        return doubt
                    cells[column, row] = -mantissa if negative else mantissa
                elif is_whole:
                    if n_digits > 18 or mantissa > _EXACT:
                        return doubt
                    floats[column, row] = np.float64(-mantissa if negative else mantissa)
                elif n_digits <= 18 and mantissa <= _EXACT and -_EXACT_TENS <= power <= _EXACT_TENS:
                    value = np.float64(mantissa)
                    value = value / TENS[-power] if power < 0 else value * TENS[power]
                    floats[column, row] = -value if negative else value
                else:
                    hard[n_hard, 0], hard[n_hard, 1], hard[n_hard, 2] = column * most + row, start, i
                    n_hard += 1
            i = _blank(text, i)
            if _byte(text, i) != (_COMMA if place + 1 < n_columns else _CLOSE):
                return doubt
            i += 1
        row += 1
        i = _blank(text, i)
        if _byte(text, i) == _COMMA:
            i = _blank(text, i + 1)
        elif _byte(text, i) == _END:
            break
        else:
            return doubt
    i = _blank(text, i + 1)
    if _byte(text, i) != _CLOSE or _blank(text, i + 1) != text.size - 1:
        return doubt
    return row, n_hard


@compiled
def gather(text: Any, starts: Any, stops: Any, ends: Any, out: Any) -> None:
    """Copy texts one behind the other: `ends` int32 (n + 1,) from 0, `out` uint8 (ends[n],)."""
    place = 0
    for row in range(starts.size):
        for i in range(starts[row], stops[row]):
            out[place] = text[i]
            place += 1
        ends[row + 1] = place


def _copying(_: Any, out: Any, at: Any, text: Any, start: Any) -> Any:
    """Copy STRIDE bytes from text[start] to out[at]: numba calls a function of the system for pieces as short."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        chunk = ir.VectorType(ir.IntType(8), STRIDE).as_pointer()
        to, source = [
            builder.bitcast(builder.gep(context.make_array(kind)(context, builder, array).data, [place]), chunk)
            for kind, array, place in (
                (signature.args[0], arguments[0], arguments[1]),
                (signature.args[2], arguments[2], arguments[3]),
            )
        ]
        value = builder.load(source)
        value.align = 1
        builder.store(value, to).align = 1
        return context.get_dummy_value()

    return types.void(out, types.int64, text, types.int64), generate


_copy: Any = intrinsic(_copying)


@compiled
def weave(text: Any, ends: Any, first: Any, is_number: Any, chosen: Any, out: Any) -> None:
    """Copy one piece of each kind for every row.

    Args:
        text: uint8, all texts one behind the other, and STRIDE bytes; ends: int64 (n_texts + 1,) from 0.
        first: (n_kinds,) the first text of each kind.
        is_number: (n_kinds,) whether that text has numbers for all rows, a comma behind each.
        chosen: (n_kinds, n_rows) else: which of the kind's texts.
        out: uint8, STRIDE bytes longer than what is written.
    """
    n_kinds, n_rows = chosen.shape
    cursors = np.empty(n_kinds, np.int64)
    for kind in range(n_kinds):
        cursors[kind] = ends[first[kind]]
    at = 0
    for row in range(n_rows):
        for kind in range(n_kinds):
            if is_number[kind]:
                i = cursors[kind]
                while text[i] != _COMMA:
                    out[at] = text[i]
                    at += 1
                    i += 1
                cursors[kind] = i + 1
            else:
                number = first[kind] + chosen[kind, row]
                start, length = ends[number], ends[number + 1] - ends[number]
                for k in range(0, length, STRIDE):
                    _copy(out, at + k, text, start + k)
                at += length


@compiled
def _blank(text: Any, i: Any) -> Any:
    """Return the first place from `i` on that is no white space."""
    sign = _byte(text, i)
    while sign <= _SPACE and sign in (_SPACE, _FEED, _RETURN, _TAB):
        i += 1
        sign = _byte(text, i)
    return i


@compiled
def _named(text: Any, i: Any, names: Any, name_ends: Any, column: Any) -> Any:
    """Return how long the name of a column is when it stands at `i`, else 0."""
    start = name_ends[column]
    length = name_ends[column + 1] - start
    if i + length > text.size:
        return 0
    for k in range(0, length, WORD):
        if (_word(text, i + k) ^ _word(names, start + k)) & FIRST[min(length - k, WORD)]:
            return 0
    return length
