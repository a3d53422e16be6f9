"""How one model is served: replicas, cores and queues; a value and its YAML file, nothing of Ray."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from twinscore.cache.spec import CacheSpec, read_cache_spec
from twinscore.document import load_document, located, read_value
from twinscore.errors import SettingsInvalid
from twinscore.monitoring.quantity import seconds_of
from twinscore.monitoring.rule_file import read_monitor
from twinscore.monitoring.rule_needs import first_asking
from twinscore.monitoring.spec import MonitorSpec
from twinscore.online.degrade_spec import DegradeSpec
from twinscore.rollout.plan import RoutingPlan

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["AuditPolicy", "ExplainPolicy", "LegalHold", "ScalingPolicy", "ServeSpec", "load_serve_spec"]

_SHORTEST_KEEP_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LegalHold:
    """Days of the audit log that somebody may ask for, the first and the last of them included."""

    first: date
    last: date
    why: str

    def __post_init__(self) -> None:
        if self.last < self.first:
            _refuse("audit.holds.last", f"{self.first} or later", self.last.isoformat())
        if not self.why.strip():
            _refuse("audit.holds.why", "what the days are held for", self.why)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPolicy:
    """Whether answers are recorded, and what becomes of one that cannot be."""

    enabled: bool = True
    on_failure: Literal["refuse", "answer"] = "refuse"
    """`refuse` answers 503 until the log can be written; `answer` gives the answer all the same, and counts it."""
    reserve_mb: int = 64
    """Disk space held back, so that requests under way can still be recorded when the disk is full."""
    segment_age_s: float = 60.0
    """Age at which a segment is closed, so that compaction sees it."""
    shadows: bool = True
    """Whether the answers of shadows are recorded too, after the answer has left."""
    shadow_free_mb: int = 512
    """Disk space that records of shadows leave to those of answers; with less to spare they are left out."""
    keep: str | None = None
    """How long compacted rows are kept, such as `400d`, counted from the end of their day; None keeps them for ever."""
    holds: tuple[LegalHold, ...] = ()
    """Days that stay however old they are."""

    def __post_init__(self) -> None:
        if self.shadow_free_mb < 0:
            _refuse("audit.shadow_free_mb", "0 or more", self.shadow_free_mb)
        if self.keep is not None and seconds_of(self.keep, "audit.keep") < _SHORTEST_KEEP_S:
            _refuse("audit.keep", "at least 1d", self.keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainPolicy:
    """Which rows are explained online; the header `x-explain` overrules it for one request."""

    when: Literal["asked", "review", "always"] = "asked"
    """`asked`: only by header; `review`: rows that a person should look at; `always`: every row."""
    score_from: float | None = None
    """With `review` or `always`: only rows with at least this score."""
    top: int = 5
    """Features shown, the largest contributions first."""
    deadline_ms: float = 50.0
    """Counted from the arrival of the request; what does not fit in is left out, and says so."""
    max_rows: int = 100
    """Requests with more rows are not explained; batch runs are."""

    def __post_init__(self) -> None:
        if not 1 <= self.top <= 999:
            _refuse("explain.top", "1 to 999 features", self.top)
        if self.deadline_ms <= 0:
            _refuse("explain.deadline_ms", "more than 0", self.deadline_ms)
        if self.max_rows < 1:
            _refuse("explain.max_rows", "at least 1", self.max_rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPolicy:
    """When replicas are added and taken away, between `replicas` and `max_replicas`."""

    target_ongoing: float = 16.0
    """Requests inside a replica at a time that are as they should be."""
    target_busy: float = 0.7
    """Share of the time that a replica's loop may be at work."""
    p99_ms: float | None = None
    """Longest 99th percentile from arrival to answer; a replica that is at work and slower gets company."""
    up_delay_s: float = 10.0
    """How long more must be needed before a replica is added."""
    down_delay_s: float = 300.0
    """How long fewer must do before one is taken away."""

    def __post_init__(self) -> None:
        if not self.target_ongoing > 0:
            _refuse("scaling.target_ongoing", "more than 0", self.target_ongoing)
        if not 0 < self.target_busy <= 1:
            _refuse("scaling.target_busy", "more than 0, at most 1", self.target_busy)
        if self.p99_ms is not None and not self.p99_ms > 0:
            _refuse("scaling.p99_ms", "more than 0 milliseconds", self.p99_ms)
        if not self.up_delay_s >= 0:
            _refuse("scaling.up_delay_s", "0 or more seconds", self.up_delay_s)
        if not self.down_delay_s >= 0:
            _refuse("scaling.down_delay_s", "0 or more seconds", self.down_delay_s)


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
    max_wait_ms: float = 40.0
    """Time that a request may have waited to be read; later ones are answered 503 at once while that goes on."""
    grpc_port: int | None = None
    """Where a machine's replicas speak gRPC without the edge, too; None does not."""
    scaling: ScalingPolicy = ScalingPolicy()
    """When processes are added."""
    shutdown_s: float = 10.0
    """Seconds that a replica gets to finish its requests when it is replaced."""
    audit: AuditPolicy = AuditPolicy()
    """The audit log."""
    explain: ExplainPolicy = ExplainPolicy()
    """Explanations in answers."""
    cache: CacheSpec = field(default_factory=CacheSpec)
    """What is answered from batch, or filled in from it."""
    partial: bool = False
    """Whether good rows are scored beside refused ones when the request does not say."""
    degrade: DegradeSpec | None = None
    """What answers instead when full service is too slow; None never does anything else."""
    monitor: MonitorSpec = field(default_factory=MonitorSpec)
    """What is watched, and what alerts do."""
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
        if not self.max_wait_ms > 0:
            _refuse("max_wait_ms", "more than 0 milliseconds", self.max_wait_ms)
        if self.grpc_port is not None and not 1 <= self.grpc_port <= 65_535:
            _refuse("grpc_port", "1 to 65535", self.grpc_port)
        if self.shutdown_s <= 0:
            _refuse("shutdown_s", "more than 0 seconds", self.shutdown_s)
        if self.degrade is not None:
            self.degrade.rules(self.scaling.p99_ms)  # complete, or refused
            self.degrade.reference(self.model.partition("@")[0].partition("/")[0])  # of this model, or refused


def load_serve_spec(path: Path) -> ServeSpec:
    """Read a serve spec from YAML; unknown keys and wrong types are refused by name, with line and column.

    Raises:
        SettingsInvalid: the file cannot be read, or a key or value in it is wrong.
    """
    document = load_document(path)
    try:
        return _read(document, source=f"The serve spec {path}")
    except SettingsInvalid as error:
        raise located(path, error) from None


def _read(document: dict[str, Any], *, source: str) -> ServeSpec:
    if "cache" in document:
        document["cache"] = read_cache_spec(document["cache"], source=source)
    if "monitor" in document:
        document["monitor"] = read_monitor(document["monitor"], source=source)
    plan = document.pop("routing", None)
    spec = read_value(ServeSpec, document, source=source)
    asking = first_asking(spec.monitor, "degrade")
    if spec.degrade is None and asking is not None:
        message = f"{source}, {asking}, asks for a cheaper way to answer; say under `degrade` which."
        raise SettingsInvalid(message, source=source, key=asking)
    return spec if plan is None else replace(spec, routing=RoutingPlan.from_document(plan))


def _refuse(name: str, expected: str, got: object) -> None:
    message = f"The serve option {name} must be {expected}, got {got!r}."
    raise SettingsInvalid(message, setting=name)
