"""How one model is served: replicas, cores and queues; a value and its YAML file, nothing of Ray."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from twinscore.errors import SettingsInvalid, near
from twinscore.rollout.plan import RoutingPlan

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ServeSpec", "load_serve_spec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSpec:
    """Serving options of one model; the defaults suit one machine."""

    model: str
    """What to serve: `NAME`, `NAME@ALIAS` or `NAME/VERSION`; a bare name means its champion."""
    replicas: int = 1
    """Processes that answer; the floor when `max_replicas` lets Serve add more."""
    max_replicas: int | None = None
    """Most processes under load; None keeps `replicas` fixed."""
    cpus: float = 0.0
    """Cores that Ray sets aside per replica; 0 shares the machine with batch jobs."""
    max_ongoing_requests: int = 64
    """Requests inside one replica at a time."""
    max_queued_requests: int = 256
    """Requests that wait beyond that; more are answered 503 at once."""
    shutdown_s: float = 10.0
    """Seconds that a replica gets to finish its requests when it is replaced."""
    routing: RoutingPlan | None = None
    """Versions that are asked beside the live one; None leaves what is in force."""

    def __post_init__(self) -> None:
        if not self.model:
            _refuse("model", "the name of a registered model", self.model)
        if self.replicas < 1:
            _refuse("replicas", "at least 1", self.replicas)
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            _refuse("max_replicas", f"at least replicas ({self.replicas})", self.max_replicas)
        if self.cpus < 0:
            _refuse("cpus", "0 or more", self.cpus)
        if self.max_ongoing_requests < 1:
            _refuse("max_ongoing_requests", "at least 1", self.max_ongoing_requests)
        if self.max_queued_requests < 1:
            _refuse("max_queued_requests", "at least 1", self.max_queued_requests)
        if self.shutdown_s <= 0:
            _refuse("shutdown_s", "more than 0 seconds", self.shutdown_s)


def load_serve_spec(path: Path) -> ServeSpec:
    """Read a serve spec from YAML; unknown keys and wrong types are refused by name.

    Raises:
        SettingsInvalid: the file cannot be read, or a key or value in it is wrong.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        message = f"The serve spec {path} cannot be read: {error}"
        raise SettingsInvalid(message, path=str(path)) from error
    if not isinstance(document, dict):
        message = f"The serve spec {path} must be a mapping such as `model: loans@champion`."
        raise SettingsInvalid(message, path=str(path))
    known = {field.name for field in fields(ServeSpec)}
    document = dict(document)
    plan = document.pop("routing", None)
    for key, value in document.items():
        if key not in known:
            message = f"The serve spec {path} has an unknown key {key!r}. {near(str(key), known)}"
            raise SettingsInvalid(message, path=str(path), key=str(key))
        if not isinstance(value, _KINDS.get(key, (int,))) or isinstance(value, bool):
            message = f"The serve spec {path} has {key}: {value!r}, which is not of the right type."
            raise SettingsInvalid(message, path=str(path), key=key)
    if "model" not in document:
        message = f"The serve spec {path} names no model; add `model: NAME@ALIAS`."
        raise SettingsInvalid(message, path=str(path), key="model")
    return ServeSpec(**document, routing=None if plan is None else RoutingPlan.from_document(plan))


_KINDS: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "cpus": (int, float),
    "shutdown_s": (int, float),
    "max_replicas": (int, type(None)),
}


def _refuse(name: str, expected: str, got: object) -> None:
    message = f"The serve option {name} must be {expected}, got {got!r}."
    raise SettingsInvalid(message, setting=name)
