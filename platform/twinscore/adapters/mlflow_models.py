"""Model versions in an MLflow registry; knows nothing of how they are trained or scored."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from twinscore.adapters.mlflow_client import connect, translated
from twinscore.adapters.mlflow_package import bundle_inside, flat, write_package
from twinscore.errors import ModelNotFound, SettingsInvalid, StoreConflict, near
from twinscore.ports.model_store import ModelRef, ModelVersion, parse_ref

if TYPE_CHECKING:
    from collections.abc import Mapping

    import mlflow.entities.model_registry as registry
    from mlflow.tracking import MlflowClient

__all__ = ["BUNDLE_TAG", "MlflowModels"]

BUNDLE_TAG = "twinscore.bundle_digest"
"""Version tag that names the bundle, so that a version is loaded without its artifacts once the lake has it."""


class MlflowModels:
    """A model store on an MLflow tracking server and registry.

    Args:
        uri: of both; `sqlite:///...` reads and writes the database directly.
        artifact_root: where new experiments keep their files when there is no server to decide it.
    """

    def __init__(self, uri: str, *, artifact_root: Path | None = None) -> None:
        self._uri = uri
        self._artifact_root = artifact_root
        self._connected: MlflowClient | None = None

    def resolve(self, ref: str) -> ModelVersion:
        """Return the version that `ref` names now."""
        wanted = parse_ref(ref)
        try:
            with translated(f"look up {wanted}", self._uri, lookup=True):
                if wanted.version is not None:
                    found = self._client.get_model_version(wanted.model, wanted.version)
                else:
                    found = self._client.get_model_version_by_alias(wanted.model, str(wanted.alias))
        except ModelNotFound as error:
            raise self._not_found(wanted) from error
        return _version(found)

    def download(self, version: ModelVersion, folder: Path) -> Path:
        """Copy the files of a version below `folder`, as they were logged, and return where they are."""
        with translated(f"read the files of {version.ref}", self._uri):
            from mlflow.artifacts import download_artifacts

            source = self._client.get_model_version_download_uri(version.model, version.version)
            return Path(
                download_artifacts(
                    artifact_uri=source, dst_path=str(folder), tracking_uri=self._uri, registry_uri=self._uri
                )
            )

    def fetch(self, version: ModelVersion, folder: Path) -> Path:
        """Copy the files of a version below `folder` and return its bundle folder, unverified."""
        return bundle_inside(self.download(version, folder), ref=version.ref)

    def register(
        self,
        model: str,
        bundle_folder: Path,
        *,
        metrics: Mapping[str, float],
        params: Mapping[str, object],
        tags: Mapping[str, str],
    ) -> ModelVersion:
        """Store a bundle as the next version of `model`, with a run that records how it was made.

        The version appears last, when its files are there: a registration that dies leaves a failed run, no version.
        """
        parse_ref(model)
        digest = tags[BUNDLE_TAG]
        with translated(f"register a version of {model!r}", self._uri):
            client = self._client
            experiment = self._experiment(model)
            run_id = client.create_run(experiment, run_name=f"{model}-{digest[:8]}", tags=dict(tags)).info.run_id
            try:
                _log(client, run_id, metrics, params)
                logged = client.create_logged_model(
                    experiment,
                    name=model,
                    source_run_id=run_id,
                    params={name: flat(value) for name, value in params.items()},
                    tags=dict(tags),
                    model_type="twinscore",
                )
                with tempfile.TemporaryDirectory(prefix="twinscore-register-") as scratch:
                    package = Path(scratch, "model")
                    write_package(bundle_folder, package, digest=digest)
                    client.log_model_artifacts(logged.model_id, str(package))
                client.finalize_logged_model(logged.model_id, "READY")
                with contextlib.suppress(StoreConflict), translated("create the model", self._uri):
                    client.create_registered_model(model)
                # The location rather than models:/<id>: MLflow resolves that one through its global tracking URI.
                made = client.create_model_version(
                    model, logged.artifact_location, run_id=run_id, tags=dict(tags), model_id=logged.model_id
                )
                # A server links the logged model to its version by itself; a direct write has to.
                link = json.dumps([{"name": model, "version": int(made.version)}])
                client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": link})
            except BaseException:
                with contextlib.suppress(Exception):
                    client.set_terminated(run_id, status="FAILED")
                raise
            client.set_terminated(run_id, status="FINISHED")
        return _version(made)

    def set_alias(self, model: str, alias: str, version: str) -> None:
        """Point `alias` of `model` at `version`."""
        from mlflow.exceptions import MlflowException

        try:
            with translated(f"set the alias {model}@{alias}", self._uri, lookup=True):
                try:
                    self._client.set_registered_model_alias(model, alias, version)
                except MlflowException as error:
                    if error.error_code == "INVALID_PARAMETER_VALUE":
                        message = f"MLflow refuses the alias {alias!r}: {error}"
                        raise SettingsInvalid(message, alias=alias) from error
                    raise
        except ModelNotFound as error:
            raise self._not_found(ModelRef(model, version)) from error

    @property
    def _client(self) -> MlflowClient:
        if self._connected is None:
            self._connected = connect(self._uri)
        return self._connected

    def _experiment(self, model: str) -> str:
        found = self._client.get_experiment_by_name(model)
        if found is not None:
            return str(found.experiment_id)
        location = str(self._artifact_root / model) if self._artifact_root else None
        return str(self._client.create_experiment(model, artifact_location=location))

    def _not_found(self, wanted: ModelRef) -> ModelNotFound:
        """Say what exists and what to do."""
        with translated("list what it holds", self._uri):
            models = {m.name: m for m in self._client.search_registered_models(max_results=1000)}
            if wanted.model not in models:
                message = (
                    f"There is no model {wanted.model!r} in {self._uri}. {near(wanted.model, models)} "
                    f"Make one: twinscore train --model {wanted.model} --data FILE.parquet --label COLUMN --key COLUMN"
                )
                return ModelNotFound(message, model=wanted.model, models=sorted(models))
            held = self._client.search_model_versions(f"name='{wanted.model}'", max_results=1000)
        numbers = sorted(int(v.version) for v in held)
        aliases = dict(models[wanted.model].aliases)
        if wanted.version is not None:
            known = _shown([str(n) for n in numbers])
            message = f"{wanted.model!r} has no version {wanted.version}; it has {known}."
        else:
            known = _shown([f"@{name} = version {number}" for name, number in sorted(aliases.items())])
            message = (
                f"{wanted.model!r} has no alias @{wanted.alias}; it has {known}, and version {_shown(numbers)}. "
                f"Set the alias in the MLflow UI (Models, {wanted.model}, a version, Aliases) or train with "
                f"--alias {wanted.alias}."
            )
        return ModelNotFound(message, model=wanted.model, versions=numbers, aliases=aliases)


def _version(found: registry.ModelVersion) -> ModelVersion:
    tags = dict(found.tags or {})
    return ModelVersion(
        model=found.name,
        version=str(found.version),
        aliases=tuple(sorted(found.aliases or ())),
        bundle_digest=tags.get(BUNDLE_TAG),
        source=found.source or "",
        run_id=found.run_id or None,
    )


def _log(client: MlflowClient, run_id: str, metrics: Mapping[str, float], params: Mapping[str, object]) -> None:
    """Log in the portions that MLflow takes at once."""
    from mlflow.entities import Metric, Param

    now = time.time_ns() // 1_000_000
    entries = [Metric(name, float(value), now, 0) for name, value in metrics.items()]
    settings = [Param(name, flat(value)) for name, value in params.items()]
    client.log_batch(run_id, params=settings[:100])
    for start in range(0, len(entries), 500):
        client.log_batch(run_id, metrics=entries[start : start + 500])


def _shown(items: list[str] | list[int]) -> str:
    """Return at most five of the items as text."""
    if not items:
        return "none"
    last = [str(item) for item in items[-5:]]
    return f"{'..., ' if len(items) > 5 else ''}{', '.join(last)}"
