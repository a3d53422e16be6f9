"""Which files cannot be read to their end: a footer may be whole where pages are not; knows no Ray and no model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from twinscore.batch.aside import PROMISE, AsideFile, is_of_the_file
from twinscore.batch.pages import read_pages
from twinscore.batch.plan import whole_files
from twinscore.batch.reading import BATCH_ROWS
from twinscore.errors import FileUnreadable, SchemaMismatch

if TYPE_CHECKING:
    from twinscore.batch.intake import Intake
    from twinscore.batch.plan import Piece

__all__ = ["broken_pages"]


def broken_pages(intake: Intake, *, threads: int) -> dict[str, AsideFile]:
    """Read what a run reads of every file, and return those that cannot be read, by name.

    Raises:
        StoreConflict: a file is not the one that the snapshot saw.
        StoreUnavailable: the store does not answer.
    """
    schema, recipe = intake.recipe.read_schema(intake.wanted), intake.recipe
    known = {file.name: file for file in intake.snapshot.files}

    def problem(piece: Piece) -> AsideFile | None:
        try:
            for _ in read_pages(piece, schema, recipe, rows=BATCH_ROWS):
                pass
        except (FileUnreadable, SchemaMismatch) as error:
            if not is_of_the_file(error):
                raise
            file = known[piece.name]
            reason = error.message.removesuffix(PROMISE)
            return AsideFile(file.name, file.path, file.size, file.rows, file.footer, reason)
        return None

    with ThreadPoolExecutor(threads) as pool:
        found = [one for one in pool.map(problem, whole_files(intake.snapshot)) if one is not None]
    return {file.name: file for file in reversed(found)}
