"""How many processes of an application ended unasked, from one look at Serve to the next; knows no Serve.

Serve replaces what ends and keeps no count of it. A replica that was there and is gone has ended unasked, unless
fewer are wanted than before: then as many have left because they were to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twinscore.online.serve_config import Processes

__all__ = ["Deaths"]


class Deaths:
    """Counts the unasked ends of one application's processes since the first look."""

    def __init__(self) -> None:
        self.count = 0
        self._there: frozenset[str] = frozenset()
        self._counted: frozenset[str] | None = None
        self._wanted = 0

    def look(self, now: Processes) -> int:
        """Return how many have ended unasked since the look before; at the first look none.

        What came up and ended between two looks counts as long as Serve still tells of it.
        """
        if self._counted is None:
            self._counted, self._there, self._wanted = now.ended, now.there, now.wanted
            return 0
        gone = (now.ended | self._there) - now.there - self._counted
        asked = max(0, self._wanted - now.wanted)
        found = max(0, len(gone) - asked)
        self._counted = (self._counted | gone) & (now.ended | gone)
        self._there, self._wanted = now.there, now.wanted
        self.count += found
        return found
