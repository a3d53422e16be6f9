"""`cluster.yaml`: Ray itself accepts it, and it keeps what the local stack promises."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    """The launcher file as Ray reads it."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return loaded


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    """Ray's own preparation and schema pass, with one head and every worker of the list."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)

    assert prepared["max_workers"] == len(cluster["provider"]["worker_ips"])
    assert prepared["head_node_type"] in prepared["available_node_types"]


def test_what_is_mounted_is_there(cluster: dict[str, Any]) -> None:
    """Each file from the checkout exists; dist/ is what `make wheel` writes, the token is the operator's."""
    local = [Path(source) for source in cluster["file_mounts"].values() if source.startswith("./")]

    assert [source for source in local if not (ROOT / source).exists() and source != Path("dist")] == []


def test_every_ray_starts_with_the_settings(cluster: dict[str, Any]) -> None:
    """Each start command reads the file with the token mode first."""
    environment = next(command for command in cluster["setup_commands"] if "~/twinscore/env" in command)

    assert [line for name in COMMANDS for line in cluster[name] if not line.startswith(". ~/twinscore/env && ")] == []
    assert "export RAY_AUTH_MODE=token" in environment
    assert "export RAY_AUTH_TOKEN_PATH=" in environment


def test_settings_in_it_exist(cluster: dict[str, Any]) -> None:
    """Every TWINSCORE_ variable that it sets is a setting."""
    from twinscore.settings import Settings

    text = "\n".join(cluster["setup_commands"])
    named = {
        line.split("=")[0].removeprefix("export TWINSCORE_").lower()
        for line in text.split("\n")
        if "export TWINSCORE_" in line
    }

    assert named
    assert named - set(Settings.model_fields) == set()


def test_only_locked_packages_are_installed(cluster: dict[str, Any]) -> None:
    """Each pip command takes hashes from the lock, or only the wheel."""
    installs = [command for command in cluster["setup_commands"] if "pip install" in command]

    assert installs
    assert [command for command in installs if "--require-hashes" not in command and "--no-deps" not in command] == []
