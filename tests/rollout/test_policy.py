"""Policies: what they say as a value, what they refuse, and the file that people write."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from twinscore.errors import SettingsInvalid
from twinscore.rollout.calendar import Freeze
from twinscore.rollout.gate import DEFAULT_GATES, Gate
from twinscore.rollout.policy import Policy
from twinscore.rollout.policy_file import load_policy, policy_for, read_policy
from twinscore.rollout.stage import Stage

TEXT = """\
model: loans
stages:
  - {kind: shadow, sampling: 50%, requests: 500, at_least: 10m, at_most: 2d, gates: [errors]}
  - {kind: canary, share: 5%, requests: 200}
  - {kind: canary, share: 25%, name: quarter}
  - {kind: approve, approvers: [carol, dan], at_most: 8h, on_deadline: pause}
  - {kind: bake, at_least: 1h}
gates:
  - {name: errors, metric: error_rate, max: 0.02, worse_by: 0.005}
  - {metric: latency_ms_p95, times: 1.5, dry_run: true}
ab_share: 20%
shadow_sampling: 10%
rollback_window: 5
freeze:
  - {name: year end, from: 2026-12-20, until: 2027-01-02, zone: Europe/Berlin}
  - {name: nights, days: [fri], from: 18:00, until: "08:00", reason: nobody is there}
settle: 5s
alpha: 0.02
deadline: 100ms
header_override: true
"""
FLIPS = {"metric": "decision_flips", "max": 0.1}
ERRORS = {"metric": "error_rate", "max": 0.1}


def written(**changes: Any) -> dict[str, Any]:
    document = yaml.safe_load(TEXT)
    return {name: value for name, value in {**document, **changes}.items() if value is not None}


def test_a_file_says_what_is_written(tmp_path: Path) -> None:
    """Every key, and its defaults."""
    path = tmp_path / "loans.yaml"
    path.write_text(TEXT)
    expected = Policy(
        model="loans",
        stages=(
            Stage(
                kind="shadow", name="shadow", sampling=5_000, requests=500, at_least_s=600.0, at_most_s=172_800.0,
                gates=("errors",),
            ),
            Stage(kind="canary", name="canary", share=500, requests=200, at_least_s=60.0),
            Stage(kind="canary", name="quarter", share=2_500, requests=300, at_least_s=60.0),
            Stage(
                kind="approve", name="approve", approvers=("carol", "dan"), at_most_s=28_800.0, on_deadline="pause"
            ),
            Stage(kind="bake", name="bake", requests=300, at_least_s=3_600.0),
        ),
        gates=(
            Gate(name="errors", metric="error_rate", max=0.02, worse_by=0.005),
            Gate(metric="latency_ms_p95", times=1.5, dry_run=True),
        ),
        ab_share=2_000,
        shadow_sampling=1_000,
        rollback_window=5,
        freeze=(
            Freeze(name="year end", starts="2026-12-20", ends="2027-01-02", zone="Europe/Berlin"),
            Freeze(name="nights", days=("fri",), start=1_080, end=480, reason="nobody is there"),
        ),
        settle_s=5.0,
        alpha=0.02,
        deadline_ms=100,
        header_override=True,
    )  # fmt: skip

    assert expected == load_policy(path)
    assert ("canary 5%", "quarter") == tuple(stage.title for stage in expected.stages[1:3])


def test_a_model_without_a_file_has_the_default_policy(tmp_path: Path) -> None:
    """Shadow, 1, 5, 25 and 50 %, bake, with the default gates; a file is named after its model."""
    found = policy_for(tmp_path, "loans")

    assert Policy.default("loans") == found
    assert ["shadow", "canary 1%", "canary 5%", "canary 25%", "canary 50%", "bake"] == [
        stage.title for stage in found.stages
    ]
    assert DEFAULT_GATES == found.gates
    (tmp_path / "loans.yaml").write_text("model: other\n")
    with pytest.raises(SettingsInvalid, match="named after its model"):
        policy_for(tmp_path, "loans")


def test_the_digest_covers_everything() -> None:
    """Any other word is another digest; JSON reads back to the same one."""
    policy = read_policy(written())
    other = [
        replace(policy, alpha=0.01),
        replace(policy, stages=policy.stages[1:]),
        replace(policy, gates=(replace(policy.gates[0], max=0.0), policy.gates[1])),
        replace(policy, freeze=()),
    ]

    assert policy == Policy.from_json(json.loads(json.dumps(policy.to_json(), sort_keys=True)))
    assert [other[2]] == [Policy.from_json(other[2].to_json())]
    assert 5 == len({policy.digest, *[one.digest for one in other]})
    assert policy.digest == Policy.from_json(policy.to_json()).digest


def test_dry_runs_decide_nowhere() -> None:
    """A stage names gates; those that only tell are left out."""
    policy = read_policy(written())

    assert [("errors",), ("errors",)] == [policy.gates_of(stage) for stage in policy.stages[:2]]


@pytest.mark.parametrize(
    ("line", "instead", "words"),
    [
        ("ab_share: 20%", "ab_shar: 20%", r"unknown key 'ab_shar'. Did you mean 'ab_share'.*line 11, column 1"),
        ("share: 5%,", "shar: 5%,", r"unknown key 'shar'.*line 4, column 20"),
        ("share: 5%,", "share: 5,", r"stages\[1\].share: A share must be a percentage.*line 4"),
        ("share: 25%,", "share: 4%,", r"raise the share of each canary; 5% came before, got '4%'.*line 5, column 20"),
        ("share: 25%,", "share: 90%,", r"leave room for ab_share, 20%.*line 5"),
        ("share: 25%,", "share: 100%,", "be a bake.*line 5"),
        ("share: 25%, name", "name", r"share above 0%.*line 5"),
        ("kind: approve,", "kind: aprove,", r"kind: 'aprove', which must be one of.*line 6, column 6"),
        ("at_least: 1h", "at_least: 1", r"stages\[4\].at_least: A duration must be.*line 7, column 18"),
        ("at_least: 1h", "at_least: 2d", r"last longer than at_least, 2d.*line 7"),
        ("requests: 200", "requests: 0", "silence never passes.*line 4"),
        ("gates: [errors]}", "gates: [error]}", r"name its own gates.*Did you mean 'errors'.*line 3"),
        ("gates: [errors]}", "gates: [latency_ms_p95]}", "a gate that decides in each stage.*line 3"),
        ("max: 0.02", "maxx: 0.02", r"unknown key 'maxx'.*line 9, column 40"),
        ("metric: error_rate,", "metric: error_rte,", r"gates\[0\].metric: .*Did you mean 'error_rate'.*line 9"),
        ("from: 18:00", "from: late", r"a time of day such as 18:00.*line 16"),
        ("zone: Europe/Berlin", "zone: Berlin", r"freeze\[0\].zone: .*time zone.*line 15"),
        ("settle: 5s", "settle: 2d", "settle from 0s to 1h"),
        ("alpha: 0.02", "alpha: 0.7", "alpha between 0 and 0.5.*line 18"),
        ("deadline: 100ms", "deadline: 2m", "a deadline from 1ms to 60s.*line 19"),
        ("header_override: true", "header_override: 1", "true or false.*line 20"),
        ("model: loans", "model: [loans", "cannot be read"),
        ("model: loans\n", "", "lacks model"),
        ("alpha: 0.02", "alpha: 0.02\nalpha: 0.03", "written twice"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_place(tmp_path: Path, line: str, instead: str, words: str) -> None:
    """The key, what was expected, what is near, and the line and column."""
    path = tmp_path / "loans.yaml"
    assert line in TEXT
    path.write_text(TEXT.replace(line, instead, 1))

    with pytest.raises(SettingsInvalid, match=f"(?s){words}") as caught:
        load_policy(path)
    assert str(path) in caught.value.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gates": []}, "have a gate that decides"),
        ({"gates": [{**ERRORS, "dry_run": True}], "stages": None}, "have a gate that decides"),
        ({"gates": [ERRORS, ERRORS], "stages": None}, "name each gate once, got 'error_rate'"),
        ({"stages": [{"kind": "bake"}, {"kind": "canary", "share": "5%"}]}, "end with its bake"),
        ({"stages": [{"kind": "canary", "share": "5%"}, {"kind": "shadow"}]}, "its shadows before its canaries"),
        ({"stages": [{"kind": "canary", "share": "5%", "approvers": ["carol"]}]}, "of kind approve to have approvers"),
        ({"stages": [{"kind": "approve", "requests": 5}]}, "wait for people only"),
        ({"stages": [{"kind": "bake", "share": "5%"}]}, "no share"),
        ({"gates": [ERRORS, FLIPS], "stages": [{"kind": "bake"}]}, "judge pairs of answers in a shadow"),
        ({"rollback_window": -1}, "a whole number from 0"),
        ({"model": ""}, "name a model"),
    ],
)  # fmt: skip
def test_a_policy_that_makes_no_sense_is_refused(changes: dict[str, Any], words: str) -> None:
    """Shares only rise, silence never passes, nothing follows the bake."""
    with pytest.raises(SettingsInvalid, match=words):
        read_policy(written(**changes))


def test_no_stages_are_a_policy() -> None:
    """A version then goes live once its bundle was checked."""
    assert () == read_policy({"model": "loans", "stages": []}).stages
