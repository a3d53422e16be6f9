"""A model's aliases and tags, read and written beside the loop, so that a registry that hangs holds nothing up.

Whoever decides takes the newest reading and leaves what is wanted; this thread reads, compares, writes and looks again.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

import structlog

from twinscore.errors import ModelNotFound, SettingsInvalid, TwinscoreError
from twinscore.rollout.wanted import wanted_moves, wanted_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twinscore.ports.alias_store import AliasStore
    from twinscore.rollout.state import ModelState

__all__ = ["Mirror", "Reading"]

_log = structlog.get_logger("twinscore.control")


class Reading(NamedTuple):
    """What the registry says."""

    aliases: Mapping[str, str] | None
    """None while it does not answer."""
    moved: Mapping[str, str]
    """Aliases that this mirror moved since the reading before."""
    trouble: str
    """Why it could not be read or written; empty when it could."""


class Mirror:
    """Follows one model in a registry, from its constructor until it is closed.

    Args:
        registry: where aliases and tags are.
        model: its name.
        poll_s: between two looks.
        on_change: called, in the mirror's thread, when aliases are not what they were.
    """

    def __init__(self, registry: AliasStore, model: str, *, poll_s: float, on_change: Callable[[], None]) -> None:
        self._registry = registry
        self._model = model
        self._poll_s = poll_s
        self._on_change = on_change
        self._lock = threading.Lock()
        self._aliases: dict[str, str] | None = None
        self._moved: dict[str, str] = {}
        self._trouble = ""
        self._state: ModelState | None = None
        self._tags: dict[str, dict[str, str]] = {}
        """What was written last, so that an unchanged tag costs no request."""
        self._wake = threading.Event()
        self._read = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"mirror-{model}", daemon=True)
        self._thread.start()

    def reading(self, first_s: float = 2.0) -> Reading:
        """Return the newest reading; only for the very first one it waits, for at most `first_s` seconds."""
        self._read.wait(first_s)
        with self._lock:
            moved, self._moved = self._moved, {}
            return Reading(None if self._aliases is None else dict(self._aliases), moved, self._trouble)

    def want(self, state: ModelState) -> None:
        """Leave the state that aliases and tags shall follow; it must be saved."""
        with self._lock:
            changed = self._state is None or _said(self._state) != _said(state)
            self._state = state
        if changed:
            self._wake.set()

    def look(self) -> None:
        """Look now, for somebody hints that something changed."""
        self._wake.set()

    def close(self) -> None:
        """End the thread, when its present call has come back."""
        self._closing = True
        self._wake.set()

    def _run(self) -> None:
        while not self._closing:
            self._wake.clear()
            before = self._aliases
            try:
                self._turn()
            except TwinscoreError as error:
                with self._lock:
                    self._aliases, self._trouble = None, error.message
            except Exception as error:  # noqa: BLE001 - the thread must look again, whatever happened
                _log.exception("mirror_failed", model=self._model)
                with self._lock:
                    self._aliases, self._trouble = None, f"{type(error).__name__}: {error}"
            self._read.set()
            if self._aliases != before and not self._closing:
                self._on_change()
            self._wake.wait(self._poll_s)

    def _turn(self) -> None:
        try:
            aliases = dict(self._registry.aliases(self._model))
        except ModelNotFound:
            aliases = {}
        with self._lock:
            self._aliases, self._trouble = aliases, ""
            state = self._state
        if state is not None:
            self._move(state, aliases)
            self._tag(state)

    def _move(self, state: ModelState, aliases: Mapping[str, str]) -> None:
        for move in wanted_moves(state, aliases):
            try:
                moved = self._registry.move(self._model, move.alias, move.version, expected=move.expected)
            except (ModelNotFound, SettingsInvalid) as error:  # the version was deleted, say
                self._trouble = error.message
                continue
            if moved:
                with self._lock:
                    self._moved[move.alias] = move.version
                    if self._aliases is not None:
                        self._aliases = {**self._aliases, move.alias: move.version}

    def _tag(self, state: ModelState) -> None:
        for version, tags in wanted_tags(state).items():
            if self._tags.get(version) == tags:
                continue
            try:
                for key, value in tags.items():
                    self._registry.tag(self._model, version, key, value)
            except ModelNotFound:
                _log.info("version_is_gone", model=self._model, version=version)
            self._tags[version] = tags


def _said(state: ModelState) -> tuple[object, ...]:
    """Return what of a state the registry shows."""
    return wanted_tags(state), state.live, state.put_back
