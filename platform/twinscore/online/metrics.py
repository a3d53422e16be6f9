"""What a replica counts, and its Prometheus text; cheap where a request passes, all other work is the scrape's.

An answer is counted when it leaves, a record when the log's writer has it on the disk: two counts by two parties, which
must agree once nothing waits:

    responses_2xx + refusals_recorded + clients_gone = audit_durable + audit_unrecorded
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric

__all__ = ["CONTENT_TYPE", "NOTHING", "Metrics", "Noted", "Tally"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "twinscore"
_BUCKETS_MS = (0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
_BUCKETS_NS = [int(bound * 1e6) for bound in _BUCKETS_MS]


class Noted(NamedTuple):
    """What a reply is counted under."""

    path: str
    """The operation, such as `predict`; `page` for what describes a model, `other` for what no operation saw."""
    code: str = ""
    """Of a refusal."""
    arm: str = ""
    """Of an answer with scores."""
    rows: int = 0
    """That were answered."""

    def unrecorded(self) -> Noted:
        """Return what is counted instead, when the record could not be made durable."""
        return Noted(self.path, "audit_unavailable")


NOTHING = Noted("other")


class Tally:
    """The counts of one event loop, which alone writes them; so there is no lock."""

    def __init__(self) -> None:
        self.responses: dict[tuple[str, int, str, str], int] = {}
        """By path, status, code and arm."""
        self.rows = 0
        self.refusals_recorded = 0
        self.clients_gone = 0
        self.took_ns = 0
        self.took: list[int] = [0] * (len(_BUCKETS_NS) + 1)
        self.lag_ns = 0
        self.lag: list[int] = [0] * (len(_BUCKETS_NS) + 1)

    def left(self, noted: Noted, status: int, took_ns: int) -> None:
        """Count an answer that leaves."""
        path, code, arm, rows = noted
        key = (path, status, code, arm)
        self.responses[key] = self.responses.get(key, 0) + 1
        self.rows += rows
        self.took_ns += took_ns
        self.took[bisect_left(_BUCKETS_NS, took_ns)] += 1

    def turned_away(self, code: str, status: int) -> None:
        """Count a refusal of what did not become a request."""
        key = ("other", status, code, "")
        self.responses[key] = self.responses.get(key, 0) + 1

    def recorded(self, status: int, lag_ns: int, *, gone: bool) -> None:
        """Count what waited for its record and has it, and whether its client went away meanwhile."""
        if gone:
            self.clients_gone += 1
        elif status >= 300:
            self.refusals_recorded += 1
        self.lag_ns += lag_ns
        self.lag[bisect_left(_BUCKETS_NS, lag_ns)] += 1


class Metrics:
    """The tallies of a replica and what else is read when somebody asks."""

    def __init__(self) -> None:
        self._tallies: list[Tally] = []
        self._read: dict[str, tuple[str, str, Callable[[], float]]] = {}

    def tally(self) -> Tally:
        """Return a new tally, of one event loop."""
        made = Tally()
        self._tallies.append(made)
        return made

    def count(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Show a number that only grows and that another part keeps."""
        self._read[name] = "counter", meaning, read

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Show a number of now."""
        self._read[name] = "gauge", meaning, read

    def render(self) -> str:
        """Return everything in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry).decode()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; the registry of `prometheus_client` calls this."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        responses: dict[tuple[str, int, str, str], int] = {}
        for tally in self._tallies:
            for key, count in list(tally.responses.items()):
                responses[key] = responses.get(key, 0) + count
        labels = ("path", "status", "code", "arm")
        by_kind = CounterMetricFamily(f"{_PREFIX}_responses", "Answers that left.", labels=labels)
        for (path, status, code, arm), count in sorted(responses.items()):
            by_kind.add_metric((path, str(status), code, arm), count)
        yield by_kind
        scored = sum(count for (path, status, _, _), count in responses.items() if path != "page" and status < 300)
        for name, meaning, value in (
            ("responses_2xx", "Answers with scores that left.", scored),
            ("refusals_recorded", "Refusals that left and are in the log.", self._sum("refusals_recorded")),
            ("clients_gone", "Answers that are in the log, and whose client had gone.", self._sum("clients_gone")),
            ("rows", "Rows of answers with scores.", self._sum("rows")),
        ):
            yield CounterMetricFamily(f"{_PREFIX}_{name}", meaning, value=value)
        yield self._histogram("request_seconds", "From the last byte of a request to its answer.", "took")
        yield self._histogram("audit_lag_seconds", "From a score to its record on the disk.", "lag")
        for name, (kind, meaning, read) in self._read.items():
            family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            yield family(f"{_PREFIX}_{name}", meaning, value=float(read()))

    def _sum(self, name: str) -> int:
        return sum(getattr(tally, name) for tally in self._tallies)

    def _histogram(self, name: str, meaning: str, kept: str) -> Metric:
        from prometheus_client.core import HistogramMetricFamily

        counts = [sum(column) for column in zip(*[getattr(tally, kept) for tally in self._tallies], strict=True)]
        bounds = [*(str(bound / 1000) for bound in _BUCKETS_MS), "+Inf"]
        below, so_far = [], 0
        for bound, count in zip(bounds, counts or [0] * len(bounds), strict=True):
            so_far += count
            below.append((bound, float(so_far)))
        total_s = self._sum(f"{kept}_ns") / 1e9
        return HistogramMetricFamily(f"{_PREFIX}_{name}", meaning, buckets=below, sum_value=total_s)
