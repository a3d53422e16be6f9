"""A PostgreSQL of the tests' own, on a port and in a folder of its own, ended with the block."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["postgresql"]


@contextmanager
def postgresql() -> Iterator[str]:
    """Start a server of our own and give its address, without the password, which stands in PGPASSWORD.

    Skips the test where no PostgreSQL is installed.
    """
    programs = _postgres_programs()
    # PostgreSQL refuses to run as root; a socket's path may have 107 letters.
    owner = next((name for name in ("postgres", "nobody") if os.getuid() == 0 and _is_user(name)), None)
    folder = Path(tempfile.mkdtemp(prefix="tspg", dir="/tmp"))
    secret = folder / "password"
    secret.write_text("s3cret-in-tests")
    if owner:
        for path in (folder, secret):
            shutil.chown(path, owner)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        # The server inherits the outputs and would keep a pipe open, so they go to a file.
        with (folder.parent / f"{folder.name}.log").open("w+") as log:
            command = [str(programs / program), "-D", str(folder / "data"), *arguments]
            done = subprocess.run(command, user=owner, cwd="/", stdout=log, stderr=log, check=False)
            log.seek(0)
            assert done.returncode == 0, log.read()

    before = os.environ.get("PGPASSWORD")
    try:
        run("initdb", "-U", "scorer", f"--pwfile={secret}", "-A", "scram-sha-256", "--no-sync", "-E", "UTF8")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=40"
        run("pg_ctl", "-w", "-o", options, "-l", str(folder / "server.log"), "start")
        os.environ["PGPASSWORD"] = "s3cret-in-tests"
        try:
            yield f"postgresql://scorer@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        os.environ.pop("PGPASSWORD", None)
        if before is not None:
            os.environ["PGPASSWORD"] = before
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)


def _postgres_programs() -> Path:
    """Return the folder of initdb and pg_ctl, the newest where there are several, or skip."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not installed:
        pytest.skip("no PostgreSQL is installed (on Debian and Ubuntu: the package postgresql)")
    return installed[-1].parent


def _is_user(name: str) -> bool:
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False
