"""Serve's own configuration, read and made by several threads of one process, as those of the control do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from ray.serve._private.config import DeploymentConfig

from twinscore.online.serve_config import _as_message, _read

pytestmark = pytest.mark.filterwarnings("ignore:.*metrics_interval_s:DeprecationWarning")
EMPTY = DeploymentConfig().to_proto()


@pytest.fixture
def eager() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager")
def test_threads_may_be_at_it_at_the_same_time() -> None:
    """Ray registers a module for pickling while it makes a configuration, which two threads must not do at once."""

    def there_and_back(number: int) -> object:
        message = DeploymentConfig.to_proto(_read(EMPTY))
        message.user_config = _as_message({"n": number})
        return _read(message).user_config

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(there_and_back, range(100)))

    assert [{"n": number} for number in range(100)] == found
