"""An endpoint that answers from the last batch run where it may, and fills in features that batch computed.

Cache and model belong to one endpoint and so to one bundle: whoever exchanges the endpoint exchanges both in one step.
What the cache knows of a row is looked up when the row is decoded and travels with it, so that every wire format that
has rows is served, and a row whose contract check fails is refused whatever the cache says.
"""

from __future__ import annotations

import threading
import weakref
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from twinscore.cache.freshness import Status
from twinscore.cache.live import LiveFeatures, LiveScores
from twinscore.cache.score_file import Cached
from twinscore.clock import SystemClock
from twinscore.errors import SettingsInvalid, near
from twinscore.online.asked import Asked
from twinscore.online.endpoint import Endpoint, row_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from twinscore.bundle.files import Bundle
    from twinscore.cache.spec import CacheSpec
    from twinscore.clock import Clock
    from twinscore.contract.verdict import Fault
    from twinscore.online.answer import Prediction
    from twinscore.online.asked import Outcome
    from twinscore.online.request import Limits

__all__ = ["HybridEndpoint", "by_key_alone", "endpoint_kind", "follow", "from_batch", "note_features"]

_LOOK_S = 2.0
"""Between two looks for newer files."""
_log = structlog.get_logger("twinscore.online")


class _Row(dict[str, Any]):
    """A decoded row, and what the cache knows of it."""

    __slots__ = ("cached", "key_only", "statuses")

    def __init__(self, row: Mapping[str, Any]) -> None:
        super().__init__(row)
        self.cached: Cached | None = None
        self.key_only = False
        self.statuses: dict[str, Status] | None = None


def endpoint_kind(cache: CacheSpec, lake: Path) -> Callable[..., Endpoint]:
    """Return what makes endpoints of a deployment: the plain one where its file has no cache."""
    if cache.scores is None and cache.features is None:
        return Endpoint
    return partial(HybridEndpoint, cache=cache, lake=lake)


class HybridEndpoint(Endpoint):
    """One verified model version with the scores and features that batch left for it.

    Newer files are taken by a thread of its own, off the path of requests; it ends with the endpoint.

    Args:
        bundle: the version.
        cache: what is taken from batch, and how old it may be.
        lake: folder of the cache's files, among others.
        clock: tells ages.

    Raises:
        SettingsInvalid: the features are not columns of the contract.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        model: str,
        version: str,
        limits: Limits | None = None,
        cache: CacheSpec,
        lake: Path,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(bundle, model=model, version=version, limits=limits)
        contract, clock, lake = bundle.contract, clock or SystemClock(), lake.resolve()
        self._scores = None
        self._features = None
        self._key_only = cache.scores is not None and cache.scores.key_only
        if cache.scores is not None:
            self._scores = LiveScores(
                lake, model, bundle_digest=bundle.digest, contract=contract, spec=cache.scores, clock=clock
            )
        if cache.features is not None:
            known = [column.name for column in contract.columns]
            for name in (*cache.features.key, *cache.features.columns):
                if name not in known:
                    hint = near(name, known)
                    message = f"cache.features speaks of {name!r}, and contract {contract.name!r} has none. {hint}"
                    raise SettingsInvalid(message, setting="cache.features", column=name)
            self._features = LiveFeatures(lake, model, contract=contract, spec=cache.features, clock=clock)
        self._decode_plain = self.decode
        self._check_plain = self._check_row
        self.decode = self._decode_and_look_up
        self._check_row = self._check_unless_key
        sources = [source for source in (self._scores, self._features) if source is not None]
        self.refresh()
        stop = threading.Event()
        weakref.finalize(self, stop.set)
        threading.Thread(target=follow, args=(sources, model, stop), name="cache", daemon=True).start()

    def refresh(self) -> None:
        """Take the newest files now."""
        for source in (self._scores, self._features):
            if source is not None:
                source.refresh()

    def facts(self) -> dict[str, Any]:
        """Return what identifies this version and the files that it takes from."""
        said: dict[str, Any] = {}
        if self._scores is not None:
            used = self._scores.facts or {}
            said["scores"] = {"run_id": used.get("run_id"), "rows": used.get("rows"), "problem": self._scores.problem}
        if self._features is not None:
            said["features"] = {"problem": self._features.problem}
        return {**super().facts(), "cache": said}

    def prepare(self) -> None:
        """Make nothing: bodies of many rows are read as those of few."""

    def read(self, body: bytes, content_type: str | None, *, partial: bool) -> Asked | None:
        """Return None: what batch knows of a row is looked up before it is decoded."""
        return None

    def ask(self, instances: Sequence[object], *, at: str, partial: bool, extra: Any = None) -> Asked:
        """Return what JSON rows ask for, row by row: each has a key of its own."""
        rows, faults = self.decode(instances, at=at)
        return Asked(rows, faults, at, partial=partial, extra=extra)

    def score(self, asked: Asked) -> Outcome:
        """Check rows one by one and score those that the cache has not; a table is scored whole, without the cache."""
        return super().score(asked) if asked.table is not None else self._row_by_row(asked)

    def _decode_and_look_up(
        self, instances: Sequence[object], *, at: str = "/instances"
    ) -> tuple[list[dict[str, Any]], list[Fault]]:
        filled, statuses = self._fill(instances)
        rows, faults = self._decode_plain(filled, at=at)
        kept = [_Row(row) for row in rows]
        answered: set[str] = set()
        for place, row in enumerate(kept):
            row.statuses = statuses[place] if statuses else None
            if self._scores is None:
                continue
            found = self._scores.find(row)
            row.cached = found if isinstance(found, Cached) else None
            if row.cached is not None and self._key_only and self._is_key(instances[place]):
                row.key_only = True
                answered.add(f"{at}/{place}" if at else "")
        if answered:
            faults = [fault for fault in faults if row_of(fault.path, at) not in answered]
        return list(kept), faults

    def _fill(self, instances: Sequence[object]) -> tuple[Sequence[object], list[dict[str, Status] | None]]:
        """Return the rows with their features, and the status of each feature that was looked up."""
        if self._features is None:
            return instances, []
        filled: list[object] = []
        statuses: list[dict[str, Status] | None] = []
        for instance in instances:
            if not isinstance(instance, dict):
                filled.append(instance)
                statuses.append(None)
                continue
            joined = self._features.join(instance)
            for name in joined.statuses:
                value = joined.row[name]
                if isinstance(value, date):  # what follows reads JSON
                    joined.row[name] = value.isoformat()
            filled.append(joined.row)
            statuses.append(joined.statuses)
        return filled, statuses

    def _is_key(self, instance: object) -> bool:
        """Tell whether a row is its key and nothing else; a row with some of the other columns is incomplete."""
        assert self._scores is not None
        return isinstance(instance, dict) and instance.keys() == {*self._scores.key}

    def _check_unless_key(self, row: Mapping[str, Any], at: str = "") -> list[Fault]:
        if isinstance(row, _Row) and row.key_only:  # what was scored in batch was checked there
            return []
        return self._check_plain(row, at=at)

    def _score_row(self, position: int, row: Mapping[str, Any], *, flagged: bool) -> Prediction:
        cached = row.cached if isinstance(row, _Row) else None
        if cached is None:
            prediction = super()._score_row(position, row, flagged=flagged)
            prediction.source = "model"
        else:
            prediction = self._prediction(position, self._key_of(row), cached.values)
            prediction.source, prediction.run_id, prediction.age_s = "cache", cached.run_id, round(cached.age_s, 3)
        note_features(prediction, row)
        return prediction


def from_batch(row: Mapping[str, Any]) -> bool:
    """Tell whether the cache has a score for a decoded row, so that no model is asked."""
    return isinstance(row, _Row) and row.cached is not None


def by_key_alone(row: Mapping[str, Any]) -> bool:
    """Tell whether a decoded row was sent as its key, so that no other version can be asked about it."""
    return isinstance(row, _Row) and row.key_only


def note_features(prediction: Prediction, row: Mapping[str, Any]) -> None:
    """Say in a prediction what became of the features that were looked up for its row."""
    if isinstance(row, _Row) and row.statuses is not None:
        prediction.features = {name: status.value for name, status in row.statuses.items()}


def follow(sources: Sequence[LiveScores | LiveFeatures], model: str, stop: threading.Event) -> None:
    """Take newer files until the endpoint is gone; says once why one is not used."""
    said: dict[int, str | None] = {}
    while not stop.wait(_LOOK_S):
        for number, source in enumerate(sources):
            source.refresh()
            if source.problem != said.get(number):
                said[number] = source.problem
                if source.problem:
                    _log.warning("cache_not_used", model=model, problem=source.problem)
