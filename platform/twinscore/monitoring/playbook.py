"""The playbook: for each metric why it is watched, what a person does first, and the rule that stands for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinscore.document import load_document, located, read_value
from twinscore.errors import SettingsInvalid
from twinscore.monitoring.condition import Missing
from twinscore.monitoring.metric import metric_named
from twinscore.monitoring.rule_file import read_rule

if TYPE_CHECKING:
    from twinscore.monitoring.rule import Rule
    from twinscore.monitoring.spec import MonitorSpec

__all__ = ["Advice", "advice_on", "playbook", "rules_of"]

_FILE = Path(__file__).with_name("playbook.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What is known of one metric beforehand."""

    metric: str
    why: str = ""
    """Why it is watched: what is wrong when it is."""
    first: str = ""
    """What a person does first."""
    rule: Rule | None = None
    without: str = ""
    """Why there is no rule, where there is none."""

    @property
    def lines(self) -> tuple[str, ...]:
        """What a ticket says of it, in Markdown."""
        said = (("Why", self.why), ("First", self.first))
        return tuple([f"**{name}.** {text}" for name, text in said if text])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    why: str
    first: str
    rule: Any = None
    without: str = ""


@lru_cache(maxsize=1)
def playbook() -> dict[str, Advice]:
    """Return the advice on each metric, in the order of the file.

    Raises:
        SettingsInvalid: the file that comes with twinscore was changed and is wrong now; line and column are named.
    """
    document = load_document(_FILE)
    try:
        return {metric: _advice(metric, entry) for metric, entry in document.items()}
    except SettingsInvalid as error:
        raise located(_FILE, error) from None


def advice_on(metric: str) -> Advice:
    """Return the advice on a metric; an empty one where the playbook says nothing."""
    return playbook().get(metric) or Advice(metric=metric)


def rules_of(spec: MonitorSpec) -> tuple[Rule, ...]:
    """Return the rules that a model is judged by: its own, and the playbook's on metrics that none of them is about.

    A rule about missing figures leaves the playbook's rule on the same metric in place.
    """
    if spec.playbook is False:
        return spec.rules
    own = {rule.metric for rule in spec.rules if not isinstance(rule.when, Missing)}
    names = {rule.name.lower() for rule in spec.rules}
    added = [one.rule for one in playbook().values() if one.rule is not None and one.metric not in own]
    dry = spec.playbook == "dry_run"
    return (*spec.rules, *[replace(rule, dry_run=dry) for rule in added if rule.name.lower() not in names])


def _advice(metric: str, document: object) -> Advice:
    metric_named(metric)
    entry = read_value(_Entry, document, source="The playbook", within=f"{metric}.")
    if (entry.rule is None) == (not entry.without):
        message = f"The playbook must give either a rule for {metric} or the reason why there is none."
        raise SettingsInvalid(message, key=metric)
    rule = None
    if entry.rule is not None:
        said = {"name": f"playbook {metric}", "metric": metric, **entry.rule}
        rule = read_rule(said, source="The playbook", within=f"{metric}.rule")
    return Advice(metric=metric, why=entry.why, first=entry.first, rule=rule, without=entry.without)
