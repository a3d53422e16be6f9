"""What commands and jobs do with a model's audit log, in a line each: open, compact, replay; knows no registry."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from twinscore.audit.contracts import or_by_its_own
from twinscore.audit.find import find_request
from twinscore.audit.places import model_folder
from twinscore.audit.replay import Replayed, replay_rows
from twinscore.audit.tombstone import read_tombstones
from twinscore.errors import FileUnreadable, ModelNotFound, near

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from twinscore.bundle.files import Bundle
    from twinscore.contract.model import Contract
    from twinscore.errors import AuditDamaged

__all__ = ["audit_key", "audit_salt", "contracts_in", "load_known", "open_log", "replay_request"]


def audit_key(home: Path) -> Path:
    """Return where the key lies that heads are signed with."""
    return home / "keys" / "audit.key"


def audit_salt(home: Path) -> Path:
    """Return where the salt lies that sensitive columns are hashed with."""
    return home / "keys" / "audit.salt"


def open_log(lake: Path, model: str) -> Path:
    """Return the folder of a model's audit log.

    Raises:
        ModelNotFound: it has none.
    """
    folder = model_folder(lake, model)
    if not folder.is_dir():
        known = [path.name for path in (lake / "audit").iterdir()] if (lake / "audit").is_dir() else []
        message = f"There is no audit log of a model {model!r}. {near(model, known)}"
        raise ModelNotFound(message, model=model)
    return folder


def contracts_in(
    path_of: Callable[[str], Path], digests: Callable[[], Iterable[str]] = tuple
) -> Callable[[str], Contract]:
    """Return what gives the contract of a bundle by the bundle's digest, or one by its own.

    Args:
        path_of: gives a bundle's folder.
        digests: lists the bundles among which one with a contract is looked for.
    """

    @cache
    def contract_of(digest: str) -> Contract:
        return _bundle(path_of, digest).contract

    return or_by_its_own(contract_of, path_of, digests)


def replay_request(
    folder: Path,
    request_id: str,
    path_of: Callable[[str], Path],
    digests: Callable[[], Iterable[str]] = tuple,
    *,
    on_damage: Callable[[AuditDamaged], None] | None = None,
) -> list[Replayed]:
    """Find a request in the log and score it again: one answer for each time that it was recorded.

    Args:
        folder: of the model's audit log.
        request_id: as the answer said it.
        path_of: gives a bundle's folder.
        digests: lists the bundles among which one with a contract is looked for.
        on_damage: is told of a segment that cannot be read; None raises.

    Raises:
        ModelNotFound: the log does not have the request; the message says which days were removed on purpose.
        BundleInvalid: the bundle that answered is not in the store, or its files were changed.
    """
    tables = find_request(folder, request_id, contracts_in(path_of, digests), on_damage=on_damage)
    answers: list[Replayed] = []
    for table in tables:
        for digest in dict.fromkeys(table.column("bundle_digest").to_pylist()):
            rows = table.filter([found == digest for found in table.column("bundle_digest").to_pylist()])
            if digest:
                answers.append(replay_rows(rows, _bundle(path_of, digest)))
            else:
                answers.append(Replayed(0, rows.num_rows, (), "the request was refused before a version was asked"))
    if not answers:
        message = f"The audit log {folder} has no request {request_id!r}.{_removed(folder)}"
        raise ModelNotFound(message, request_id=request_id)
    return answers


def load_known(path: Path) -> dict[str, tuple[int, str]]:
    """Return what an earlier verification printed as JSON: by stream, records and chain value.

    Raises:
        FileUnreadable: the file is something else.
    """
    try:
        states = json.loads(path.read_text(encoding="utf-8"))
        return {state["stream"]: (int(state["records"]), str(state["chain"])) for state in states}
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} is not what `twinscore audit verify --json` printed: {error}."
        raise FileUnreadable(message, path=str(path)) from error


def _removed(folder: Path) -> str:
    """Return what to say of days that were removed on purpose: no id is kept of them, so a request may be of one."""
    stones = list(read_tombstones(folder).values())
    if not stones:
        return ""
    newest = max(stones, key=lambda stone: stone.removed_us)
    rows = sum([part.rows for stone in stones for part in stone.parts])
    first, last = min([stone.day for stone in stones]), max([stone.day for stone in stones])
    at = datetime.fromtimestamp(newest.removed_us / 1e6, UTC).date().isoformat()
    return (
        f" It may be among the {rows:,} rows received from {first} to {last} that were removed on purpose, the last on "
        f"{at} by {newest.by}: {newest.why}."
    )


def _bundle(path_of: Callable[[str], Path], digest: str) -> Bundle:
    from twinscore.bundle.files import read_bundle

    return read_bundle(path_of(digest))
