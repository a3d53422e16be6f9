"""Whole files that cannot be scored: what is kept of one, and how many a run may be without; knows no Ray.

A file is recorded where it lies, never moved: inputs are read-only, other runs may read the same folder, and a store
has no rename. Its name, size and footer are part of the run's snapshot, so a run without it is a run of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinscore.batch.footer import read_footer, read_footer_at
from twinscore.errors import FileUnreadable, RunRefused, SchemaMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twinscore.batch.place import Found, Place
    from twinscore.batch.spec_parts import QuarantineLimit

__all__ = ["PROMISE", "Allowance", "AsideFile", "is_of_the_file", "set_aside"]

_SHOWN = 5
PROMISE = " Nothing became visible."
"""What an error says of a run that ends; a run that sets the file aside goes on."""


@dataclass(frozen=True, slots=True)
class AsideFile:
    """A file of the input of which no row is scored."""

    name: str
    """Relative to the input's place, with forward slashes."""
    path: str
    """Where it is, as people may see it: absolute, or a URI without options."""
    bytes: int | None
    rows: int | None
    """As its footer says; None where the footer cannot be read."""
    footer_sha256: str | None
    reason: str

    @property
    def content(self) -> tuple[int | None, str | None]:
        """What tells this file from another of its name."""
        return self.bytes, self.footer_sha256

    def to_plain(self) -> dict[str, Any]:
        """Return what the manifest keeps of it."""
        return asdict(self)


def set_aside(place: Place, found: Found, error: FileUnreadable | SchemaMismatch) -> AsideFile:
    """Return what is kept of a file that cannot be scored: as much as can still be read of it."""
    path = place.shown(found.name)
    size, footer, rows = found.size, None, None
    try:
        if place.is_local:
            size = Path(path).stat().st_size
            size, footer, metadata = read_footer(path)
        else:
            size, footer, metadata, file = read_footer_at(place, found.name)
            file.close()
        rows = metadata.num_rows
    except (FileUnreadable, OSError):
        pass  # the reason says that there is no footer
    return AsideFile(found.name, path, size, rows, footer, error.message.removesuffix(PROMISE))


def is_of_the_file(error: FileUnreadable | SchemaMismatch) -> bool:
    """Tell whether an error is the file's own fault: one that is gone, or may not be read, is the place's."""
    return not isinstance(error.__cause__, FileNotFoundError | PermissionError)


@dataclass(frozen=True, slots=True)
class Allowance:
    """Leave to set files aside."""

    limit: QuarantineLimit
    known: Mapping[str, AsideFile] = field(default_factory=dict)
    """Files that are broken where only reading shows it, by name."""

    def check(self, files: Sequence[AsideFile], shown: str, whole: int) -> None:
        """Refuse an input of which more files than allowed, or all, cannot be scored.

        Args:
            files: those that cannot.
            shown: the input.
            whole: files of the input.

        Raises:
            RunRefused: with the first of them, and why.
        """
        most = self.limit.max_files
        many = most is not None and len(files) > most
        if not files or not (many or len(files) == whole):
            return
        why = f"the limit is {most:,}" if many else "nothing is left to score"
        reasons = " ".join(f"{file.name}: {file.reason}" for file in files[:_SHOWN])
        more = f" And {len(files) - _SHOWN:,} more." if len(files) > _SHOWN else ""
        message = (
            f"{len(files):,} of {whole:,} files of {shown} cannot be scored; {why}. {reasons}{more} "
            "Nothing became visible. Mend the files, or raise quarantine.max_files of the spec."
        )
        raise RunRefused(message, files=[file.name for file in files], reasons=[file.reason for file in files])
