"""Whether what was seen lasts: k of the last n windows that could tell; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["lasts"]


def lasts(seen: Sequence[bool | None], at_least: int, of: int) -> bool | None:
    """Tell whether at least so many of the last `of` windows saw it; None when the newest could not tell.

    Windows that could not tell are passed over: they are no sign of anything, and a night without rows must not end
    what the day before and the day after see.

    Args:
        seen: windows from the oldest to the newest; None where a window could not tell.
        at_least: k, from 1 to `of`.
        of: n.

    >>> lasts([True, False, True], 2, 3), lasts([True, None], 1, 3), lasts([True, None, True], 2, 2)
    (True, None, True)
    """
    if not seen or seen[-1] is None:
        return None
    told = [one for one in seen if one is not None]
    return sum(told[-of:]) >= at_least
