"""Aliases read and written beside the loop: what hangs holds nothing up, what is a person's own is left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from twinscore.control.mirror import Mirror
from twinscore.errors import StoreUnavailable
from twinscore.rollout.state import ModelState, PutBack

from .patience import until


class Registry:
    """Aliases and tags in memory, which may hang or be away."""

    def __init__(self, **aliases: str) -> None:
        self.named = dict(aliases)
        self.tags: dict[tuple[str, str], str | None] = {}
        self.answers = threading.Event()
        self.answers.set()
        self.away = False
        self.calls = 0

    def models(self) -> dict[str, dict[str, str]]:
        """Return everything."""
        return {"m": self.named}

    def aliases(self, model: str) -> dict[str, str]:
        """Return the aliases, once it answers."""
        del model
        self.calls += 1
        self.answers.wait(20)
        if self.away:
            message = "the registry is away"
            raise StoreUnavailable(message)
        return dict(self.named)

    def move(self, model: str, alias: str, version: str | None, *, expected: str | None) -> bool:
        """Move an alias if it names what is expected."""
        del model
        if self.named.get(alias) != expected or version is None:
            return False
        self.named[alias] = version
        return True

    def tag(self, model: str, version: str, key: str, value: str | None) -> bool:
        """Keep a tag."""
        del model
        self.tags[version, key] = value
        return True


def mirror(registry: Registry, on_change: Callable[[], None] = lambda: None) -> Mirror:
    """Follow the model `m`."""
    given: Any = registry
    return Mirror(given, "m", poll_s=0.02, on_change=on_change)


def test_serving_follows_what_is_live_and_its_tag_says_so() -> None:
    """The alias is moved once, the move is told as the platform's own, and the version carries its words."""
    registry = Registry(champion="1")
    changes: list[int] = []
    found = mirror(registry, lambda: changes.append(1))
    first = found.reading()
    found.want(ModelState(model="m", serving="1", serving_digest="a"))
    until(lambda: registry.named.get("serving") == "1" and ("1", "twinscore.rollout") in registry.tags)
    told: dict[str, str] = {}
    until(lambda: bool(told.update(found.reading().moved) or told))
    found.close()

    assert {"champion": "1"} == first.aliases
    assert {"serving": "1"} == told
    assert "live" == registry.tags["1", "twinscore.rollout"]
    assert changes


def test_a_persons_newer_wish_is_never_overwritten() -> None:
    """Champion goes back from the version that failed, and stays where somebody else put it meanwhile."""
    registry = Registry(champion="3", serving="1")
    state = ModelState(model="m", serving="1", serving_digest="a", put_back=PutBack(version="1", over=("2",)))
    found = mirror(registry)
    found.want(state)
    calls = registry.calls
    until(lambda: registry.calls > calls + 3)
    kept = registry.named["champion"]
    registry.named["champion"] = "2"
    until(lambda: registry.named["champion"] == "1")
    found.close()

    assert "3" == kept


def test_a_registry_that_hangs_holds_up_nobody() -> None:
    """The newest reading is had at once, and a registry that is away is told as such, until it is back."""
    registry = Registry(champion="1")
    found = mirror(registry)
    first = found.reading()
    registry.answers.clear()
    calls = registry.calls
    until(lambda: registry.calls > calls)
    while_hanging = found.reading()
    registry.away = True
    registry.answers.set()
    until(lambda: found.reading().aliases is None)
    away = found.reading()
    registry.away = False
    until(lambda: found.reading().aliases == {"champion": "1"})
    found.close()

    assert first.aliases == while_hanging.aliases == {"champion": "1"}
    assert "the registry is away" == away.trouble
