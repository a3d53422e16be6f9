"""One real HAProxy: started, read, changed, reloaded, adopted and ended."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from twinscore.edge.config import Places, render
from twinscore.edge.proxy import Proxy
from twinscore.edge.runtime_api import RuntimeApi
from twinscore.edge.slots import EMPTY_SLOTS, N_SLOTS, Slot, apply
from twinscore.errors import StackError
from twinscore.settings import Settings

from .conftest import own_port

CHANGES = (
    Slot("s1", "127.0.0.1", 30_001, 64, "ready"),
    Slot("s2", "10.0.0.2", 30_002, 7, "drain"),
    Slot("s16", "127.0.0.1", 30_003, 1_000, "ready"),
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name, because sockets need one."""
    made = Path(tempfile.mkdtemp(prefix="ts-p-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a port of the test's own."""
    return Settings(home=tmp_path, serve_port=own_port())


def config(settings: Settings, folder: Path, *models: str) -> str:
    return render(settings, Places(folder, ("127.0.0.1:1",)), {f"model-{model}": EMPTY_SLOTS for model in models})


@pytest.fixture
def proxy(folder: Path, settings: Settings) -> Iterator[Proxy]:
    """A proxy that knows two models and no listener."""
    made = Proxy(folder)
    made.start(config(settings, folder, "loans", "credit-risk.v2"))
    yield made
    made.end()


def test_slots_are_read_back_as_they_were_set(proxy: Proxy) -> None:
    """Address, limit and state of every slot survive the way through HAProxy; the other model is not touched."""
    before = proxy.runtime.slots()
    proxy.runtime.change({"model-loans": CHANGES})

    assert before == {"model-loans": EMPTY_SLOTS, "model-credit-risk.v2": EMPTY_SLOTS}
    assert proxy.runtime.slots() == {"model-loans": apply(EMPTY_SLOTS, CHANGES), "model-credit-risk.v2": EMPTY_SLOTS}


def test_all_slots_are_changed_at_once(proxy: Proxy) -> None:
    """A change of every slot of every model is more than one line of commands, and arrives whole."""
    full = tuple(Slot(f"s{n}", "127.0.0.1", 30_000 + n, n, "ready") for n in range(1, N_SLOTS + 1))
    proxy.runtime.change({"model-loans": full, "model-credit-risk.v2": full})

    assert proxy.runtime.slots() == {"model-loans": full, "model-credit-risk.v2": full}


def test_proxy_outlives_whoever_started_it(proxy: Proxy, folder: Path) -> None:
    """Another one of the same folder takes it over and can end it; of an empty folder there is nothing to take over."""
    other = Proxy(folder)
    adopted = other.adopt()
    pid = other.pid
    other.end()

    assert (adopted, pid) == (True, pid)
    assert pid is not None
    assert (proxy.pid, other.pid, Proxy(folder).adopt()) == (None, None, False)


def test_refused_configuration_changes_nothing(proxy: Proxy, settings: Settings, folder: Path) -> None:
    """HAProxy's own words are in the message, and the proxy goes on with what it has."""
    before, pid = proxy.config, proxy.pid

    with pytest.raises(StackError, match="unknown keyword 'nonsense'"):
        proxy.reload(config(settings, folder, "loans") + "\nnonsense\n")

    assert (proxy.config, proxy.pid) == (before, pid)
    assert sorted(proxy.runtime.slots()) == ["model-credit-risk.v2", "model-loans"]


def test_reload_changes_the_models(proxy: Proxy, settings: Settings, folder: Path) -> None:
    """After a reload the same master knows the other models."""
    pid = proxy.pid
    proxy.reload(config(settings, folder, "other"))

    assert (proxy.pid, proxy.runtime.slots()) == (pid, {"model-other": EMPTY_SLOTS})


def test_long_folder_is_refused(tmp_path: Path) -> None:
    """A socket's path has a limit that HAProxy would only tell in its own way."""
    with pytest.raises(StackError, match="too long for a socket's path"):
        Proxy(tmp_path / ("long" * 30))


def test_nobody_behind_the_socket_is_said(folder: Path) -> None:
    """Without a proxy the path is in the message."""
    api = RuntimeApi(folder / "admin.sock")

    with pytest.raises(StackError, match=str(folder / "admin.sock")):
        api.slots()
    assert not api.is_up()
