"""What the processes of the stack and their clients get as environment."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from twinscore.settings import Settings
from twinscore.stack.environment import head_environment, mlflow_environment
from twinscore.stack.launch import temp_folder

# Each makes Ray Data unpickle what a file says; set in a shell, it must not reach the workers.
PICKLE_SWITCHES = [
    "RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA",
    "RAY_DATA_ARROW_EXTENSION_SERIALIZATION_CLOUDPICKLE",
    "RAY_DATA_AUTOLOAD_PICKLE_OBJECT_SCALAR",
    "RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE",
    "RAY_DATA_WEBDATASET_ALLOW_UNSAFE_DESERIALIZATION",
]
UNIX_PATH_BYTES = 108


def head(settings: Settings) -> dict[str, str]:
    return head_environment(settings, temp_dir=temp_folder(settings.home), token_path=Path("token"), ports=[1, 2, 3, 4])


@pytest.mark.parametrize("name", [*PICKLE_SWITCHES, "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_API_SERVER_ADDRESS"])
def test_foreign_settings_do_not_reach_ray(settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What the caller's shell says of Ray, such as a switch that allows unpickling, is dropped."""
    monkeypatch.setenv(name, "1")

    assert name not in head(settings)


def test_tuning_of_ray_is_kept(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's knobs in lower case tune and point nowhere, so a caller may set them."""
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.9")

    assert head(settings)["RAY_memory_usage_threshold"] == "0.9"


def test_jobs_see_the_same_settings(settings: Settings) -> None:
    """Every setting travels to the workers, the home as an absolute path; what is not set stays unset."""
    environment = head(settings)

    assert environment["TWINSCORE_HOME"] == str(settings.home)
    assert Path(environment["TWINSCORE_HOME"]).is_absolute()
    assert environment["TWINSCORE_SERVE_PORT"] == str(settings.serve_port)
    assert "TWINSCORE_MLFLOW_URI" not in environment


def test_python_of_a_job_is_this_one(settings: Settings) -> None:
    """The folder of this interpreter is the first on the path of the workers."""
    assert head(settings)["PATH"].split(":")[0] == str(Path(sys.executable).parent)


def test_sockets_fit_into_their_paths(settings: Settings) -> None:
    """The longest socket path that Ray or HAProxy makes stays within the kernel's limit."""
    temp_dir = temp_folder(settings.home)
    ray = temp_dir / "r" / "session_2026-01-01_00-00-00_000000_4194304" / "sockets" / "plasma_store"
    # HAProxy puts the node's id of 56 characters in between, and binds to a temporary name first.
    haproxy = Path(head(settings)["RAY_SERVE_HAPROXY_SOCKET_PATH"])
    admin = haproxy.parent / ("f" * 56) / f"{haproxy.name}.4194304.tmp"

    assert max(len(str(ray)), len(str(admin))) < UNIX_PATH_BYTES


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        ("{artifacts}/1/models/m-1/artifacts", True),
        ("file://{artifacts}/1/models/m-1/artifacts", True),
        ("models:/m-1", True),
        ("runs:/1/model", True),
        ("{artifacts}/../secrets", False),
        ("/etc", False),
        ("http://example.org/model", False),
        ("x {artifacts}/1", False),
    ],
)
def test_versions_come_from_our_artifacts_only(settings: Settings, source: str, allowed: bool) -> None:
    """The registry accepts sources below its own artifact folder and by reference, and nothing else."""
    rule = mlflow_environment(settings)["MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX"]
    text = source.format(artifacts=settings.registry_folder / "artifacts")

    assert (re.search(rule, text) is not None) == allowed
