"""Which contract records stand under: the one whose digest they name, whoever answered.

A canary's records name the canary's bundle and the live version's contract, because that one says what their cells are.
So a contract is found by its own digest, and the bundles that the records name are only where it is looked for first.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from twinscore.contract.document import loads_contract
from twinscore.errors import BundleInvalid, TwinscoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from twinscore.audit.reader import Entry
    from twinscore.contract.model import Contract

__all__ = ["contract_for", "or_by_its_own"]


def contract_for(digest: str, entries: Sequence[Entry], contract_of: Callable[[str], Contract]) -> Contract | None:
    """Return the contract that records name, or None when they name none.

    Args:
        digest: of the contract, as all of `entries` have it.
        contract_of: the contract of a bundle, by the bundle's digest; where it can, also one by its own digest.

    Raises:
        BundleInvalid: no bundle at hand has it.
    """
    if not digest:
        return None
    bundles = list(dict.fromkeys([entry.record.bundle_digest for entry in entries]))
    absent: BundleInvalid | None = None
    for asked in (*bundles, digest):
        try:
            contract = contract_of(asked)
        except BundleInvalid as error:
            absent = absent or (error if asked in bundles else None)
            continue
        if contract.digest == digest:
            return contract
    if absent is not None:
        raise absent
    named = ", ".join([bundle[:12] for bundle in bundles])
    message = (
        f"Records of bundle {named} stand under the contract {digest[:12]}, which no bundle here has. Load the version "
        "that was live then once with the registry up."
    )
    raise BundleInvalid(message, bundles=bundles, contract=digest)


def or_by_its_own(
    contract_of: Callable[[str], Contract], path_of: Callable[[str], Path], digests: Callable[[], Iterable[str]]
) -> Callable[[str], Contract]:
    """Return what gives the contract of a bundle as `contract_of` does, and one in a store by its own digest.

    Args:
        path_of: gives the folder of a bundle of the store.
        digests: lists its bundles.
    """
    looked: set[str] = set()
    own: dict[str, Contract] = {}

    def found(digest: str) -> Contract:
        try:
            return contract_of(digest)
        except BundleInvalid:
            for bundle in set(digests()) - looked:
                looked.add(bundle)
                with contextlib.suppress(TwinscoreError, OSError, ValueError):  # of a bundle that nobody asked for
                    # What a contract's own digest says needs no proof by the bundle's.
                    contract = loads_contract((path_of(bundle) / "contract.yaml").read_text(encoding="utf-8"))
                    own[contract.digest] = contract
            if digest not in own:
                raise
            return own[digest]

    return found
