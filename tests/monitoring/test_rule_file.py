"""Rules in a deployment file: what is written, what is refused and where, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from twinscore.errors import SettingsInvalid
from twinscore.monitoring.condition import Comparison, Missing
from twinscore.monitoring.metric import METRICS
from twinscore.monitoring.rule import Clear, Rule, Windows
from twinscore.monitoring.rule_file import read_monitor, read_rule, read_rules, rule_document
from twinscore.monitoring.selector import Selectors
from twinscore.monitoring.wish import Wish, read_wish
from twinscore.online.spec import load_serve_spec

HEAD = "model: loans\nmonitor:\n  rules:\n"
FULL = """\
model: loans
degrade: {version: "@cheap", p99_ms: 250}
monitor:
  window: 1h
  groups: [sex]
  playbook: true
  rules:
    - name: feature drift
      metric: feature_drift
      when: value >= 1
      windows: 3 of 5
      clear: {when: value < 1, windows: 3, for: 2h}
      cooldown: 2d
      do: [ticket, {hold: {expires: 7d, release: on_recovery}}]
    - {name: slow, metric: latency_ms_p99, when: value > 250ms, for: 30s, clear: value < 0.2s, least_rows: 50,
       severity: critical, do: [scale, {degrade: {after: 2m}}], role: live, version: 3}
    - {name: unfair, metric: fpr_gap, when: low > 5%, subject: [sex, "age*"], segment: "country=*", each: subject,
       do: {audit: {cases: 20}}}
    - {name: silent, metric: prediction_age_s, when: missing for 1d, dry_run: true}
"""


def test_a_file_says_what_is_written(tmp_path: Path) -> None:
    """Every key, and the defaults that suit the metric."""
    path = tmp_path / "loans.yaml"
    path.write_text(FULL)
    spec = load_serve_spec(path).monitor
    hold = {"expires_s": 604_800.0, "release": "on_recovery"}
    ticket: dict[str, list[str]] = {"to": [], "labels": []}

    assert (("sex",), True) == (spec.groups, spec.playbook)
    assert spec.rules == (
        Rule(
            name="feature drift", metric="feature_drift", when=Comparison("value", ">=", 1.0), each=("role", "path"),
            do=(Wish(action="ticket", options=ticket), Wish(action="hold", options=hold)), windows=Windows(3, 5),
            clear=Clear(when=Comparison("value", "<", 1.0), windows=Windows(3, 3), for_s=7_200.0), cooldown_s=172_800.0,
        ),
        Rule(
            name="slow", metric="latency_ms_p99", when=Comparison("value", ">", 250.0), each=("role", "path"),
            do=(Wish(action="scale"), Wish(action="degrade", after_s=120.0)), cadence="live",
            clear=Clear(when=Comparison("value", "<", 200.0)), for_s=30.0, least_rows=50, severity="critical",
            select=Selectors(role=("live",), version=("3",)),
        ),
        Rule(
            name="unfair", metric="fpr_gap", when=Comparison("low", ">", 0.05), each=("subject",),
            do=(Wish(action="audit", options={"cases": 20, "blind": True}),),
            select=Selectors(subject=("sex", "age*"), segment=("country=*",)),
        ),
        Rule(
            name="silent", metric="prediction_age_s", when=Missing(86_400.0), each=("role", "path"),
            do=(Wish(action="ticket", options=ticket),), dry_run=True,
        ),
    )  # fmt: skip


BASE = "name: a, metric: fpr_gap, when: low > 5%"


@pytest.mark.parametrize(
    ("rule", "column", "said"),
    [
        ("name: a, metric: fpr_gp, when: low > 5%", 17, "Did you mean 'fpr_gap'"),
        ("name: a, metrc: fpr_gap, when: low > 5%", 17, "Did you mean 'metric'"),
        ("name: a, metric: fpr_gap", 7, "lacks when"),
        ("name: a, metric: fpr_gap, when: lw > 5%", 40, "Did you mean 'low'"),
        ("name: a, metric: fpr_gap, when: 'low => 5%'", 45, "compare with one of"),
        ("name: a, metric: fpr_gap, when: low > 50", 34, "must be able to hold; fpr_gap goes from 0 to 1"),
        ("name: a, metric: fpr_gap, when: value >= 0", 34, "must be able not to hold"),
        ("name: a, metric: runs_failed, when: value < 0", 38, "must be able to hold"),
        (f"{BASE}, clear: value < 5%", 50, None),
        (f"{BASE}, clear: low < 6%", 50, "must not hold together with `low > 0.05`"),
        (f"{BASE}, clear: {{when: low < 0}}", 58, "must be able to hold"),
        (f"{BASE}, clear: {{whn: low < 1%}}", 58, "Did you mean 'when'"),
        (f"{BASE}, clear: missing for 2h", 50, "an incident is not over because nothing is known"),
        (f"{BASE}, windows: 5 of 3", 50, "M of N with 1 <= M <= N"),
        (f"{BASE}, windows: three of 5", 50, "written M of N"),
        (f"{BASE}, windows: 0", 50, "M of N with 1 <= M <= N"),
        (f"{BASE}, for: 2", 50, "a number with a unit"),
        (f"{BASE}, least_rows: -1", 50, "0 or more"),
        (f"{BASE}, severity: fatal", 50, "one of info, warning, critical"),
        (f"{BASE}, role: lve", 50, "Did you mean 'live'"),
        (f"{BASE}, path: offline", 50, "Did you mean 'online'"),
        (f"{BASE}, segment: country", 50, "column=value"),
        (f"{BASE}, segment: []", 50, "leave it out for what suits"),
        (f"{BASE}, version: true", 50, "numbers or names of versions"),
        (f"{BASE}, each: [subjct]", 57, "Did you mean 'subject'"),
        (f"{BASE}, each: [role, role]", 50, "each once"),
        (f"{BASE}, do: tiket", 50, "Did you mean 'ticket'"),
        (f"{BASE}, do: [ticket, ticket]", 63, "ask for each action once"),
        (f"{BASE}, do: [{{hold: {{expire: 7d}}}}]", 56, "Did you mean 'expires'"),
        (f"{BASE}, do: [{{hold: {{expires: 0s}}}}]", 63, "longer than nothing"),
        (f"{BASE}, do: [{{hold: {{release: never}}}}]", 63, "one of by_person, on_recovery"),
        (f"{BASE}, do: [{{audit: {{cases: 0}}}}]", 64, "a whole number from 1"),
        (f"{BASE}, do: [{{audit: 20}}]", 56, "its options as a mapping"),
        (f"{BASE}, do: [scale]", 55, "a metric of the service only"),
        ("name: a, metric: busy, when: value > 1, do: audit", 31, "must be able to hold"),
        ("name: a, metric: busy, when: value > 0.9, do: audit", 50, "cases of people"),
        ("name: a, metric: auc, when: value < 0.6, subject: x", 49, "a figure of the model as a whole"),
        ("name: a, metric: auc, when: value < 0.6, each: subject", 49, "a figure of the model as a whole"),
        ("name: a, metric: auc, when: missing for 2h, windows: 3", 52, "about time alone"),
        ("name: 'a/b', metric: auc, when: value < 0.6", 8, "letters, digits, spaces"),
    ],
)
def test_mistakes_are_refused_with_line_and_column(tmp_path: Path, rule: str, column: int, said: str | None) -> None:
    """What is unknown, of the wrong kind or contradicts itself is refused where it stands; what fits is not."""
    path = tmp_path / "loans.yaml"
    path.write_text(f"{HEAD}    - {{{rule}}}\n")
    if said is None:
        assert 1 == len(load_serve_spec(path).monitor.rules)
        return
    with pytest.raises(SettingsInvalid) as caught:
        load_serve_spec(path)

    assert said in caught.value.message
    assert f"(line 4, column {column})" in caught.value.message


@pytest.mark.parametrize(
    ("do", "more", "said"),
    [
        ("page", "", "somebody to page"),
        ("{page: {to: oncal}}", "notify: {kind: email, name: oncall, host: h, sender: a@b.c, to: a@b.c}", "'oncall'"),
        ("{ticket: {to: github}}", "", "loans.yaml, monitor.rules[0].do[0].ticket.to: A rule must name what"),
        ("retrain", "", "a spec to train by"),
        ("degrade", "", "a cheaper way"),
        ("{retrain: {spec: specs/train.yaml}}", "", ""),
        ("{ticket: {to: sql}}", "", ""),
    ],
)
def test_what_is_asked_for_must_be_set_up(tmp_path: Path, do: str, more: str, said: str) -> None:
    """A receiver that is not there, or a way that there is not, is refused at load and not when it is needed."""
    path = tmp_path / "loans.yaml"
    metric = "latency_ms_p99" if do == "degrade" else "psi"
    path.write_text(f"{HEAD}    - {{name: a, metric: {metric}, when: value > 1, do: {do}}}\n  {more}\n")
    if not said:
        assert 1 == len(load_serve_spec(path).monitor.rules)
        return
    with pytest.raises(SettingsInvalid) as caught:
        load_serve_spec(path)

    assert said in caught.value.message
    assert "(line 4, column " in caught.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: {a: 1}", "must be a list of rules"),
        ("playbook: maybe", "true, false or dry_run"),
        ("playbok: true", "Did you mean 'playbook'"),
        ("parity_rows: -1", "0 or more"),
        ("window: 99999999999999d", "shorter than that"),
    ],
)
def test_the_key_around_them_is_as_strict(tmp_path: Path, text: str, said: str) -> None:
    """The rest of `monitor` is refused with its line too."""
    path = tmp_path / "loans.yaml"
    path.write_text(f"model: loans\nmonitor:\n  {text}\n")
    with pytest.raises(SettingsInvalid) as caught:
        load_serve_spec(path)

    assert said in caught.value.message
    assert "(line 3, column 3)" in caught.value.message


def test_two_rules_have_two_names() -> None:
    """An incident is known by its rule's name, so letters of another size are not enough."""
    rule = {"name": "drift", "metric": "psi", "when": "value > 1"}
    with pytest.raises(SettingsInvalid, match="two rules called 'Drift'"):
        read_rules([rule, {**rule, "name": "Drift"}], source="The file")


names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9 ._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
times = st.integers(0, 10**8).map(lambda thousandths: thousandths / 1_000)
windows = st.tuples(st.integers(1, 100), st.integers(1, 100)).map(lambda pair: Windows(min(pair), max(pair)))
wishes = st.one_of(
    st.builds(
        lambda after, expires, release: Wish(
            action="hold", after_s=after, options={"expires_s": expires or 1.0, "release": release}
        ),
        times, times, st.sampled_from(("by_person", "on_recovery")),
    ),
    st.builds(
        lambda to: Wish(action="ticket", options={"to": to, "labels": []}), st.lists(names, max_size=2)
    ),
    st.builds(
        lambda cases, blind: Wish(action="audit", options={"cases": cases, "blind": blind}),
        st.integers(1, 99), st.booleans(),
    ),
    st.just(Wish(action="retrain", options={"spec": ""})),
)  # fmt: skip


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Draw a rule that does not contradict itself."""
    metric = METRICS[draw(st.sampled_from(("psi", "fpr_gap", "auc", "decision_shift", "tpr")))]
    each = draw(st.lists(st.sampled_from(("version", "role", "path", "segment")), unique=True))
    common: dict[str, Any] = {
        "name": draw(names), "metric": metric.name, "each": tuple(each), "cooldown_s": draw(times),
        "do": tuple(draw(st.lists(wishes, max_size=3, unique_by=lambda wish: wish.action))),
        "select": Selectors(
            version=tuple(draw(st.lists(names, min_size=1, max_size=2))),
            role=draw(st.sampled_from((("live",), ("*",)))),
            segment=draw(st.sampled_from((("",), ("country=*", "sex=F"), ("*",)))),
            subject=tuple(draw(st.lists(names, min_size=1, max_size=2))) if metric.subject else ("*",),
        ),
        "cadence": draw(st.sampled_from(("window", "live"))), "dry_run": draw(st.booleans()),
        "severity": draw(st.sampled_from(("info", "warning", "critical"))),
    }  # fmt: skip
    if draw(st.booleans()):
        return Rule(when=Missing(draw(times) or 1.0), **common)
    high = draw(st.floats(0.2, 0.9))
    low = draw(st.floats(0.01, 0.19))
    clear = Clear(
        when=draw(st.sampled_from((None, Comparison("value", "<", low)))),
        windows=draw(st.sampled_from((None, Windows(2, 3)))), for_s=draw(times),
    )  # fmt: skip
    return Rule(
        when=Comparison("value", ">", high), windows=draw(windows), for_s=draw(times), clear=clear,
        least_rows=draw(st.integers(0, 10_000)), **common,
    )  # fmt: skip


@given(rules())
def test_a_rule_is_read_back_as_it_was(rule: Rule) -> None:
    """What is written of a rule, as YAML, is read back to an equal one."""
    text = yaml.safe_dump(rule_document(rule), allow_unicode=True)

    assert rule == read_rule(yaml.safe_load(text))


KEYS = ("name", "metric", "when", "do", "clear", "windows", "for", "each", "role", "version", "cooldown", "hold", "x")
plain = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-9, 9**20), st.floats(), st.text(max_size=8),
        st.sampled_from(("fpr_gap", "low > 5%", "3 of 5", "ticket", "7d", "live", "role", "a")),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)),
    max_leaves=8,
)  # fmt: skip
base = {"name": "a", "metric": "fpr_gap", "when": "low > 5%"}


@given(st.one_of(plain, st.dictionaries(st.sampled_from(KEYS), plain, max_size=4).map(lambda more: {**base, **more})))
def test_any_value_is_read_or_refused_with_its_key(document: object) -> None:
    """Whatever a file holds, nothing but a refusal that names where comes out of it."""
    refused: SettingsInvalid | None = None
    try:
        monitor = read_monitor({"rules": [document]}, source="The file")
    except SettingsInvalid as error:
        refused = error
    if refused is None:
        assert 1 == len(monitor.rules)
    else:
        assert str(refused.fields["key"]).startswith("monitor.rules[0]")


def test_options_are_kept_with_their_defaults() -> None:
    """Whoever carries an action out finds every option, times in seconds."""
    assert {"expires_s": 604_800.0, "release": "by_person"} == read_wish("hold", "do").options
    assert {"hold": {"after": "2h", "expires": "1d"}} == read_wish(
        {"hold": {"expires": "24h", "after": "2h"}}, "do"
    ).to_document()
