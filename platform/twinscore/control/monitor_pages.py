"""What the control serves about watched models: metrics and targets for Prometheus, and each model's page.

    GET /-control/metrics            the newest figures of closed windows, as Prometheus' text
    GET /-control/targets/<part>     what Prometheus scrapes, as its HTTP discovery reads it: see PARTS
    GET /-control/monitor/<model>    the report of a model, or JSON for who accepts that

Reads what others wrote and counts nothing itself; the figures are read again only when their files change.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from twinscore.batch.watch_report import newest_distributions, read_figures, watched_models
from twinscore.clock import SystemClock
from twinscore.errors import ModelNotFound, near
from twinscore.monitoring.exposition import exposition
from twinscore.monitoring.report_data import report_of
from twinscore.settings import address_of
from twinscore.stack.state import read_state
from twinscore.wiring import listener_roster

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twinscore.clock import Clock
    from twinscore.monitoring.shown import ShownIncident
    from twinscore.settings import Settings

__all__ = ["PARTS", "MonitorPages"]

PARTS = ("listeners", "edge", "ray")
_BACK = timedelta(days=10)
"""How far back a figure is looked for: outcomes become known late."""
_SHOWN = timedelta(days=30)


class MonitorPages:
    """Reads figures, roster and stack when it is asked.

    Args:
        settings: lake, roster and state of the stack.
        incidents: return the incidents of each model; None where nobody keeps any.
        limits: return by metric what the rules of a model hold it against.
        clock: for what is new.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        incidents: Callable[[], Mapping[str, Sequence[ShownIncident]]] | None = None,
        limits: Callable[[str], Mapping[str, float]] = lambda model: {},
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._incidents = incidents
        self._limits = limits
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._known: tuple[object, str] | None = None

    def metrics(self) -> str:
        """Return the newest figures of every model as Prometheus' text.

        Raises:
            StoreUnavailable: the figures cannot be read.
        """
        # One scrape at a time reads; whoever comes meanwhile gets what that one found.
        with self._lock:
            incidents = None if self._incidents is None else self._incidents()
            stamp = self._stamp(), incidents
            if self._known is None or self._known[0] != stamp:
                since = self._clock.now() - _BACK
                figures = {model: read_figures(self._settings, model, since) for model in self._models()}
                self._known = stamp, exposition(figures, incidents)
            return self._known[1]

    def report(self, model: str) -> dict[str, Any]:
        """Return the report of a model's newest windows.

        Raises:
            ModelNotFound: nothing is known of it.
        """
        models = self._models()
        if model not in models:
            message = f"No window of {model!r} was counted yet. {near(model, models)}"
            raise ModelNotFound(message, model=model)
        now = self._clock.now()
        incidents = {} if self._incidents is None else self._incidents()
        figures = read_figures(self._settings, model, now - _SHOWN)
        distributions = newest_distributions(self._settings, model, figures)
        return report_of(
            model, figures, now=now, distributions=distributions, incidents=incidents.get(model, ()),
            limits=self._limits(model),
        )  # fmt: skip

    def targets(self, part: str) -> list[dict[str, Any]]:
        """Return what Prometheus is to scrape.

        Args:
            part: one of PARTS.

        Raises:
            ModelNotFound: there is no such part.
            StoreUnavailable: the roster cannot be read.
        """
        if part not in PARTS:
            message = f"There are no targets called {part!r}. {near(part, PARTS)}"
            raise ModelNotFound(message, part=part)
        if part == "listeners":
            return [
                _target(one.address, path=f"/{one.model}/metrics", model=one.model,
                        replica=one.replica)
                for one in listener_roster(self._settings).listeners()
            ]  # fmt: skip
        if part == "edge":
            state = read_state(self._settings)
            return [] if state is None else [_target(f"127.0.0.1:{state.edge.metrics_port}")]
        return [_target(address_of(host, port)) for host, port in _ray_nodes()]

    def _models(self) -> list[str]:
        return watched_models(self._settings)

    def _stamp(self) -> object:
        """Return what changes with the files of figures, and each day."""
        files = sorted((self._settings.lake / "windows").glob("*/figures/[!.]*.parquet"))
        return self._clock.now().date(), tuple((str(one), *_times(one.stat())) for one in files)


def _times(found: Any) -> tuple[int, int]:
    return found.st_mtime_ns, found.st_size


def _target(address: str, *, path: str = "/metrics", **labels: str) -> dict[str, Any]:
    return {"targets": [address], "labels": {"__metrics_path__": path, **labels}}


def _ray_nodes() -> list[tuple[str, int]]:
    """Return where each living node of the Ray that this process is in shows its metrics."""
    import ray

    if not ray.is_initialized():
        return []
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    found = [(one["NodeManagerAddress"], one["MetricsExportPort"]) for one in nodes if one["Alive"]]
    return [(host, port) for host, port in found if port]
