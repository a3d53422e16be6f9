"""Numbers that name another bundle than they did: of a model that was deleted in the registry and made anew.

What was live is known by the digest of its bundle, so it stays, and can be gone back to, whatever its number names now.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twinscore.rollout.turn import kept

if TYPE_CHECKING:
    from twinscore.rollout.seen import Seen
    from twinscore.rollout.turn import Stepped

__all__ = ["renumbered"]


def renumbered(found: Stepped, seen: Seen) -> Stepped:
    """Take no number for a bundle that was live under it, once a look has found another one there."""
    looks = [*seen.beside.values(), *([] if seen.candidate is None else [seen.candidate])]
    digests = {one.version: one.digest for one in looks if one.fit}
    return _compared(_forgotten(found, digests), seen)


def _forgotten(found: Stepped, digests: dict[str, str]) -> Stepped:
    """Go back no more to a number that is another bundle: that one has passed nothing, so it gets every stage."""
    state = found.state
    rollout = state.rollout
    going_back = rollout.version if rollout is not None and rollout.kind == "rollback" else None
    for version, digest in state.digests.items():
        if version == going_back or digests.get(version, digest) == digest:
            continue
        reason = (
            f"version {version} is another bundle now than the one that was live before, which rollback reaches no more"
        )
        found = found.noted("bundle_differs", from_version=state.serving, to_version=version, reason=reason)
        found = found.but(
            recent=tuple([one for one in found.state.recent if one != version]),
            digests={one: known for one, known in found.state.digests.items() if one != version},
        )
        if rollout is not None and rollout.version == version and rollout.kind == "policy":
            found = found.but(rollout=replace(rollout, skips=False))
    return found


def _compared(found: Stepped, seen: Seen) -> Stepped:
    """Say what the live version's number names in the registry.

    Two bundles of one number could not be told apart in figures, logs and aliases, so the other one gets no rollout.
    """
    state = found.state
    version = state.serving
    look = None if version is None or not state.compare else seen.beside.get(version)
    if look is None or version is None or look.waiting:
        return found
    digest = state.serving_digest or ""
    if look.fit and digest in ("", look.digest):
        return found.but(compare=False, told={one: words for one, words in state.told.items() if one != version})
    kind, words = "bundle_missing", f"what the registry has under this number cannot be served ({look.refused})"
    if look.fit:
        kind, words = "bundle_differs", f"another bundle has this number now ({look.digest[:12]}), and answers nobody"
        words += "; to promote it, register it under a number of its own"
    words = f"the bundle {digest[:12]} goes on answering: {words}"
    found = found.noted(kind, from_version=version, to_version=version, reason=words)
    return found.but(compare=False, told=kept(state.told, version, words))
