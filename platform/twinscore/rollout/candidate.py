"""What became of looking at a version before anybody is asked to trust it; a value, knows no registry."""

from __future__ import annotations

from dataclasses import dataclass

from twinscore.errors import SettingsInvalid

__all__ = ["Checked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One look at a version: it is fit to be asked, refused for good, or still being fetched.

    >>> Checked(version="3", waiting="fetch: the artifact store does not answer").fit
    False
    """

    version: str
    digest: str = ""
    """Of the bundle that was fetched, verified and scored; empty unless the version is fit."""
    refused: str = ""
    """Why it may never be asked; begins with the piece that is missing, such as `contract:`."""
    waiting: str = ""
    """Why nothing is known yet; another look may find the version fit, or refuse it."""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.digest, self.refused, self.waiting))) != 1:
            message = (
                f"A look at version {self.version!r} must say exactly one of digest, refused and waiting, "
                f"got {self.digest!r}, {self.refused!r} and {self.waiting!r}."
            )
            raise SettingsInvalid(message, version=self.version)

    @property
    def piece(self) -> str:
        """What is missing or waited for; empty when the version is fit.

        >>> Checked(version="3", refused="contract: the bundle has no contract.yaml").piece
        'contract'
        """
        return (self.refused or self.waiting).partition(":")[0]

    @property
    def fit(self) -> bool:
        """Whether the version may be asked."""
        return bool(self.digest)
