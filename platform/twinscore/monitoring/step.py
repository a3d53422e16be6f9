"""What follows from figures: one step of a rule, from what was kept and some figures to what is kept and what to do.

Pure, and safe to repeat: the same figures again change nothing, and each order has an id of its own. A rule is in one
of these states per incident key: ok, pending (some windows broke it), open, clearing (the newest speak for its end),
closed. An order is given when an incident opens, at most once per cooldown while it goes on, and when it closes.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from twinscore.monitoring.condition import Missing
from twinscore.monitoring.dismissal import heeded
from twinscore.monitoring.follow import closed, going, over
from twinscore.monitoring.incident import AlertState, IncidentKey, RuleState, key_in
from twinscore.monitoring.judge import Series, advanced, rejudged, silence
from twinscore.monitoring.selector import DIMENSIONS, series_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.order import Order
    from twinscore.monitoring.rule import Cadence, Rule
    from twinscore.monitoring.selector import SeriesKey

__all__ = ["step", "step_all"]

_FORGOTTEN = timedelta(days=90)
"""What was not heard of for so long, or is over for so long, is let go of."""
_EMPTY = Series()


def step_all(
    rules: Sequence[Rule], state: AlertState, figures: Iterable[Figure], now: datetime, *, cadence: Cadence = "window"
) -> tuple[AlertState, tuple[Order, ...]]:
    """Return what is kept of a model's rules after some figures, and what to do.

    Args:
        rules: all rules of the model; incidents of a rule that is not among them any more are closed.
        figures: in any order, as often as one likes; windows that are not over at `now` are left for later.
        cadence: rules of the other one rest.
    """
    by_metric: dict[str, list[Figure]] = {}
    for figure in figures:
        by_metric.setdefault(figure.metric, []).append(figure)
    kept = dict(state.rules)
    orders: list[Order] = []
    for rule in rules:
        if rule.cadence == cadence:
            before = kept.get(rule.name) or RuleState(model=state.model, rule=rule.name)
            kept[rule.name], given = step(rule, before, by_metric.get(rule.metric, ()), now)
            orders += given
    names = {rule.name for rule in rules}
    for name in [name for name in kept if name not in names]:
        kept[name], given = _retired(kept[name], now, "The rule is no longer there.")
        orders += given
    return AlertState(model=state.model, rules=kept), tuple(orders)


def step(rule: Rule, state: RuleState, figures: Iterable[Figure], now: datetime) -> tuple[RuleState, tuple[Order, ...]]:
    """Return what is kept of a rule after some figures, and what to do, in the order in which to do it."""
    state, orders = _fitting(rule, state, now)
    series = _series(rule, state, figures, now)
    raised: dict[IncidentKey, list[SeriesKey]] = {}
    for key, one in series.items():
        if one.raised is not None and one.dismissed is None:
            raised.setdefault(key_in(rule, key), []).append(key)
    incidents = dict(state.incidents)
    for name in sorted({*raised, *(one.key for one in state.open)}):
        if name in raised:
            incidents[name], given = going(rule, state, series, name, sorted(raised[name]), now)
        else:
            incidents[name], given = over(rule, state, series, incidents[name], now)
        orders += given
    lasting = timedelta(seconds=rule.cooldown_s) + _FORGOTTEN
    kept = {name: one for name, one in incidents.items() if one.closed_at is None or now - one.closed_at < lasting}
    return replace(state, series=series, incidents=kept), tuple(orders)


def _fitting(rule: Rule, state: RuleState, now: datetime) -> tuple[RuleState, list[Order]]:
    """Return a state that was made under the rule as it is now."""
    orders: tuple[Order, ...] = ()
    if state.shape and state.shape != rule.shape:
        state, orders = _retired(state, now, "The rule looks at other figures now.")
    if not state.shape:
        state = replace(state, shape=rule.shape, judgement=rule.judgement, since=state.since or now)
    if state.each != rule.each:
        state = replace(state, each=rule.each)
    if state.judgement != rule.judgement:
        series = {key: rejudged(one, rule) for key, one in state.series.items()}
        state = replace(state, judgement=rule.judgement, series=series)
    return state, list(orders)


def _retired(state: RuleState, now: datetime, why: str) -> tuple[RuleState, tuple[Order, ...]]:
    orders: list[Order] = []
    for incident in state.open:
        orders += closed(state, incident, now, why)[1]
    if not state.shape:
        return state, ()
    empty = RuleState(model=state.model, rule=state.rule, generation=state.generation + 1)
    return empty, tuple(orders)


def _series(rule: Rule, state: RuleState, figures: Iterable[Figure], now: datetime) -> dict[SeriesKey, Series]:
    missing = isinstance(rule.when, Missing)
    apart = tuple([name in rule.each or (not missing and name != "version") for name in DIMENSIONS])
    found: dict[SeriesKey, list[Figure]] = {}
    for figure in figures:
        ours = figure.metric == rule.metric and figure.model == state.model
        if ours and figure.end <= now and rule.select.take(figure):
            found.setdefault(series_key(figure, apart), []).append(figure)
    series = dict(state.series)
    for key, some in found.items():
        series[key] = advanced(series.get(key, _EMPTY), rule, some)
    if missing:
        _listen(rule, state, series, found, now)
    series |= {key: heeded(one, rule, now) for key, one in series.items() if one.dismissed is not None}
    old = [key for key, one in series.items() if one.raised is None and one.seen and now - one.seen > _FORGOTTEN]
    for key in old:
        del series[key]
    return series


def _listen(
    rule: Rule, state: RuleState, series: dict[SeriesKey, Series], found: Mapping[SeriesKey, Sequence[Figure]],
    now: datetime,
) -> None:  # fmt: skip
    """Note who is silent; where nobody was ever heard, that is a series too, until somebody is."""
    nobody = _nobody(rule)
    if not series:
        series[nobody] = _EMPTY
    for key in list(series):
        heard = max([figure.end for some in found.values() for figure in some], default=None)
        stands_in = key == nobody and key not in found and heard is not None
        one = replace(series[key], known=heard, seen=heard) if stands_in else series[key]
        series[key] = silence(one, rule, now, state.since or now)
        if stands_in and series[key].raised is None:
            del series[key]


def _nobody(rule: Rule) -> SeriesKey:
    """Return the key of a series that was never heard: its names as far as the rule says them."""
    names = [getattr(rule.select, name) for name in DIMENSIONS]
    said = [one[0] if len(one) == 1 and "*" not in one[0] else "" for one in names]
    version, role, path, segment, subject = [
        text if name in rule.each else "" for name, text in zip(DIMENSIONS, said, strict=True)
    ]
    return version, role, path, segment, subject
