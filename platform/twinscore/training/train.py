"""Train one version of a model: data in, a registered and verified bundle out.

The order is: check the data, decide contract and features, split, fit with early stopping, calibrate and measure on
rows that the booster never saw, write the bundle, verify it into the bundle store, register it. Nothing is registered
unless everything before went well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twinscore.bundle.card import ModelCard
from twinscore.clock import SystemClock
from twinscore.ports.model_store import CHAMPION, parse_ref
from twinscore.training.data import Columns, load_data
from twinscore.training.evaluate import COVERAGE, evaluate
from twinscore.training.fit import fit
from twinscore.training.params import booster_params, read_params
from twinscore.training.prepare import group_columns, prepare, split_rows
from twinscore.training.record import library_versions, record_version
from twinscore.wiring import bundle_store, model_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from twinscore.clock import Clock
    from twinscore.settings import Settings

__all__ = ["TrainedVersion", "train"]


@dataclass(frozen=True, slots=True)
class TrainedVersion:
    """What training made.

    Args:
        model, version: as registered.
        digest: SHA-256 of the bundle.
        task: classification or regression.
        metrics: on the test rows.
        group_metrics: group column -> value -> metrics.
        rows: part of the data -> number of rows.
        contract: file of the contract in use.
        aliases: aliases that were set.
        notes: what was decided on the way, in sentences.
    """

    model: str
    version: str
    digest: str
    task: str
    metrics: Mapping[str, float]
    group_metrics: Mapping[str, Any]
    rows: Mapping[str, int]
    contract: Path
    aliases: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def ref(self) -> str:
        """The reference that names exactly this version, such as `adult/3`."""
        return f"{self.model}/{self.version}"


def train(
    settings: Settings,
    *,
    model: str,
    data: Path | str | pa.Table,
    label: str,
    key: str | Sequence[str],
    task: str | None = None,
    time: str | None = None,
    groups: Sequence[str] = (),
    segments: Sequence[str] = (),
    params: Mapping[str, Any] | Path | str | None = None,
    derived: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    alias: str | None = None,
    contract: Path | None = None,
    positive: str | None = None,
    seed: int = 0,
    clock: Clock | None = None,
    on_step: Callable[[str], None] = lambda _: None,
) -> TrainedVersion:
    """Train, calibrate, bundle and register one version.

    Args:
        data: a Parquet file, a folder of them, or a table.
        label, key, time, groups, drop: roles of columns; every other column is a feature, and so are groups unless
            dropped. A timestamp named as `time` enters through its calendar (hour, day of week, month).
        segments: columns whose values are told apart in the reference profile, beside the groups, so that drift is told
            of each; features unless dropped.
        task: classification or regression; None follows from the label.
        params: XGBoost parameters, or a YAML or JSON file of them, on top of our defaults.
        derived: feature name to expression.
        alias: set on the new version; the first version of a model becomes @champion in any case.
        contract: file to use as it is; None infers one into `<home>/contracts/<model>/`.
        positive: with two classes, the one to score.
        on_step: is told what happens next.

    Raises:
        InputError, ContractError, BundleError, SettingsInvalid: what is wrong with data, contract or parameters.
        StoreError: the registry or the bundle store failed.
    """
    parse_ref(model)
    keys = (key,) if isinstance(key, str) else tuple(key)
    columns = Columns(keys, label, time, tuple(groups), tuple(drop), tuple(segments))
    given = read_params(params) if isinstance(params, (str, Path)) else params
    models, bundles = model_store(settings), bundle_store(settings)

    on_step("Reading and checking the data")
    loaded = load_data(data, columns)
    ready = prepare(
        loaded,
        model=model,
        contract=contract,
        contracts=settings.home / "contracts" / model,
        derived=derived or {},
        task=task,
        positive=positive,
    )
    outcome, spec = ready.outcome, ready.spec
    split = split_rows(ready.table, columns, seed=seed)
    chosen = booster_params(outcome.task, len(outcome.classes), given=given, seed=seed, threads=settings.num_cpus)

    on_step(f"Training on {len(split.train):,} rows and {len(spec.features)} features ({outcome.task})")
    encoded = spec.encode(ready.table)
    fitted = fit(
        encoded,
        outcome.values,
        train=split.train,
        stop=split.stop,
        feature_names=spec.names,
        feature_types=spec.feature_types,
        params=chosen,
    )
    on_step(f"Calibrating on {len(split.calibrate):,} rows and measuring on {len(split.test):,}")
    measured = evaluate(
        fitted.booster,
        encoded,
        outcome,
        calibrate=split.calibrate,
        test=split.test,
        groups=group_columns(ready.table, columns, split.test),
    )
    rows = {
        **{part: len(getattr(split, part)) for part in ("train", "stop", "calibrate", "test")},
        "unlabelled": loaded.n_unlabelled,
        "refused": ready.n_refused,
    }
    card = ModelCard(
        model=model,
        task=outcome.task,
        objective=chosen.objective,
        classes=outcome.classes,
        positive=outcome.positive,
        label=label,
        key=columns.key,
        time=time,
        groups=columns.groups,
        snapshot=loaded.snapshot_id,
        rows=rows,
        metrics=measured.metrics,
        group_metrics=measured.group_metrics,
        params={**chosen.to_json(), "rounds_kept": fitted.n_rounds, "split": split.how, "seed": seed},
        versions=library_versions(),
        created_at=(clock or SystemClock()).now().isoformat(timespec="seconds"),
        coverage=COVERAGE,
    )
    on_step("Registering the version")
    # A profile of training rows would show scores that are too sure of themselves.
    after = split.after_training
    version, digest = record_version(
        models,
        bundles,
        booster=fitted.booster,
        spec=spec,
        contract=ready.checker.contract,
        calibration=measured.calibration,
        card=card,
        table=ready.table,
        reference=after,
        outcome=outcome.values[after].astype(np.int64) if outcome.classes else None,
        segments=columns.segments,
        seed=seed,
    )
    aliases = [CHAMPION] if version.version == "1" else []
    aliases += [alias] if alias is not None and alias not in aliases else []
    for name in aliases:
        models.set_alias(model, name, version.version)
    notes = [f"The task is {outcome.task}: {outcome.because}." if outcome.because else ""]
    notes += [f"The score is the probability of {outcome.positive!r}." if outcome.positive else ""]
    notes += [f"{loaded.n_unlabelled:,} rows without a label were left out." if loaded.n_unlabelled else ""]
    notes += [f"{ready.n_refused:,} rows that the contract refuses were left out." if ready.n_refused else ""]
    if version.version == "1":
        notes.append(f"It is the first version of {model!r}, so it became @{CHAMPION}.")
    return TrainedVersion(
        model=model,
        version=version.version,
        digest=digest,
        task=outcome.task,
        metrics=measured.metrics,
        group_metrics=measured.group_metrics,
        rows=rows,
        contract=ready.contract_file,
        aliases=tuple(aliases),
        notes=tuple(note for note in notes if note),
    )
