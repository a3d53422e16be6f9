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
