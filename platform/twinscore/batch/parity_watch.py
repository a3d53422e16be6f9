"""Both paths of a model checked against each other on samples of what they did of late; knows no HTTP.

    online -> batch   answers of the audit log, scored again as a run scores
    batch -> online   rows of the newest committed run, asked of the endpoint
    joined features   what requests were filled with, and would be now, beside the table that batch made

What cannot be looked at is named and counted, never passed over; nothing here raises because one run or one segment
cannot be read.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_salt
from twinscore.audit.places import model_folder
from twinscore.audit.record import FEATURE
from twinscore.audit.window import Window
from twinscore.batch.parity_online import check_answers, sample_answers
from twinscore.batch.parity_runs import check_run, check_with_live
from twinscore.batch.retry import bundle_of as bundle_of_run
from twinscore.batch.runs import known_runs
from twinscore.batch.stored_sample import sampled_scores
from twinscore.cache.features import FeatureLookup, feature_path
from twinscore.cache.joined import FeatureTable, compare_joined
from twinscore.errors import AccessDenied, BundleInvalid, TwinscoreError
from twinscore.monitoring.parity_report import JoinedFeature, ParityFindings
from twinscore.wiring import bundle_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twinscore.audit.sample import Stratum
    from twinscore.bundle.files import Bundle
    from twinscore.cache.spec import FeaturesSpec
    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.parity_ask import LiveEndpoint
    from twinscore.monitoring.parity_report import CheckedPart
    from twinscore.scoring.parity import StoredScores
    from twinscore.settings import Settings

__all__ = ["Direction", "check_paths", "parity_figures"]

Direction = Literal["online", "batch", "both"]
_WINDOW = timedelta(days=1)


def parity_figures(
    settings: Settings,
    model: str,
    *,
    rows: int = 200,
    since: datetime | None = None,
    until: datetime | None = None,
    endpoint: LiveEndpoint | None = None,
    features: FeaturesSpec | None = None,
    datasets: Sequence[str] = (),
) -> list[Figure]:
    """Return the figures of the topic `parity`, for whoever looks again and again; arguments as `check_paths`."""
    found = check_paths(
        settings, model, rows=rows, since=since, until=until, endpoint=endpoint, features=features, datasets=datasets
    )
    return found.figures()


def check_paths(
    settings: Settings,
    model: str,
    *,
    rows: int = 200,
    since: datetime | None = None,
    until: datetime | None = None,
    direction: Direction = "both",
    endpoint: LiveEndpoint | None = None,
    features: FeaturesSpec | None = None,
    datasets: Sequence[str] = (),
    seed: int | None = None,
) -> ParityFindings:
    """Check both paths of a model.

    Args:
        rows: of each direction, at most; 0 looks at nothing.
        since: answers from then on; None is a day before the end.
        until: answers before then; None is now.
        direction: `online` gives answers to the batch path, `batch` rows of runs to the endpoint.
        endpoint: how the endpoint is asked; without one, the direction `batch` is left out.
        features: the deployment's `cache.features`; without them no joined feature is looked at.
        datasets: of the runs; empty means all of the model's.
        seed: of the samples; None takes another one at each look.
    """
    end = until or datetime.now(UTC)
    start = since or end - _WINDOW
    chosen = int(end.timestamp()) if seed is None else seed
    look = _Look(settings, model, Window(start, end), rows, chosen, features)
    if rows and direction in ("online", "both"):
        look.at_answers()
    if rows and direction in ("batch", "both"):
        look.at_runs(endpoint, datasets)
    return ParityFindings(
        model=model, start=start, end=end, parts=tuple(look.parts), features=look.features,
        left_out=dict(look.left_out),
    )  # fmt: skip


class _Look:
    """One check, and what it found so far."""

    def __init__(
        self, settings: Settings, model: str, window: Window, rows: int, seed: int, spec: FeaturesSpec | None
    ) -> None:
        self._settings = settings
        self._model = model
        self._window = window
        self._rows = rows
        self._seed = seed
        self._spec = spec
        self._bundle_of = _bundles(settings)
        self.parts: list[CheckedPart] = []
        self._features: dict[tuple[str, str], JoinedFeature] = {}
        self.left_out: Counter[str] = Counter()

    @property
    def features(self) -> tuple[JoinedFeature, ...]:
        """What was found of joined features, by direction."""
        return tuple(self._features.values())

    def at_answers(self) -> None:
        """Score answers of the log again."""
        log = model_folder(self._settings.lake.resolve(), self._model)
        if not log.is_dir():
            self.left_out["there is no audit log"] += 1
            return
        try:
            sample = sample_answers(
                log, self._bundle_of, window=self._window, rows=self._rows, seed=self._seed,
                salt=load_secret(audit_salt(self._settings.home)), on_damage=self._damaged,
            )  # fmt: skip
        except TwinscoreError as error:
            self.left_out[error.message] += 1
            return
        if not sample:
            self.left_out["no row was answered in the window"] += 1
        for stratum, rows in sample.items():
            try:
                bundle = self._bundle_of(stratum.bundle_digest)
                self.parts.append(check_answers(rows, stratum, bundle))
                self._joined_in_log(rows, stratum, bundle)
            except TwinscoreError as error:
                self.left_out[error.message] += rows.num_rows

    def at_runs(self, endpoint: LiveEndpoint | None, datasets: Sequence[str]) -> None:
        """Ask the endpoint for rows of the newest run."""
        runs = known_runs(self._settings.lake.resolve(), self._model, datasets).committed
        if not runs or endpoint is None:
            self.left_out["there is no committed run" if not runs else "the endpoint was not asked"] += 1
            return
        try:
            live = endpoint.live()
            bundle = bundle_of_run(self._settings, runs[0])
            stored = sampled_scores(runs[0], bundle, self._rows, self._seed)
            if live.digest == stored.bundle_digest:
                self.parts.append(check_run(stored, bundle, endpoint, live))
            else:
                bundle = self._bundle_of(live.digest)
                self.parts += check_with_live(stored, bundle, endpoint, live)
            self._joined_now(stored, bundle)
        except AccessDenied:
            raise
        except TwinscoreError as error:
            self.left_out[error.message] += 1

    def _damaged(self, message: str) -> None:
        self.left_out[message] += 1

    def _joined_in_log(self, rows: pa.Table, stratum: Stratum, bundle: Bundle) -> None:
        """Hold what requests were filled with against the table."""
        if self._spec is None or stratum.role == "shadow":
            return
        key = self._spec.key or bundle.contract.key
        hidden = [name for name in (*key, *self._spec.columns) if bundle.contract.column(name).audit != "keep"]
        if hidden:
            self.left_out[f"the log has no values of {', '.join(hidden)}"] += rows.num_rows
            return
        scored = rows.filter(pa.array(~rows["score"].is_null().to_numpy()))
        names = [*key, *self._spec.columns]
        cells = pa.table(
            [scored[f"{FEATURE}{name}"].cast(bundle.contract.column(name).type) for name in names], names=names
        )
        moments = scored["received_at"].cast(pa.int64()).to_numpy() / 1e6
        self._joined("online", cells, moments.tolist(), bundle)

    def _joined_now(self, stored: StoredScores, bundle: Bundle) -> None:
        """Hold what the run's entities would be filled with now against the table."""
        if self._spec is not None:
            key = stored.table.select(self._spec.key or bundle.contract.key)
            moments = np.full(key.num_rows, self._window.bounds[1].timestamp())
            self._joined("batch", key, moments.tolist(), bundle)

    def _joined(
        self, direction: Literal["online", "batch"], cells: pa.Table, moments_s: Sequence[float], bundle: Bundle
    ) -> None:
        assert self._spec is not None
        lake, lookup = self._settings.lake.resolve(), None
        try:
            lookup = FeatureLookup(feature_path(lake, self._model, self._spec), bundle.contract, self._spec)
        except TwinscoreError as error:
            self.left_out[error.message] += 1  # then nothing is found in it, as by the replicas
        table = FeatureTable(lake / self._spec.table, self._spec, bundle.contract, cells)
        found = compare_joined(cells.to_pylist(), moments_s, table, lookup, self._spec.columns)
        for name, one in found.items():
            made = JoinedFeature(
                feature=name, direction=direction, checked=one.checked, kinds=dict(one.kinds), behind_s=one.behind_s,
                first=one.first,
            )  # fmt: skip
            earlier = self._features.get((direction, name))
            self._features[direction, name] = made if earlier is None else earlier.plus(made)


def _bundles(settings: Settings) -> Callable[[str], Bundle]:
    """Return what gives a version by its digest, from the store alone: an answer needs no registry to be checked."""
    store = bundle_store(settings)

    @cache
    def bundle_of(digest: str) -> Bundle:
        from twinscore.bundle.files import read_bundle

        if not store.has(digest):
            message = (
                f"The bundle {digest[:12]}..., which answered rows, is not in the store. Fetch it by scoring or "
                "serving that version once."
            )
            raise BundleInvalid(message, expected=digest)
        return read_bundle(store.path(digest))

    return bundle_of
