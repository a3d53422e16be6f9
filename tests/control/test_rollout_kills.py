"""Rollouts in a whole stack under load whose control is killed, and versions that cannot be served; prints figures."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from twinscore.adapters.mlflow_models import BUNDLE_TAG
from twinscore.ports.model_store import ModelVersion
from twinscore.testing.models import make_bundle
from twinscore.wiring import alias_store

from .standing import MODEL, Standing, control_process, entries, register, settled, standing
from .test_examine import bundle_in, with_other_margins, with_text

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.timeout(3_600)]
KILLS = int(os.environ.get("TWINSCORE_KILLS", "0")) or 12
SEED = int(os.environ.get("TWINSCORE_SEED", "0")) or random.randrange(1, 2**31)
STAGES = ("check", "shadow", "canary", "bake")
"""In turn a control is killed in each."""
INTO_S = 1.0
"""A stage takes at least as long here; the kill comes at any time of that."""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """A stack of this module's own, with version 1 live."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TWINSCORE_KILLS", "TWINSCORE_SEED"):  # no settings of the product
            patch.delenv(name, raising=False)
        with standing(tmp_path_factory.mktemp("kills")) as found:
            yield found


def test_a_control_that_is_killed_at_any_time(stand: Standing, tmp_path: Path) -> None:
    """Each version goes live once, through all stages, whenever the control was killed; no request fails."""
    chance = random.Random(SEED)
    away: list[float] = []
    stages: Counter[str] = Counter()
    with stand.load() as heard:
        for number in range(KILLS):
            bundle = make_bundle(tmp_path / str(number), "binary", trees=30 + number)
            live, version = stand.status()["serving"], register(stand.settings, bundle).version
            alias_store(stand.settings).move(MODEL, "champion", version, expected=live)
            wanted = STAGES[number % len(STAGES)]
            stand.until(partial(in_stage, wanted=wanted), f"the stage {wanted}")
            time.sleep(chance.uniform(0, INTO_S))
            stages[stage_of(stand.status())] += 1
            away.append(killed(stand))
            stand.until(partial(settled, version=version), f"version {version} live")
            kinds = [one.kind for one in entries(stand, version) if one.to_version == version]
            assert kinds == ["started", "live"], (SEED, number, kinds)
    answered = {arm: {version for _, _, version, by in heard.answers if by == arm} for arm in ("live", "canary")}
    print(
        f"\nseed {SEED}: control killed {KILLS} times, in {dict(stages)}; it answered again after"
        f" {statistics.median(away):.1f} s in the median, {max(away):.1f} at worst; {heard.statuses}"
    )

    assert {200} == set(heard.statuses)
    assert KILLS <= len(answered["live"])
    assert KILLS <= len(answered["canary"])


def stage_of(status: dict[str, Any]) -> str:
    """Return the stage in which a rollout is, or nothing."""
    return str((status["rollout"] or {}).get("stage") or "")


def in_stage(status: dict[str, Any], wanted: str) -> bool:
    """Tell whether a rollout is in a stage, by the beginning of its name."""
    return stage_of(status).startswith(wanted)


def killed(stand: Standing) -> float:
    """Kill the control, and return the seconds until its pages answer again."""
    process = control_process(stand)
    os.kill(process, signal.SIGKILL)
    began_s = time.monotonic()
    while True:
        try:
            if control_process(stand) != process and stand.status():
                return time.monotonic() - began_s
        except (ValueError, OSError, httpx.HTTPError):
            pass
        assert time.monotonic() < began_s + 120
        time.sleep(0.05)


def away(registered: ModelVersion) -> None:
    """Take all files away, as a store does that answers with nothing."""
    Path(registered.source).rename(f"{registered.source}-away")


def with_other_booster(registered: ModelVersion) -> None:
    """Change a file behind the back of the digests."""
    (bundle_in(Path(registered.source)) / "model.ubj").write_bytes(b"no model")


def with_other_scores(registered: ModelVersion) -> None:
    """Let the bundle promise scores that it does not give."""
    with_other_margins(bundle_in(Path(registered.source)))


def unreadable(registered: ModelVersion) -> None:
    """Let the bundle be whole by its digests, and nothing that a replica could start with."""
    with_text("model.ubj", "{L")(bundle_in(Path(registered.source)))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (away, "could not read the files"),
        (with_other_booster, "booster: model.ubj"),
        (with_other_scores, "golden rows: "),
        (unreadable, "is not an XGBoost model"),
    ],
)
def test_a_version_that_cannot_be_served(
    stand: Standing, tmp_path: Path, spoil: Callable[[ModelVersion], None], said: str
) -> None:
    """Refused with the reason, and the alias put back; it answers nobody."""
    live = stand.status()["serving"]
    registered = register(stand.settings, make_bundle(tmp_path / "made", "binary", trees=9))
    version = registered.version
    alias_store(stand.settings).tag(MODEL, version, BUNDLE_TAG, None)  # its files alone say what it is
    spoil(registered)
    with stand.load() as heard:
        began_s = time.monotonic()
        alias_store(stand.settings).move(MODEL, "champion", version, expected=live)
        status = stand.until(lambda status: version in status["refused"], "the refusal")
        took_s = time.monotonic() - began_s
        stand.until(lambda _: stand.aliases().get("champion") == live, "the alias back")
    print(f"\nrefused after {took_s:.1f} s: {status['refused'][version]}; {heard.statuses}")

    assert said in status["refused"][version]
    assert {200} == set(heard.statuses)
    assert {live} == {version for _, _, version, _ in heard.answers}
