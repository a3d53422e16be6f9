"""The playbook as a page of the reference, docs/reference/playbook.md."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from twinscore.monitoring.condition import show_condition
from twinscore.monitoring.metric import metric_named
from twinscore.monitoring.playbook import playbook
from twinscore.monitoring.quantity import show_seconds

if TYPE_CHECKING:
    from twinscore.monitoring.playbook import Advice
    from twinscore.monitoring.rule import Rule

__all__ = ["playbook_page"]

_HEAD = """\
# The playbook

What each metric is for, what a person does first, and the rule that stands for it.
`monitor.playbook` in the deployment file says what becomes of these rules ([how-to](../how-to/alerts.md)):

| `playbook:` | what happens |
|---|---|
| `dry_run` | the rules are judged and their incidents shown, and nothing is done: what a model has that says nothing |
| `true` | each incident opens a ticket |
| `false` | the rules are left out |

The playbook only ever opens tickets: what holds rollouts, changes serving or asks people for time, you write yourself.
A rule of your own on a metric stands in for the playbook's.
The keys are those of [alert rules](alert-rules.md).
This page is made of the playbook itself: `twinscore monitor playbook`.
"""


def playbook_page() -> str:
    """Return the page in Markdown."""
    parts = [_HEAD]
    for topic, entries in groupby(playbook().values(), key=lambda one: metric_named(one.metric).topic):
        parts.append(f"## {topic.capitalize()}\n")
        parts += [_entry(one) for one in entries]
    return "\n".join(parts)


def _entry(one: Advice) -> str:
    metric = metric_named(one.metric)
    lines = [f"### {one.metric}", "", f"{metric.says[0].upper()}{metric.says[1:]}.", ""]
    lines.append(f"- Rule: {_rule(one.rule)}" if one.rule else f"- No rule: {one.without}")
    return "\n".join([*lines, f"- Why: {one.why}", f"- First: {one.first}", ""])


def _rule(rule: Rule) -> str:
    unit = rule.measure.unit
    said = [f"`{show_condition(rule.when, unit)}` in {rule.windows} windows"]
    if rule.least_rows:
        said.append(f"of at least {rule.least_rows:,} rows")
    said.append(f"over when `{show_condition(rule.clear_when, unit)}` in {rule.clear_windows}")
    said.append(rule.severity)
    if rule.cooldown_s != 86_400.0:
        said.append(f"cooldown {show_seconds(rule.cooldown_s)}")
    return ", ".join(said)
