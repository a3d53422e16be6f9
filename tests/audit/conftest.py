"""What the tests of the audit log share."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
import structlog

from twinscore.bundle.files import Bundle
from twinscore.testing.models import make_bundle


@pytest.fixture(autouse=True)
def log() -> Iterator[list[MutableMapping[str, Any]]]:
    """What was logged, so that thousands of failures on purpose are not printed."""
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small real version of a model with two classes."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "binary")
