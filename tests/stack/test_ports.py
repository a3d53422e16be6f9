"""Ports: free, taken and by whom."""

from __future__ import annotations

import os
import socket

import pytest

from twinscore.errors import PortTaken, SettingsInvalid
from twinscore.settings import Settings
from twinscore.stack.ports import free_ports, holder, is_free, require_free


def test_taken_port_names_its_holder(settings: Settings) -> None:
    """The message names the port, the process, its command and the setting to change."""
    with socket.create_server(("127.0.0.1", settings.serve_port)), pytest.raises(PortTaken) as caught:
        require_free(settings)

    assert f"Port {settings.serve_port} is taken by process {os.getpid()} (" in caught.value.message
    assert "python" in caught.value.message
    assert "TWINSCORE_SERVE_PORT=" in caught.value.message
    assert {"port": settings.serve_port, "pid": os.getpid()}.items() <= caught.value.fields.items()


def test_free_ports_pass(settings: Settings) -> None:
    """Ports that nobody holds are not complained about."""
    require_free(settings)


def test_one_port_for_two_things_is_refused(settings: Settings) -> None:
    """Two settings with the same port are both named."""
    twice = settings.model_copy(update={"ray_port": settings.mlflow_port})

    with pytest.raises(SettingsInvalid, match=r"TWINSCORE_MLFLOW_PORT and TWINSCORE_RAY_PORT are both"):
        require_free(twice)
    with pytest.raises(SettingsInvalid, match=r"TWINSCORE_MLFLOW_PORT and TWINSCORE_GRPC_PORT are both"):
        require_free(settings.model_copy(update={"grpc_port": settings.mlflow_port}))


def test_holder_of_a_port_on_all_addresses_is_found() -> None:
    """A listener on the IPv6 wildcard holds the IPv4 port as well."""
    (port,) = free_ports(1)
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True):
        assert not is_free("127.0.0.1", port)
        assert holder(port) == os.getpid()

    assert is_free("127.0.0.1", port)
    assert holder(port) is None


def test_free_ports_differ() -> None:
    """Several ports asked for at once are different and free."""
    ports = free_ports(20)

    assert len(set(ports)) == 20
    assert all(is_free("127.0.0.1", port) for port in ports)
