"""How a run is cut: shards of whole row groups, of about equal rows; pure arithmetic over a snapshot.

The cut depends on the input and the spec only, never on the cores at hand: the same run has the same parts anywhere.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from twinscore.batch.snapshot import InputFile, Snapshot

__all__ = ["Piece", "Shard", "plan_shards", "row_groups", "target_rows", "whole_files"]

_LARGEST = 262_144
_SMALLEST = 65_536
_PARTS = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive row groups of one file."""

    path: str
    """Where the file is, as people may see it."""
    name: str
    """Relative to the input's place."""
    size: int
    footer: str
    first_group: int
    end_group: int
    first_row: int
    """Of the file, counted from 0."""
    rows: int


@dataclass(frozen=True, slots=True)
class Shard:
    """What one task scores into one output file."""

    number: int
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        """Rows in the shard."""
        return sum(piece.rows for piece in self.pieces)

    def to_plain(self) -> dict[str, Any]:
        """Return the shard as JSON can hold it."""
        return {"number": self.number, "pieces": [asdict(piece) for piece in self.pieces]}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Shard:
        """Return what `to_plain` was made from."""
        return cls(plain["number"], tuple(Piece(**piece) for piece in plain["pieces"]))


def target_rows(rows: int) -> int:
    """Return how many rows a shard aims for: an eighth of the input, from 65,536 to 262,144.

    >>> [target_rows(n) for n in (1_000, 1_000_000, 100_000_000)]
    [65536, 125000, 262144]
    """
    return min(max(-(-rows // _PARTS), _SMALLEST), _LARGEST)


def plan_shards(snapshot: Snapshot, target: int | None = None) -> list[Shard]:
    """Cut a snapshot into shards of about `target` rows: large files by row group, small files together.

    Every row group that the filter does not rule out lies in exactly one shard, in the order of the input; a row
    group larger than the target is a shard of its own.
    """
    aim = target or target_rows(snapshot.rows - snapshot.rows_left_out)
    shards: list[Shard] = []
    pieces: list[Piece] = []
    filled = 0
    for piece in row_groups(snapshot):
        if pieces and filled + piece.rows > aim:
            shards.append(Shard(len(shards), _joined(pieces)))
            pieces, filled = [], 0
        pieces.append(piece)
        filled += piece.rows
    if pieces:
        shards.append(Shard(len(shards), _joined(pieces)))
    return shards


def whole_files(snapshot: Snapshot) -> tuple[Piece, ...]:
    """Return each file that holds a row as one piece, in order."""
    pieces = list(row_groups(snapshot))
    return _joined(pieces) if pieces else ()


def row_groups(snapshot: Snapshot) -> Iterator[Piece]:
    """Yield each row group that holds a row and that the filter does not rule out, in order."""
    for file in snapshot.files:
        row = 0
        left_out = set(file.left_out)
        for group, rows in enumerate(file.groups):
            if rows and group not in left_out:
                yield _piece(file, group, row, rows)
            row += rows


def _piece(file: InputFile, group: int, first_row: int, rows: int) -> Piece:
    return Piece(file.path, file.name, file.size, file.footer, group, group + 1, first_row, rows)


def _joined(pieces: list[Piece]) -> tuple[Piece, ...]:
    """Join neighbours of the same file."""
    joined = [pieces[0]]
    for piece in pieces[1:]:
        last = joined[-1]
        # An empty row group between them holds no row, so reading across it changes nothing.
        if last.path == piece.path and last.first_row + last.rows == piece.first_row:
            joined[-1] = Piece(
                last.path, last.name, last.size, last.footer, last.first_group, piece.end_group, last.first_row,
                last.rows + piece.rows,
            )  # fmt: skip
        else:
            joined.append(piece)
    return tuple(joined)
