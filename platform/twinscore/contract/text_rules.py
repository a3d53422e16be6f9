"""Row rules about text: regular expressions and lengths; knows nothing of where they come from.

Great Expectations on pandas searches with the meaning of Python's `re`. Arrow's RE2 is some ten
times faster, so it is used where both are known to mean the same, and `re` everywhere else.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.contract.rules import Holds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.contract.cells import Cells, Mask
    from twinscore.contract.model import Column, Severity

__all__ = ["Length", "Matches", "Pattern", "is_plain"]

_SET = r"\[\^?(?:[^\]\[\\]|\\[dDwW.\-\]\\])+\]"
_SAME_IN_RE2 = re.compile(
    rf"(?:[^\\({{\[]|\\[dDwWbB.+*?^$|()\[\]{{}}/\\-]|\((?!\?)|\(\?:|\{{\d{{1,3}}(?:,\d{{0,3}})?\}}|{_SET})*"
)
"""Patterns whose every part means the same in RE2 and in `re`, on ASCII text without line ends."""


class Pattern:
    """A regular expression searched for anywhere in a text, as `re.search` does.

    Raises:
        re.error: the expression is not one that `re` compiles.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        with warnings.catch_warnings():
            # `re` warns of sets that a later version may read otherwise; today's reading is the one compared.
            warnings.simplefilter("ignore", FutureWarning)
            self._compiled = re.compile(text)
        self.in_re2 = _SAME_IN_RE2.fullmatch(text) is not None and _re2_compiles(text)

    def found_in(self, value: str) -> bool:
        """Say whether one text has a match."""
        return self._compiled.search(value) is not None

    def found(self, array: pa.StringArray, *, plain: bool) -> Mask:
        """Return where the text has a match: (n,); `plain` says that it is ASCII without line ends."""
        if plain and self.in_re2:
            kernel = pc.fill_null(pc.match_substring_regex(array, self.text), False)
            return np.asarray(kernel.to_numpy(zero_copy_only=False))
        encoded = array.dictionary_encode()
        search = self._compiled.search
        hits = pa.array([search(value) is not None for value in encoded.dictionary.to_pylist()], pa.bool_())
        return np.asarray(pc.fill_null(hits.take(encoded.indices), False).to_numpy(zero_copy_only=False))


class Matches(Holds):
    """Texts match regular expressions: any or all of them, or none.

    Args:
        wanted: `any`, `all` or `none` of the patterns must have a match.
    """

    __slots__ = ("patterns", "wanted")

    def __init__(
        self, rule_id: str, column: Column, severity: Severity, *, patterns: Sequence[Pattern], wanted: str
    ) -> None:
        listed = ", ".join(pattern.text for pattern in patterns[:5])
        words = {"any": "matches", "all": "matches all of", "none": "does not match"}[wanted]
        super().__init__(rule_id, (column.name,), f"{words} {listed}", severity)
        self.patterns = tuple(patterns)
        self.wanted = wanted

    def holds(self, cells: Cells) -> Mask:
        """Search every text."""
        plain = is_plain(cells.array)
        masks = [pattern.found(cells.array, plain=plain) for pattern in self.patterns]
        if self.wanted == "all":
            return np.asarray(np.logical_and.reduce(masks))
        found: Mask = np.logical_or.reduce(masks)
        return found if self.wanted == "any" else ~found

    def holds_for(self, value: str) -> bool:
        """Search one text."""
        found = [pattern.found_in(value) for pattern in self.patterns]
        return all(found) if self.wanted == "all" else any(found) is (self.wanted == "any")


class Length(Holds):
    """Texts have a number of characters between two bounds."""

    __slots__ = ("high", "low")

    def __init__(self, rule_id: str, column: Column, severity: Severity, *, low: int | None, high: int | None) -> None:
        words = f"exactly {low}" if low == high else " and ".join(
            part for part in (f"at least {low}" * (low is not None), f"at most {high}" * (high is not None)) if part
        )  # fmt: skip
        super().__init__(rule_id, (column.name,), f"{words} characters", severity)
        self.low = 0 if low is None else low
        self.high = high

    def holds(self, cells: Cells) -> Mask:
        """Count the characters of every text."""
        lengths = np.asarray(pc.fill_null(pc.utf8_length(cells.array), 0).to_numpy(zero_copy_only=False))
        inside: Mask = lengths >= self.low
        return inside if self.high is None else inside & (lengths <= self.high)

    def holds_for(self, value: str) -> bool:
        """Count the characters of one text."""
        return self.low <= len(value) and (self.high is None or len(value) <= self.high)


def is_plain(array: pa.StringArray) -> bool:
    """Say whether all texts are ASCII without line ends, where RE2 and `re` agree."""
    data = array.buffers()[2]
    if data is None:
        return True
    characters = np.frombuffer(data, dtype=np.uint8)
    return not ((characters >= 128) | (characters == 10)).any()


def _re2_compiles(text: str) -> bool:
    try:
        pc.match_substring_regex(pa.array([""]), text)
    except pa.ArrowInvalid:
        return False
    return True
