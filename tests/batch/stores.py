"""A real S3 over HTTP for tests: moto's server in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST", "AWS_SECRET_ACCESS_KEY": "very/secret+key"}


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an S3 with nothing in it; skips where moto is not installed."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask_cors") is None:
        pytest.skip("moto's server is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("s3") / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
    )
    address = f"127.0.0.1:{port}"
    try:
        for _ in range(300):
            if process.poll() is not None:
                pytest.fail(f"moto's server ended: {Path(log.name).read_text()}")
            try:
                urllib.request.urlopen(f"http://{address}/moto-api/", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(10)
        log.close()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> tuple[str, str]:
    """Name of a bucket of the test's own, and what follows the `?` of its URIs."""
    import pyarrow.fs as pafs

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    name = f"b{abs(hash(request.node.name)) % 10**9}-{os.getpid()}"
    options = f"?endpoint_override={s3_server}&scheme=http&region=us-east-1"
    pafs.S3FileSystem(
        endpoint_override=s3_server, scheme="http", region="us-east-1", allow_bucket_creation=True
    ).create_dir(name)
    return name, options


def put(folder: Path, bucket: tuple[str, str], prefix: str) -> str:
    """Copy a folder into a bucket and return its URI, with options."""
    import pyarrow.fs as pafs

    from twinscore.batch.place import Place

    uri = f"s3://{bucket[0]}/{prefix}{bucket[1]}"
    place = Place.at(uri)
    filesystem, base = place._connected()
    pafs.copy_files(str(folder), f"{base}/{prefix}", pafs.LocalFileSystem(), filesystem)
    return uri
