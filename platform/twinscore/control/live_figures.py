"""Figures of the last seconds: what a model's replicas answered since the look before, from the counts they show.

Replicas count from their start, so a look takes the difference to the one before; of a replica that is new only what
comes after its first look. A quantile is taken along a straight line inside its bin, so bins bound its error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.clock import SystemClock
from twinscore.control.replicas import Replicas
from twinscore.monitoring.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from twinscore.clock import Clock
    from twinscore.ports.listener_roster import ListenerRoster
    from twinscore.settings import Settings

__all__ = ["ReplicaFigures", "counts_of", "figures_between"]

_QUANTILES = (("latency_ms_p50", 0.5), ("latency_ms_p95", 0.95), ("latency_ms_p99", 0.99))
_BUCKET = "twinscore_request_seconds_bucket"
_RESPONSES = "twinscore_responses_total"
Counts = dict[tuple[str, ...], float]
"""By name and labels of a sample."""


class ReplicaFigures:
    """The replicas of one model.

    Args:
        settings: home of the roster and of the key.
        model: a served model.
        version_of: returns the live version; empty when it is not served.
        roster: where listeners are; None for the one of the settings.
        clock: for the ends of the window.
    """

    def __init__(
        self, settings: Settings, model: str, version_of: Callable[[], str], *, roster: ListenerRoster | None = None,
        clock: Clock | None = None,
    ) -> None:  # fmt: skip
        self._model = model
        self._version_of = version_of
        self._replicas = Replicas(settings, model, roster)
        self._clock = clock or SystemClock()
        self._before: dict[str, Counts] = {}
        self._looked_at: datetime | None = None

    def look(self) -> list[Figure]:
        """Return figures of the time since the look before; none at the first, and none of a model that is not served.

        Raises:
            StoreUnavailable: the roster cannot be read.
        """
        version = self._version_of()
        now = self._clock.now()
        answers = self._replicas.ask("metrics", lambda answer: counts_of(answer.text), now) if version else []
        told = {one.replica: counts for one, counts in answers if counts is not None}
        since, before = self._looked_at, self._before
        self._before, self._looked_at = told, now
        if since is None or now <= since or not told:
            return []
        added: Counts = {}
        for replica, counts in told.items():
            if replica not in before:
                continue
            for name, value in counts.items():
                added[name] = added.get(name, 0.0) + max(0.0, value - before[replica].get(name, 0.0))
        return figures_between(self._model, version, since, now, added)

    def close(self) -> None:
        """Ask no more."""
        self._replicas.close()


def counts_of(text: str) -> Counts:
    """Return the counts that a replica shows in Prometheus' format, as far as figures are made of them."""
    from prometheus_client.parser import text_string_to_metric_families

    found: Counts = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == _BUCKET:
                found[_BUCKET, sample.labels["le"]] = sample.value
            elif sample.name == _RESPONSES and sample.labels["path"] != "page":
                found[_RESPONSES, sample.labels["status"], sample.labels["code"]] = sample.value
    return found


def figures_between(
    model: str, version: str, since: datetime, now: datetime, added: Mapping[tuple[str, ...], float]
) -> list[Figure]:
    """Return the figures of what was added between two looks; rates of nothing are not told."""
    responses = {key[1:]: value for key, value in added.items() if key[0] == _RESPONSES}
    asked = sum(responses.values())
    below = sorted([(float(key[1]), value) for key, value in added.items() if key[0] == _BUCKET])
    answered = below[-1][1] if below else 0.0

    def figure(metric: str, value: float | None, rows: float) -> Figure:
        note = "" if value is not None else "nothing was answered"
        return Figure(
            model=model, version=version, start=since, end=now, metric=metric, value=value, rows=int(rows), note=note
        )

    def share(wanted: Callable[[str, str], bool]) -> float | None:
        return sum(count for key, count in responses.items() if wanted(*key)) / asked if asked else None

    return [
        figure("requests", asked, asked),
        *[figure(name, _quantile(below, q), answered) for name, q in _QUANTILES],
        figure("error_rate", share(lambda status, code: status.startswith("5") and code != "overloaded"), asked),
        figure("shed_rate", share(lambda _, code: code == "overloaded"), asked),
    ]


def _quantile(below: Iterable[tuple[float, float]], q: float) -> float | None:
    """Return a quantile in milliseconds from counts of what took at most so many seconds; None of nothing.

    >>> _quantile([(0.1, 50.0), (0.2, 100.0), (float("inf"), 100.0)], 0.5)
    100.0
    """
    bins = list(below)
    wanted = q * bins[-1][1] if bins else 0.0
    low, so_far = 0.0, 0.0
    for high, count in bins if wanted else ():
        if count >= wanted:
            inside = 1.0 if high == float("inf") else (wanted - so_far) / (count - so_far)
            return 1000 * (low if high == float("inf") else low + (high - low) * inside)
        low, so_far = high, count
    return None
