"""The newest scores and features of the version that is live, exchanged while requests come in; knows no HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.cache.catalog import score_files
from twinscore.cache.features import FeatureLookup, Joined, feature_path, without_features
from twinscore.cache.freshness import Status, same_version
from twinscore.cache.score_file import Missing, ScoreCache
from twinscore.errors import TwinscoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from twinscore.cache.score_file import Cached
    from twinscore.cache.spec import FeaturesSpec, ScoresSpec
    from twinscore.clock import Clock
    from twinscore.contract.model import Contract

__all__ = ["LiveFeatures", "LiveScores"]


class LiveScores:
    """The scores of one version. A promotion makes another `LiveScores`, so model and scores change in one step.

    `find` may be called from any thread while `refresh` runs in one.

    Args:
        lake: folder of the cache's files, among others.
        model: registered name.
        bundle_digest: of the live version.
        contract: of the live version.
        spec: how old a score may be.
        clock: tells ages.
    """

    def __init__(
        self, lake: Path, model: str, *, bundle_digest: str, contract: Contract, spec: ScoresSpec, clock: Clock
    ) -> None:
        self._lake = lake
        self._model = model
        self._digest = bundle_digest
        self._contract = contract
        self._contract_digest = contract.digest
        self._ttl_s = float(spec.ttl_s)
        self._clock = clock
        self._cache: ScoreCache | None = None
        self._stamp: tuple[str, int, int] | None = None
        self.problem: str | None = None
        """Why a newer file is not used, or None."""

    @property
    def facts(self) -> dict[str, Any] | None:
        """What the file in use says of its run, or None without one."""
        return None if self._cache is None else self._cache.facts

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that a row is found by: those of the run in use, the contract's without one."""
        return self._contract.key if self._cache is None else self._cache.key

    def refresh(self) -> bool:
        """Take the newest file that can be used, and tell whether that is another than before.

        Reads a new file whole to check it, about a second per GB: call it outside the path of requests. One that
        cannot be used is passed over, and `problem` says why.
        """
        self.problem = None
        for one in score_files(self._lake, self._model, self._digest):
            if not same_version(one.facts, bundle_digest=self._digest, contract_digest=self._contract_digest):
                self.problem = self.problem or f"The run in {one.path} was checked by another contract."
                continue
            try:
                found = one.path.stat()
                stamp = (one.path.name, found.st_ino, found.st_mtime_ns)
                if stamp == self._stamp:
                    return False
                self._cache = ScoreCache.open(one.path, self._contract)
            except (TwinscoreError, OSError) as error:
                self.problem = self.problem or str(error)
                continue
            self._stamp = stamp
            return True
        return False

    def find(self, row: Mapping[str, Any]) -> Cached | Missing:
        """Look up the score of a decoded row by its key; see `ScoreCache.find`."""
        cache = self._cache
        if cache is None:
            return _NOT_FOUND
        return cache.find(row, now_s=self._clock.now().timestamp(), ttl_s=self._ttl_s)


class LiveFeatures:
    """The features of one deployment; `join` may be called from any thread while `refresh` runs in one.

    Args:
        lake: folder of the cache's files, among others.
        model: registered name.
        contract: of the live version.
        spec: which features, and how old they may be.
        clock: tells ages.
    """

    def __init__(self, lake: Path, model: str, *, contract: Contract, spec: FeaturesSpec, clock: Clock) -> None:
        self._path = feature_path(lake, model, spec)
        self._contract = contract
        self._spec = spec
        self._clock = clock
        self._lookup: FeatureLookup | None = None
        self._stamp: tuple[int, int] | None = None
        self.problem: str | None = None
        """Why the newest file is not used, or None."""

    def refresh(self) -> bool:
        """Take the file that is there now, and tell whether it is another than before; see `LiveScores.refresh`."""
        self.problem = None
        try:
            found = self._path.stat()
            stamp = (found.st_ino, found.st_mtime_ns)
            if stamp == self._stamp:
                return False
            self._lookup = FeatureLookup(self._path, self._contract, self._spec)
        except FileNotFoundError:
            self.problem = f"There is no file of features at {self._path}: run `twinscore cache features`."
            return False
        except (TwinscoreError, OSError) as error:
            self.problem = str(error)
            return False
        self._stamp = stamp
        return True

    def join(self, row: Mapping[str, Any]) -> Joined:
        """Fill a row's features by its key; see `FeatureLookup.join`."""
        lookup = self._lookup
        if lookup is None:
            return without_features(row, self._spec.columns)
        return lookup.join(row, now_s=self._clock.now().timestamp())


_NOT_FOUND = Missing(Status.NOT_FOUND)
