"""Derived features as text: a small, safe expression language over columns; knows nothing of models.

    log1p(income)      debt / income      hour(event_time) >= 18      col("mean radius") ** 2

The same Arrow kernels evaluate an expression for a million rows, as arrays, and for one, as scalars, so both paths get
the same bits. What is undefined (a division by zero, the logarithm of a negative number, an overflow) is missing, as is
everything computed from a missing value, except by `is_null` and `coalesce`.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from twinscore.errors import ExpressionInvalid, near

__all__ = ["FUNCTIONS", "Expression", "parse"]

Columns = Mapping[str, pa.Array | pa.Scalar]
Node = Callable[[Columns], Any]

_LONGEST = 1000
_DEEPEST = 32
_MOST_NODES = 200


_FLOAT64 = pa.float64()
_MISSING = pa.scalar(None, _FLOAT64)


def _defined(value: Any) -> Any:
    """Turn what is not a finite number into missing."""
    if isinstance(value, pa.Scalar):  # a tenth of what two kernels cost
        number = value.as_py()
        return value if number is None or math.isfinite(number) else _MISSING
    return pc.if_else(pc.is_finite(value), value, _MISSING)


def _number(value: Any) -> Any:
    if value.type == _FLOAT64:
        return value
    if isinstance(value, pa.Scalar):
        number = value.as_py()
        if number is None:
            return _MISSING
        if isinstance(number, (int, float)):
            return pa.scalar(float(number), _FLOAT64)  # rounded as the cast does
    return pc.cast(value, _FLOAT64, safe=False)


def _feature(value: Any) -> Any:
    return _defined(_number(value))


def _feature_of_row(value: Any) -> float | None:
    """Return of one row what `_feature` gives, without the way through another scalar."""
    number = value.as_py()
    if not isinstance(number, (int, float)):
        number = _number(value).as_py()
    return float(number) if number is not None and math.isfinite(number) else None


def _numeric(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *values: _defined(function(*(_number(value) for value in values)))


def _least(*values: Any) -> Any:
    return pc.min_element_wise(*values, skip_nulls=False)


def _most(*values: Any) -> Any:
    return pc.max_element_wise(*values, skip_nulls=False)


FUNCTIONS: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "abs": (1, 1, _numeric(pc.abs)),
    "ceil": (1, 1, _numeric(pc.ceil)),
    "clip": (3, 3, _numeric(lambda value, low, high: _least(_most(value, low), high))),
    "coalesce": (2, 8, lambda *values: pc.coalesce(*(_number(value) for value in values))),
    "day": (1, 1, pc.day),
    "dayofweek": (1, 1, pc.day_of_week),
    "dayofyear": (1, 1, pc.day_of_year),
    "exp": (1, 1, _numeric(pc.exp)),
    "floor": (1, 1, _numeric(pc.floor)),
    "hour": (1, 1, pc.hour),
    "is_null": (1, 1, pc.is_null),
    "log": (1, 1, _numeric(pc.ln)),
    "log10": (1, 1, _numeric(pc.log10)),
    "log1p": (1, 1, _numeric(pc.log1p)),
    "max": (2, 8, _numeric(_most)),
    "min": (2, 8, _numeric(_least)),
    "minute": (1, 1, pc.minute),
    "month": (1, 1, pc.month),
    "sqrt": (1, 1, _numeric(pc.sqrt)),
    "where": (3, 3, lambda test, yes, no: pc.if_else(pc.not_equal(_number(test), 0.0), _number(yes), _number(no))),
    "year": (1, 1, pc.year),
}
"""Function name -> fewest arguments, most arguments, kernel. Monday is 0; times are read in UTC."""

_BINARY: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: _numeric(pc.add),
    ast.Sub: _numeric(pc.subtract),
    ast.Mult: _numeric(pc.multiply),
    ast.Div: _numeric(pc.divide),
    ast.Pow: _numeric(pc.power),
}
_COMPARE: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}


def _defined_if_float(column: Any) -> Any:
    """Make NaN null: a table can hold either, JSON only null, and both must mean the same to `is_null`."""
    return _defined(column) if column.type == _FLOAT64 else column


class Expression:
    """A parsed expression; made by `parse`, equal when its text is."""

    __slots__ = ("_node", "inputs", "text")

    def __init__(self, text: str, inputs: frozenset[str], node: Node) -> None:
        self.text = text
        self.inputs = inputs
        self._node = node

    def __reduce__(self) -> tuple[object, ...]:
        return parse, (self.text,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def evaluate(self, columns: Columns) -> pa.Array:
        """Return the feature: float64 (n_rows,), null where it is missing or undefined.

        Args:
            columns: Arrow arrays of equal length, at least `inputs`.

        Raises:
            ExpressionInvalid: a column is missing, or of a type that a function does not take.
        """
        return self._result(columns, _feature)

    def of_row(self, values: Mapping[str, pa.Scalar]) -> float | None:
        """Return the feature of one row, None where `evaluate` gives null; raises as it does."""
        return cast("float | None", self._result(values, _feature_of_row))

    def _result(self, columns: Columns, finish: Callable[[Any], Any]) -> Any:
        missing = self.inputs - columns.keys()
        if missing:
            message = f"Expression {self.text!r} needs column {min(missing)!r}. {near(min(missing), columns)}"
            raise ExpressionInvalid(message, expression=self.text, column=min(missing))
        try:
            return finish(self._node({name: _defined_if_float(columns[name]) for name in self.inputs}))
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            types = ", ".join(f"{name}: {columns[name].type}" for name in sorted(self.inputs))
            message = f"Expression {self.text!r} does not fit its columns ({types}): {error}"
            raise ExpressionInvalid(message, expression=self.text) from error

    def check(self, schema: pa.Schema) -> None:
        """Try the expression on no rows of a schema.

        Raises:
            ExpressionInvalid: a column is missing, or of a type that a function does not take.
        """
        self.evaluate({name: pa.array([], schema.field(name).type) for name in schema.names if name in self.inputs})


def parse(text: str) -> Expression:
    """Parse an expression.

    Raises:
        ExpressionInvalid: not in the language, too long or too deep, or without a column; the message says where.

    >>> sorted(parse("log1p(income) - debt / income").inputs)
    ['debt', 'income']
    """
    if len(text) > _LONGEST:
        message = f"An expression of {len(text)} characters is too long; {_LONGEST} at most: {text[:60]!r}..."
        raise ExpressionInvalid(message, expression=text[:60])
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        message = f"{text!r} is not an expression: {getattr(error, 'msg', error)}."
        raise ExpressionInvalid(message, expression=text) from error
    if sum(1 for _ in ast.walk(tree)) > _MOST_NODES:
        message = f"{text[:60]!r}... has more than {_MOST_NODES} parts; split it into several features."
        raise ExpressionInvalid(message, expression=text)
    builder = _Builder(text)
    node = builder.build(tree, 0)
    if not builder.inputs:
        message = f"{text!r} names no column; a feature is made from at least one."
        raise ExpressionInvalid(message, expression=text)
    return Expression(text, frozenset(builder.inputs), node)


class _Builder:
    """Turns the whitelisted part of Python's syntax tree into nested kernels."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.inputs: set[str] = set()

    def build(self, tree: ast.expr, depth: int) -> Node:
        if depth > _DEEPEST:
            raise self._refuse(tree, f"is nested deeper than {_DEEPEST}")
        match tree:
            case ast.Name(id=name):
                return self._column(name)
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return self._constant(tree, value)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.build(operand, depth + 1)
                return lambda columns: pc.negate(_number(inner(columns)))
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _BINARY:
                return self._apply(_BINARY[type(operator)], [left, right], depth)
            case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _COMPARE:
                kernel = _COMPARE[type(operator)]
                return self._apply(lambda a, b: _compare(kernel, a, b), [left, right], depth)
            case ast.Call(func=ast.Name(id="col"), args=[ast.Constant(value=str() as name)], keywords=[]):
                return self._column(name)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(tree, name, arguments, depth)
        raise self._refuse(tree, "is not in the expression language")

    def _constant(self, tree: ast.expr, value: float | str) -> Node:
        if isinstance(value, (bool, str)):
            scalar = pa.scalar(value)
        else:
            try:
                scalar = pa.scalar(float(value), _FLOAT64)
            except OverflowError:
                raise self._refuse(tree, "is too large for a float64") from None
        return lambda _: scalar

    def _column(self, name: str) -> Node:
        self.inputs.add(name)
        return lambda columns: columns[name]

    def _call(self, tree: ast.expr, name: str, arguments: list[ast.expr], depth: int) -> Node:
        if name not in FUNCTIONS:
            raise self._refuse(tree, f"calls {name!r}, which is unknown. {near(name, FUNCTIONS)}")
        fewest, most, kernel = FUNCTIONS[name]
        if not fewest <= len(arguments) <= most:
            wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            raise self._refuse(tree, f"gives {name} {len(arguments)} arguments, it takes {wanted}")
        return self._apply(kernel, arguments, depth)

    def _apply(self, kernel: Callable[..., Any], arguments: list[ast.expr], depth: int) -> Node:
        parts = [self.build(argument, depth + 1) for argument in arguments]
        return lambda columns: kernel(*(part(columns) for part in parts))

    def _refuse(self, tree: ast.expr, why: str) -> ExpressionInvalid:
        part = ast.get_source_segment(self.text.strip(), tree) or self.text
        message = f"In expression {self.text!r}, {part[:80]!r} {why}{'' if why.endswith(('.', '?')) else '.'}"
        return ExpressionInvalid(message, expression=self.text)


def _compare(kernel: Callable[..., Any], left: Any, right: Any) -> Any:
    """Compare text with text, else numbers with numbers."""
    if pa.types.is_string(left.type) and pa.types.is_string(right.type):
        return kernel(left, right)
    return kernel(_number(left), _number(right))
