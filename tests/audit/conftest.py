"""What the tests of the audit log share: records, and a quiet log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def log() -> Iterator[list[dict[str, object]]]:
    """What was logged, so that thousands of failures on purpose are not printed."""
    with structlog.testing.capture_logs() as lines:
        yield lines
