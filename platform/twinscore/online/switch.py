"""Puts routing documents into force in one replica: load, verify, swap pointers; knows Serve only through `serve_ask`.

The swap is one assignment: a request sees the old version and the old arms, or the new ones, never a mixture. The
version before stays loaded, so going back needs no registry and no disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from twinscore.contract.rows import decode_rows
from twinscore.errors import SettingsInvalid, TwinscoreError
from twinscore.online.arms import Arms
from twinscore.online.asked import Asked
from twinscore.online.caller import Ask, Caller, serve_ask
from twinscore.online.endpoint import Endpoint
from twinscore.online.request import Limits
from twinscore.online.shadow_feed import FeedTotals, ShadowFeed
from twinscore.rollout.routing import Routing, Shadow, Target, accept

if TYPE_CHECKING:
    from twinscore.online.gateway import Gateway

__all__ = ["Switch", "load_endpoint"]

_log = structlog.get_logger("twinscore.online")


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A verified version, and a reference row of its own as decoded."""

    endpoint: Endpoint
    probe: Sequence[Any]


class Switch:
    """Holds the versions that a replica has loaded, and the routing in force.

    Args:
        gateway: what the swap is made in.
        bundles: the content-addressed store.
        limits: what one request may ask for.
        ask_of: how an application is asked, by its name.
        kind: what makes an endpoint of a bundle.
        start: returns what starts the process of one shadow of a routing; None where routings have none.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        bundles: Path,
        limits: Limits,
        ask_of: Callable[[str], Ask] = serve_ask,
        kind: Callable[..., Endpoint] = Endpoint,
        start: Callable[[Routing, Shadow], Callable[[str], Callable[[], None]]] | None = None,
    ) -> None:
        self._gateway = gateway
        self._bundles = bundles
        self._limits = limits
        self._start = start
        self._feeds = FeedTotals()
        self._ask_of = ask_of
        self._kind = kind
        # Not by digest alone: the same bundle under another number answers, and is counted, by that number.
        self._loaded: dict[Target, _Loaded] = {}
        self._live: _Loaded | None = None
        self._arms: Arms | None = None
        self._lock = threading.Lock()
        self.routing: Routing | None = None
        self.refused: dict[str, Any] | None = None
        """The last routing that was not put into force: its epoch and why."""

    def apply(self, routing: Routing) -> None:
        """Put a routing into force; until it is, and when it cannot be, the one before goes on.

        Raises:
            StoreConflict: its epoch is stale.
            BundleInvalid: the live version cannot be loaded and verified.
            SettingsInvalid: it names a column that the contract does not have.
        """
        with self._lock:
            try:
                if accept(self.routing, routing) == self.routing:
                    return
                self._apply(routing)
            except Exception as error:
                why = error.message if isinstance(error, TwinscoreError) else f"{type(error).__name__}: {error}"
                self.refused = {"epoch": routing.epoch, "code": getattr(error, "code", "error"), "why": why[:500]}
                _log.error("routing_refused", model=routing.model, epoch=routing.epoch, why=why[:500])
                raise
        if routing.previous is not None and routing.previous not in self._loaded:
            threading.Thread(target=self._warm, args=(routing,), name="warm", daemon=True).start()

    def check(self) -> None:
        """Score a reference row of the live version; raises what scoring raises."""
        live = self._live
        if live is not None:
            live.endpoint.score(Asked(live.probe))

    def state(self) -> dict[str, Any]:
        """Return what is in force here, what was refused, and what became of challengers' and shadows' rows."""
        arms = self._arms
        return {
            "routing": None if self.routing is None else self.routing.to_json(),
            "refused": self.refused,
            "loaded": sorted(loaded.endpoint.version for loaded in dict(self._loaded).values()),
            "challengers": {} if arms is None else {arm: caller.counts() for arm, caller in arms.callers.items()},
            "shadows": {} if arms is None else {feed.shadow.app: feed.counts() for feed in arms.shadows},
            "shadow_log": self.shadow_log(),
        }

    def shadow_log(self) -> dict[str, Any]:
        """Return how many rows of shadows were recorded and left out since the start, and bytes that wait."""
        return self._feeds.counts()

    def close(self) -> None:
        """End the processes of the shadows."""
        for feed in self._arms.shadows if self._arms is not None else ():
            self._feeds.end(feed)

    def _apply(self, routing: Routing) -> None:
        live = self._load(routing.live)
        unknown = set(routing.entity) - {column.name for column in live.endpoint.bundle.contract.columns}
        if unknown:
            message = f"The routing names {min(unknown)!r} as entity, but the contract has no such column."
            raise SettingsInvalid(message, entity=sorted(unknown))
        before = self._arms
        self._count_scores_as(routing, live)
        arms = self._make_arms(routing, live.endpoint)
        self._count_challengers(routing, arms)
        self._gateway.swap(live.endpoint, arms)
        self._live, self._arms, self.routing = live, arms, routing
        self._loaded = {
            target: loaded for target, loaded in self._loaded.items() if target in (routing.live, routing.previous)
        }
        self._gateway.forget_but([loaded.endpoint for loaded in self._loaded.values()])
        going = set(before.shadows if before is not None else ()) - set(arms.shadows if arms is not None else ())
        for feed in going:
            threading.Thread(target=self._feeds.end, args=(feed,), name="shadow-end", daemon=True).start()
        _log.info("routing_applied", model=routing.model, epoch=routing.epoch, version=routing.live.version)

    def _make_arms(self, routing: Routing, endpoint: Endpoint) -> Arms | None:
        """Return what the routing does beside the live version, with counters carried on; None when it does nothing."""
        if not routing.challengers and not routing.shadows:
            return None
        old = self._arms
        callers: dict[str, Caller] = {}
        for challenger in routing.challengers:
            kept = old.callers.get(challenger.arm) if old is not None else None
            deadline_s = routing.deadline_ms / 1000
            if kept is None or (kept.digest, kept.app, kept.deadline_s) != (
                challenger.digest,
                challenger.app,
                deadline_s,
            ):
                kept = Caller(self._ask_of(challenger.app), challenger.app, challenger.digest, deadline_s)
            callers[challenger.arm] = kept
        feeds: list[ShadowFeed] = []
        for shadow in routing.shadows:
            same = old is not None and (old.routing.salt, old.routing.entity) == (routing.salt, routing.entity)
            found = [feed for feed in old.shadows if feed.shadow == shadow] if old is not None and same else []
            feeds.append(found[0] if found else self._feed(routing, shadow))
        return Arms(routing, endpoint, callers, feeds, self._gateway.book)

    def _feed(self, routing: Routing, shadow: Shadow) -> ShadowFeed:
        if self._start is None:
            message = f"The routing names the shadow {shadow.app}, and nothing here can start its process."
            raise SettingsInvalid(message, app=shadow.app)
        feed = ShadowFeed(shadow, self._start(routing, shadow))
        self._feeds.begin(feed)
        return feed

    def _count_scores_as(self, routing: Routing, live: _Loaded) -> None:
        """Count scores from now on in the bins of the live version and of the one before, as far as it is loaded."""
        before = None if routing.previous is None else self._loaded.get(routing.previous)
        self._gateway.book.know([one.endpoint for one in (before, live) if one is not None])

    def _count_challengers(self, routing: Routing, arms: Arms | None) -> None:
        if arms is None:
            return
        for challenger in routing.challengers:
            arms.callers[challenger.arm].book = self._gateway.book.arm(challenger.version, challenger.mode)

    def _load(self, target: Target) -> _Loaded:
        found = self._loaded.get(target)
        if found is None:
            folder = self._bundles / target.digest
            endpoint = load_endpoint(
                folder, target.digest, model=self._gateway.model, version=target.version, limits=self._limits,
                kind=self._kind,
            )  # fmt: skip
            # Not by the endpoint's own decoder: a cache may know the row, and the model shall be asked.
            found = _Loaded(endpoint, decode_rows([endpoint.example()], endpoint.bundle.contract)[0])
            endpoint.score(Asked(found.probe))  # the first score of a process costs more than the thousandth
            self._gateway.prepare(endpoint)
            self._loaded[target] = found
        return found

    def _warm(self, routing: Routing) -> None:
        """Load the version before, beside the requests; without it, going back loads it then."""
        assert routing.previous is not None
        with self._lock:
            if self.routing != routing:
                return
            try:
                self._load(routing.previous)
                if self._live is not None:
                    self._count_scores_as(routing, self._live)
                    self._count_challengers(routing, self._arms)
            except TwinscoreError as error:
                _log.warning("previous_not_loaded", model=routing.model, why=error.message)


def load_endpoint(
    folder: Path, digest: str, *, model: str, version: str, limits: Limits, kind: Callable[..., Endpoint] = Endpoint
) -> Endpoint:
    """Read a bundle, hold it against the digest it was deployed with, and return its endpoint, made by `kind`.

    Raises:
        BundleInvalid: a file is missing or changed, or the folder holds another bundle.
    """
    from twinscore.bundle.files import read_bundle
    from twinscore.errors import BundleInvalid

    bundle = read_bundle(folder)
    if bundle.digest != digest:
        message = (
            f"The bundle in {folder} has the digest {bundle.digest[:12]}, but {model} version {version} was deployed"
            f" with {digest[:12]}. Deploy the version again with `twinscore serve --model {model}`."
        )
        raise BundleInvalid(message, folder=str(folder), expected=digest, found=bundle.digest)
    return kind(bundle, model=model, version=version, limits=limits)
