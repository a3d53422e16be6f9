"""What is refused before a routing is written, without Serve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from twinscore.errors import ModelNotReady
from twinscore.online import routes
from twinscore.rollout.plan import rolled_back
from twinscore.rollout.routing import Routing, Shadow, Target
from twinscore.settings import Settings

from .shadowing import stored


def test_going_back_waits_for_no_shadow_that_serve_repairs(
    monkeypatch: pytest.MonkeyPatch, home: Path, binary: Any
) -> None:
    """An application must run when it comes into the routing; once it is asked, nothing waits for it."""
    settings, digest = Settings(home=home), binary.bundle.digest
    stored(settings, binary.bundle)
    first, second = (Target(version=version, digest=digest) for version in ("1", "2"))
    shadow = Shadow(app="members.shadow.3", version="3", digest=digest)
    monkeypatch.setattr(routes, "applications", lambda: {shadow.app: SimpleNamespace(status="DEPLOYING")})
    asked = Routing(model="members", live=second, previous=first, shadows=(shadow,))

    routes._check(settings, asked, rolled_back(asked))
    with pytest.raises(ModelNotReady, match=r"members\.shadow\.3 is deploying"):
        routes._check(settings, replace(asked, shadows=()), asked)


def test_going_back_leaves_a_shadow_of_other_columns_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The version that is left has the shadow's columns and the one before has not; nothing else may hold it up."""
    first, second, third, fourth = (Target(version=version, digest=version * 64) for version in ("1", "2", "3", "4"))
    schemas = {first.digest: "old", second.digest: "new", third.digest: "new", fourth.digest: "old"}
    other, same = (
        Shadow(app=f"members.shadow.{one.version}", version=one.version, digest=one.digest) for one in (third, fourth)
    )
    asked = Routing(model="members", live=second, previous=first, shadows=(other, same))
    applied: list[Routing] = []
    for digest in schemas:
        (tmp_path / "lake" / "bundles" / digest).mkdir(parents=True)

    def read_bundle(folder: Path) -> Any:
        return SimpleNamespace(contract=SimpleNamespace(schema=schemas[folder.name]))

    monkeypatch.setattr("twinscore.bundle.files.read_bundle", read_bundle)
    monkeypatch.setattr(routes, "current_routing", lambda _: asked)
    monkeypatch.setattr(routes, "apply_routing", lambda _, __, routing, **___: applied.append(routing))
    routes.roll_back(Settings(home=tmp_path), "members")

    assert [(first, (same,))] == [(one.live, one.shadows) for one in applied]
