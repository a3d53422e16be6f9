"""A browser at the real MLflow UI: it moves an alias as a person does, and shows what the platform says."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from twinscore.adapters.mlflow_aliases import MlflowAliases
from twinscore.adapters.mlflow_models import BUNDLE_TAG
from twinscore.stack.health import ask_mlflow
from twinscore.stack.launch import launch_mlflow
from twinscore.wiring import model_store

from .browser import RegistryPages, chromium

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle
    from twinscore.settings import Settings

WHY = "refused: contract: The bundle in clicked/2 has no contract.yaml. Train or adopt the version again."


_PATIENCE_S = 200


@contextmanager
def mlflow_of(settings: Settings) -> Iterator[str]:
    """Run the MLflow server of the local stack, without the rest of it."""
    child = launch_mlflow(settings)
    url = f"http://127.0.0.1:{settings.mlflow_port}"
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while not ask_mlflow(url)[0]:
            assert child.exit_code is None, child.log_tail()
            assert time.monotonic() < deadline, child.log_tail()
            time.sleep(0.2)
        yield url
    finally:
        if child.exit_code is None:
            os.killpg(child.process.pid, signal.SIGTERM)
        child.popen.wait(30)


@pytest.fixture
def pages(platform: Settings, bundle: Bundle, free_port: int) -> Iterator[RegistryPages]:
    """The pages of a server that has two versions of a model, the first of them live."""
    models = model_store(platform)
    for _ in range(2):
        models.register("clicked", bundle.folder, metrics={}, params={}, tags={BUNDLE_TAG: bundle.digest})
    models.set_alias("clicked", "serving", "1")
    # The browser first: without one, nothing has to be started.
    with chromium() as browser, mlflow_of(platform.model_copy(update={"mlflow_port": free_port})) as url:
        yield RegistryPages(browser, url)


def test_a_person_moves_an_alias_and_reads_why(platform: Settings, pages: RegistryPages) -> None:
    """An alias is given, moved and taken away by clicks; the registry has it, and the page shows aliases and tags."""
    registry = MlflowAliases(platform.embedded_registry_uri)

    pages.move_alias("clicked", "champion", to="1")
    assert {"champion": "1", "serving": "1"} == registry.aliases("clicked")
    assert ("champion", "serving") == pages.aliases("clicked", "1")

    pages.move_alias("clicked", "champion", to="2")
    assert {"champion": "2", "serving": "1"} == registry.aliases("clicked")
    assert ("champion",) == pages.aliases("clicked", "2")
    assert ("serving",) == pages.aliases("clicked", "1")

    registry.move("clicked", "champion", "1", expected="2")
    registry.tag("clicked", "2", "twinscore.rollout", WHY)
    assert () == pages.aliases("clicked", "2")
    assert WHY == pages.tags("clicked", "2")["twinscore.rollout"]

    pages.take_alias("clicked", "champion", of="1")
    assert {"serving": "1"} == registry.aliases("clicked")
