"""Every setting of the platform, read once from the environment; knows nothing of what uses them.

Each field is the variable `TWINSCORE_<FIELD>`; unknown `TWINSCORE_*` names are refused,
because a setting that is silently ignored is the worst kind.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from twinscore.errors import SettingsInvalid, near

__all__ = ["Settings", "address_of", "load_settings"]

PREFIX = "TWINSCORE_"


class Settings(BaseSettings):
    """One machine by default; a cluster by other values of the same fields."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    home: Path = Path(".twinscore")
    """Folder of everything the platform writes: registry, lake, logs, state of the local stack."""
    mlflow_uri: str | None = None
    """Tracking and registry URI; None means the embedded SQLite registry under `home`."""
    ray_address: str | None = None
    """Address of a Ray cluster; None means the local stack when it is up, else a Ray inside the process."""
    num_cpus: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    """Cores that the local Ray may use."""
    host: str = "127.0.0.1"
    """Address that the local stack binds."""
    serve_port: int = Field(default=8000, ge=1, le=65535)
    """Port of the prediction endpoints."""
    grpc_port: int | None = Field(default=None, ge=1, le=65535)
    """Port of the prediction endpoints over gRPC; None speaks none."""
    mlflow_port: int = Field(default=5000, ge=1, le=65535)
    """Port of the MLflow server and its UI."""
    dashboard_port: int = Field(default=8265, ge=1, le=65535)
    """Port of the Ray dashboard and its job API."""
    ray_port: int = Field(default=6379, ge=1, le=65535)
    """Port of the Ray head (GCS)."""
    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1)
    """Largest request body that an endpoint reads."""
    max_rows_per_request: int = Field(default=10_000, ge=1)
    """Most rows in one request."""
    request_timeout_s: float = Field(default=30.0, gt=0)
    """Seconds after which a client of an endpoint gives up."""

    tls_certificate: Path | None = None
    """PEM file with the certificate chain and the private key of the endpoints; None means plain HTTP."""
    edge_threads: int = Field(default=1, ge=1, le=64)
    """Threads of the proxy in front of the endpoints."""
    edge_connections_per_address: int = Field(default=64, ge=1)
    """Connections that one client address may hold open, and calls over gRPC at a time; the next is refused."""
    control_store: str | None = None
    """Database of rollouts, ledger and holds, `sqlite:///path.db` or `postgresql://...`; None means one in `home`."""

    policies: Path = Path("registry/promotion")
    """Folder of promotion policies, one file per model; relative to where the command is run."""
    deployments: Path = Path("deployments")
    """Folder of deployment files, `<model>.yaml`, whose key `monitor` says what is watched; relative as `policies`."""
    control_poll_s: float = Field(default=2.0, ge=0.1, le=60)
    """Seconds between two looks of the control at the registry."""
    control_lease_s: float = Field(default=10.0, ge=5, le=300)
    """Seconds after which another control takes over from one that is gone."""
    alerts_poll_s: float = Field(default=10.0, ge=0.1, le=3600)
    """Seconds between two looks of the control at what is watched."""
    watch_every_s: float = Field(default=600.0, ge=0, le=86_400)
    """Seconds from one round of counting what is watched to the next, which the control begins; 0 begins none."""

    @field_validator("grpc_port")
    @classmethod
    def _apart(cls, port: int | None, known: ValidationInfo) -> int | None:
        # The proxy would bind both, and the kernel would deal connections out to either.
        if port is not None and port == known.data.get("serve_port"):
            message = "it is the port of HTTP, too; give each a port of its own"
            raise ValueError(message)
        return port

    @property
    def lake(self) -> Path:
        """Folder of bundles, predictions and logs."""
        return self.home / "lake"

    @property
    def registry_folder(self) -> Path:
        """Folder of the embedded MLflow registry."""
        return self.home / "mlflow"

    @property
    def embedded_registry_uri(self) -> str:
        """URI of the embedded registry's SQLite file."""
        return f"sqlite:///{self.registry_folder / 'mlflow.db'}"

    @property
    def serve_url(self) -> str:
        """What clients of HTTP are given, `http://host:port`."""
        scheme = "http" if self.tls_certificate is None else "https"
        return f"{scheme}://{address_of(self._reached_at, self.serve_port)}"

    @property
    def grpc_target(self) -> str | None:
        """What clients of gRPC are given, `host:port`; None where the stack speaks none."""
        return None if self.grpc_port is None else address_of(self._reached_at, self.grpc_port)

    @property
    def _reached_at(self) -> str:
        return "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not bound

    @property
    def control_store_uri(self) -> str:
        """Address of the database of rollouts; a relative path of SQLite is relative to `home`."""
        return self.control_store or "sqlite:///control/control.db"


def address_of(host: str, port: int) -> str:
    """Return host and port as one word.

    >>> address_of("127.0.0.1", 80), address_of("::1", 80)
    ('127.0.0.1:80', '[::1]:80')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment; folders come back absolute.

    Raises:
        SettingsInvalid: a `TWINSCORE_*` variable is unknown or its value is out of range.
    """
    known = {f"{PREFIX}{name.upper()}": name for name in Settings.model_fields}
    for variable in os.environ:
        if variable.startswith(PREFIX) and variable not in known:
            message = f"The setting {variable} is unknown. {near(variable, known)}"
            raise SettingsInvalid(message, setting=variable)
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = f"{PREFIX}{'_'.join(str(part) for part in first['loc']).upper()}"
        message = f"The setting {name} is invalid: {first['msg']}, got {first.get('input')!r}."
        raise SettingsInvalid(message, setting=name) from error
    places = {"home": settings.home, "policies": settings.policies, "deployments": settings.deployments}
    return settings.model_copy(update={name: path.expanduser().resolve() for name, path in places.items()})
