"""Whom to ask for more replicas of a served model, or for its cheaper way of answering, for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["LoadLadder", "Rung"]

Rung = Literal["scale", "degrade"]
"""More replicas than the load asks for, or the cheaper way whatever the load."""


class LoadLadder(Protocol):
    """The two rungs of a model's ladder that somebody else than its replicas may ask for.

    A replica decides by its own figures all the same: what is asked for here comes on top, and ends by itself.
    """

    def set(self, model: str, rung: Rung, on: bool, reason: str, *, until: datetime | None = None) -> str:
        """Ask for a rung, or take that back; asking twice changes nothing but the time.

        Args:
            model: a served model.
            rung: what is asked for.
            on: whether it is asked for, or not any more.
            reason: why, for people.
            until: when it ends by itself; None takes ten minutes from now.

        Returns:
            What was done, for the record: one phrase.

        Raises:
            ModelNotReady: the model is not served.
            SettingsInvalid: its deployment file has no such rung.
        """
        ...
