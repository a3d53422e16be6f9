"""Numbers as people write them in rules: shares in percent, times with a unit; and back, with nothing lost; pure."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import NoReturn

from twinscore.errors import SettingsInvalid

__all__ = ["LONGEST_S", "number_in", "seconds_of", "show_number", "show_seconds"]

LONGEST_S = 3_650 * 86_400.0
"""Ten years; a longer time is a typo."""
_TIMES = {
    "ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3_600), "d": Decimal(86_400),
}  # fmt: skip
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s?(ms|s|m|h|d)")


def seconds_of(text: object, key: str) -> float:
    """Return a length of time in seconds, to the millisecond.

    >>> seconds_of("90m", "for"), seconds_of("250ms", "for")
    (5400.0, 0.25)

    Raises:
        SettingsInvalid: it is no number with one of the units ms, s, m, h and d; `key` names where.
    """
    found = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        _refuse(key, "a number with a unit (ms, s, m, h or d), such as 90m", text)
    seconds = round(float(Decimal(found[1]) * _TIMES[found[2]]), 3)
    if seconds > LONGEST_S:
        _refuse(key, "at most 3650d", text)
    return seconds


def show_seconds(seconds: float) -> str:
    """Return a length of time as it is written, in the largest unit that keeps it whole.

    >>> show_seconds(5400), show_seconds(86400), show_seconds(0.25), show_seconds(0)
    ('90m', '1d', '250ms', '0s')
    """
    thousandths = round(seconds * 1_000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if thousandths % size == 0 and (thousandths or unit == "s"):
            return f"{thousandths // size}{unit}"
    return f"{thousandths}ms"


def number_in(digits: str, suffix: str, unit: str) -> float | None:
    """Return a number with a suffix in the unit of what it is compared with; None where the suffix does not fit it.

    >>> number_in("5", "%", "share"), number_in("2", "h", "s"), number_in("0.25", "", "ms"), number_in("5", "%", "ms")
    (0.05, 7200.0, 0.25, None)
    """
    number = Decimal(digits)
    if suffix == "%":
        return float(number / 100) if unit == "share" else None
    if suffix:
        if suffix not in _TIMES or unit not in ("ms", "s"):
            return None
        number = number * _TIMES[suffix] / _TIMES[unit]
    return float(number)


def show_number(value: float) -> str:
    """Return a number so that reading it gives the same one, without a needless point.

    >>> show_number(250.0), show_number(0.05)
    ('250', '0.05')
    """
    return str(int(value)) if value == int(value) and math.fabs(value) < 1e15 else repr(float(value))


def _refuse(key: str, expected: str, got: object) -> NoReturn:
    message = f"The {key.rpartition('.')[2]} must be {expected}, got {str(got)[:80]!r}."
    raise SettingsInvalid(message, key=key)
