"""Conditions as people write them, read by hand: words, numbers, brackets, and where the first mistake is; pure.

condition  =  "missing for" duration  |  any
any        =  all { "or" all }
all        =  one { "and" one }
one        =  "(" any ")"  |  term operator number
term       =  "value" | "low" | "high" | "p_value" | "rows"
operator   =  ">" | ">=" | "<" | "<="
number     =  digits [ "%" | "ms" | "s" | "m" | "h" | "d" ]
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, cast, get_args

from twinscore.errors import SettingsInvalid, near
from twinscore.monitoring.condition import Both, Comparison, Condition, Either, Missing, Operator, Term
from twinscore.monitoring.quantity import number_in, seconds_of

if TYPE_CHECKING:
    from twinscore.monitoring.metric import Metric

__all__ = ["LONGEST", "MOST_COMPARISONS", "parse_condition"]

LONGEST = 300
"""Letters of a condition."""
MOST_COMPARISONS = 8
_DEEPEST = 8
_TERMS = get_args(Term)
_OPERATORS = get_args(Operator)
_TOKEN = re.compile(
    r"(?P<number>[+-]?\d{1,25}(?:\.\d{1,25})?(?:[eE][+-]?\d{1,3})?)(?P<suffix>%|[a-zA-Z]+)?"
    r"|(?P<word>[A-Za-z_]\w*)|(?P<sign>>=|<=|>|<|\(|\))",
    re.ASCII,
)


def parse_condition(text: str, metric: Metric, key: str = "when") -> Condition:
    """Return the condition that a text says of a metric.

    Raises:
        SettingsInvalid: it says none; `at` is the letter where it goes wrong, counted from 0, and `key` names where.

    >>> from twinscore.monitoring.metric import METRICS
    >>> parse_condition("value > 250ms", METRICS["latency_ms_p99"])
    Comparison(term='value', operator='>', number=250.0)
    """
    return _Reader(text, metric, key).read()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int
    suffix: str = ""


class _Reader:
    """One text, and how far it was read."""

    def __init__(self, text: str, metric: Metric, key: str) -> None:
        self._text, self._metric, self._key = text, metric, key
        self._place = self._comparisons = 0
        if len(text) > LONGEST:
            self._refuse(LONGEST, f"be at most {LONGEST} letters long")
        self._tokens = self._split()

    def read(self) -> Condition:
        if self._peek().text.lower() == "missing":
            return self._missing()
        found = self._any(0)
        if self._peek().kind != "end":
            self._refuse_here("go on with `and` or `or`", ("and", "or"))
        return found

    def _missing(self) -> Missing:
        self._place += 1
        if self._peek().text.lower() != "for":
            self._refuse_here("say for how long, such as `missing for 2h`")
        self._place += 1
        token = self._peek()
        if token.kind != "number":
            self._refuse_here("say for how long, such as `missing for 2h`")
        try:
            seconds = seconds_of(token.text + token.suffix, self._key)
        except SettingsInvalid:
            self._refuse_here("give a time with a unit (ms, s, m, h or d), at most 3650d, such as `missing for 2h`")
        if not seconds:
            self._refuse_here("give a time above 0")
        self._place += 1
        if self._peek().kind != "end":
            self._refuse_here("end after the time: `missing for` stands alone")
        return Missing(seconds)

    def _any(self, depth: int) -> Comparison | Both | Either:
        parts = self._joined("or", depth)
        return parts[0] if len(parts) == 1 else Either(parts)

    def _all(self, depth: int) -> Comparison | Both | Either:
        parts = self._joined("and", depth)
        return parts[0] if len(parts) == 1 else Both(parts)

    def _joined(self, word: str, depth: int) -> tuple[Comparison | Both | Either, ...]:
        part = self._all if word == "or" else self._one
        parts = [part(depth)]
        while self._peek().kind == "word" and self._peek().text.lower() == word:
            self._place += 1
            parts.append(part(depth))
        return tuple(parts)

    def _one(self, depth: int) -> Comparison | Both | Either:
        if self._peek().text != "(":
            return self._comparison()
        if depth == _DEEPEST:
            self._refuse_here(f"have at most {_DEEPEST} brackets inside each other")
        self._place += 1
        inner = self._any(depth + 1)
        if self._peek().text != ")":
            self._refuse_here("close the bracket, or go on with `and` or `or`", ("and", "or"))
        self._place += 1
        return inner

    def _comparison(self) -> Comparison:
        self._comparisons += 1
        if self._comparisons > MOST_COMPARISONS:
            self._refuse_here(f"have at most {MOST_COMPARISONS} comparisons; write two rules")
        token = self._peek()
        if token.kind != "word" or token.text not in _TERMS:
            known = (*_TERMS, "missing") if self._comparisons == 1 else _TERMS
            self._refuse_here(f"name one of {', '.join(known)}", known)
        self._place += 1
        sign = self._peek()
        if sign.text not in _OPERATORS:
            self._refuse_here("compare with one of >, >=, < and <=")
        self._place += 1
        term = cast("Term", token.text)
        number = self._number(term)
        return Comparison(term, cast("Operator", sign.text), number)

    def _number(self, term: Term) -> float:
        token = self._peek()
        if token.kind != "number":
            self._refuse_here("compare with a number")
        unit = {"rows": "rows", "p_value": "share"}.get(term, self._metric.unit)
        number = number_in(token.text, token.suffix, unit)
        if number is None:
            what = self._metric.name if term in ("value", "low", "high") else term
            said = {
                "share": "a plain number or %",
                "ms": "a plain number (ms) or a time",
                "s": "a plain number (s) or a time",
            }
            self._refuse_here(f"give {said.get(unit, 'a plain number')} for {what}")
        if not math.isfinite(number):
            self._refuse_here("compare with a finite number")
        self._place += 1
        return number

    def _peek(self) -> _Token:
        return self._tokens[self._place]

    def _split(self) -> list[_Token]:
        tokens, at = [], 0
        while at < len(self._text):
            if self._text[at].isspace():
                at += 1
                continue
            found = _TOKEN.match(self._text, at)
            if found is None:
                hint = ": compare with one of >, >=, < and <=" if self._text[at] in "=!" else ""
                self._refuse(at, f"not have {self._text[at]!r} there{hint}")
            kind = "number" if found["number"] else "word" if found["word"] else "sign"
            tokens.append(_Token(kind, found["number"] or found[0], at, found["suffix"] or ""))
            at = found.end()
        return [*tokens, _Token("end", "", len(self._text))]

    def _refuse_here(self, expected: str, known: tuple[str, ...] = ()) -> NoReturn:
        token = self._peek()
        got = "ends there" if token.kind == "end" else f"has {(token.text + token.suffix)[:40]!r}"
        hint = f" {near(token.text, known)}" if known and token.kind == "word" else ""
        self._refuse(token.at, f"{expected}, but {got}.{hint}".removesuffix("."))

    def _refuse(self, at: int, expected: str) -> NoReturn:
        stop = "" if expected.endswith(("?", ".")) else "."
        message = f"The condition {self._text[:LONGEST]!r} must, at letter {at + 1}, {expected}{stop}"
        raise SettingsInvalid(message, key=self._key, at=at, condition=self._text[:LONGEST])
