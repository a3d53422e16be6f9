"""A place that input files lie in: a folder of this machine or of an object store; knows pyarrow.fs, not Parquet.

A place is four texts, so it travels to workers as it is; each process makes its own connection, once. Credentials come
from the environment of that process (`AWS_*`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_*`, an instance's role): a
location that holds some is refused, so none can reach a manifest, a log or a message.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

import pyarrow as pa
import pyarrow.fs as pafs

from twinscore.errors import FileUnreadable, InputError, SettingsInvalid, StoreError, StoreUnavailable, near

__all__ = ["Found", "Place", "is_uri", "masked"]

_OPTIONS = {
    "s3": ("endpoint_override", "region", "scheme", "tls_ca_file_path"),
    "gs": ("endpoint_override", "project_id", "retry_limit_seconds", "scheme"),
    "gcs": ("endpoint_override", "project_id", "retry_limit_seconds", "scheme"),
    "abfs": ("blob_storage_authority", "client_id", "credential_kind", "dfs_storage_authority", "tenant_id"),
    "abfss": ("blob_storage_authority", "client_id", "credential_kind", "dfs_storage_authority", "tenant_id"),
}
"""What may follow the `?` of a URI, by scheme: addresses and names, nothing secret."""
_ATTEMPTS = 5
_CONNECT_S = 10.0
_REQUEST_S = 60.0
_SECRET = re.compile(r"secret|token|password|account_key|sas_key|connection_string|access_key", re.IGNORECASE)
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


class Found(NamedTuple):
    """A file of a place, before it was opened."""

    name: str
    """Relative to the place's root, with forward slashes."""
    size: int | None
    """Bytes, where the listing says so."""


@dataclass(frozen=True, slots=True)
class Place:
    """A file system and a folder in it."""

    root: str
    """Path of the folder; on this machine absolute, in a store without a leading slash."""
    scheme: str = ""
    """Empty on this machine, else `s3`, `gs` or `abfs`."""
    authority: str = ""
    """Bucket, or what the scheme has between `//` and the path."""
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def at(cls, location: str) -> Place:
        """Return the place that a path or a URI names; nothing is opened.

        Raises:
            SettingsInvalid: the scheme or an option is unknown, or the location holds credentials.
        """
        parts = _URI.fullmatch(location)
        if parts is None:
            return cls(str(Path(location).expanduser().absolute()))
        scheme, rest = parts[1].lower(), parts[2]
        if scheme == "file":
            if not rest.startswith("/"):
                message = f"The location {_plain(location)} must be file:///PATH: it begins with a name of a machine."
                raise SettingsInvalid(message, scheme=scheme)
            return cls(unquote(rest))
        if scheme not in _OPTIONS:
            message = f"The location {_plain(location)} begins with {scheme!r}. {near(scheme, ['file', *_OPTIONS])}"
            raise SettingsInvalid(message, scheme=scheme)
        path, _, query = rest.partition("?")
        authority, _, root = path.partition("/")
        user, at, _ = authority.rpartition("@")
        secret = ":" in user if scheme.startswith("abfs") else bool(at) and (scheme == "s3" or user != "anonymous")
        options = tuple(sorted(parse_qsl(query, keep_blank_values=True)))
        if secret or any(_SECRET.search(name) for name, _ in options):
            message = (
                f"The location {_plain(location)} holds credentials, which would end up in manifests and logs. "
                "Take them out and set them in the environment of the job and of every worker, "
                "such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
            raise SettingsInvalid(message, scheme=scheme)
        for name, _ in options:
            if name not in _OPTIONS[scheme]:
                message = f"The location {_plain(location)} has an option {name!r}. {near(name, _OPTIONS[scheme])}"
                raise SettingsInvalid(message, scheme=scheme, option=name)
        if not authority:
            message = f"The location {_plain(location)} names no bucket; it must be {scheme}://BUCKET/PREFIX."
            raise SettingsInvalid(message, scheme=scheme)
        return cls(root.strip("/"), scheme, authority, options)

    @property
    def is_local(self) -> bool:
        """Whether the files are seen through this machine's own file system."""
        return not self.scheme

    def same_store(self, other: Place) -> bool:
        """Tell whether both places are in one file system."""
        return replace(self, root="") == replace(other, root="")

    def shown(self, name: str = "") -> str:
        """Return the location of a file of the place, as people may see it: without options."""
        path = "/".join(part for part in (self.root.rstrip("/") if self.is_local else self.root, name) if part)
        return (path or "/") if self.is_local else f"{self.scheme}://{self.authority}/{path}".rstrip("/")

    def open(self, name: str) -> pa.NativeFile:
        """Open a file of the place for reading at any position.

        Raises:
            FileUnreadable: it is not there, or may not be read.
            StoreUnavailable: the store does not answer.
        """
        try:
            filesystem, base = self._connected()
            return filesystem.open_input_file(self._path(base, name))
        except (OSError, pa.ArrowException) as error:
            raise self.failed(error, name) from error

    def listed(self) -> list[Found] | None:
        """Return every file of a store below the root, in order of name; the root's own for a file, None for nothing.

        Raises:
            FileUnreadable: the bucket is not there, or may not be read.
            StoreUnavailable: the store does not answer.
        """
        try:
            filesystem, base = self._connected()
            top = self._path(base, "")
            info = filesystem.get_file_info(top)
            if info.type == pafs.FileType.NotFound:
                return None
            if info.type == pafs.FileType.File:
                return [Found("", info.size)]
            items = filesystem.get_file_info(pafs.FileSelector(top, recursive=True))
        except (OSError, pa.ArrowException) as error:
            raise self.failed(error) from error
        skip = len(top.rstrip("/")) + 1
        return sorted(Found(item.path[skip:], item.size) for item in items if item.type == pafs.FileType.File)

    def failed(self, error: BaseException, name: str = "") -> InputError | StoreError:
        """Return the error of ours for one that the file system raised."""
        shown = self.shown(name)
        problem = masked((str(error) or type(error).__name__).splitlines()[0].rstrip("."))
        if isinstance(error, FileNotFoundError) or "NO_SUCH_BUCKET" in problem:
            return FileUnreadable(f"The input {shown} does not exist: {problem}.", path=shown)
        if isinstance(error, PermissionError) or "ACCESS_DENIED" in problem:
            message = f"The input {shown} may not be read: {problem}. Check the rights of the credentials in use."
            return FileUnreadable(message, path=shown)
        message = (
            f"The store of {shown} does not answer: {problem}. "
            "Check the address, the network and the credentials in the environment."
        )
        return StoreUnavailable(message, location=shown)

    def _connected(self) -> tuple[pafs.FileSystem, str]:
        return _connect(self.scheme, self.authority, self.options)

    def _path(self, base: str, name: str) -> str:
        return "/".join(part for part in (base, self.root, name) if part)


def is_uri(location: str) -> bool:
    """Tell whether a location is a URI, such as `s3://bucket/prefix`.

    >>> is_uri("s3://bucket/prefix"), is_uri("data/loans")
    (True, False)
    """
    return _URI.fullmatch(location) is not None


def masked(text: str) -> str:
    """Return a message of a foreign library without the credentials of the environment and of URIs in it."""
    for name, value in os.environ.items():
        if len(value) > 3 and (_SECRET.search(name) or name.upper().endswith("_KEY_ID")):
            text = text.replace(value, "***")
    text = re.sub(r"(://)[^/\s@]+@", r"\1***@", text)
    return re.sub(r"(://[^\s?]+)\?\S+", r"\1?***", text)


@lru_cache(maxsize=16)
def _connect(scheme: str, authority: str, options: tuple[tuple[str, str], ...]) -> tuple[pafs.FileSystem, str]:
    """Return a connection and the path of the bucket in it: one per process, with retries and time limits of ours."""
    given: dict[str, Any] = dict(options)
    if scheme in {"gs", "gcs"}:
        given.setdefault("retry_limit_seconds", str(int(_REQUEST_S)))
    query = f"?{urlencode(given)}" if given else ""
    filesystem, base = pafs.FileSystem.from_uri(f"{scheme}://{quote(authority, safe='@:.-_')}/{query}")
    if isinstance(filesystem, pafs.S3FileSystem):
        # A URI has no words for retries and time limits, so the connection is made again with them.
        given.setdefault("region", filesystem.region)
        filesystem = pafs.S3FileSystem(
            **given,
            connect_timeout=_CONNECT_S,
            request_timeout=_REQUEST_S,
            retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        )
    return filesystem, base.strip("/")


def _plain(location: str) -> str:
    """Return a location without user, password and options."""
    scheme, _, rest = location.partition("://")
    path = rest.partition("?")[0]
    authority, slash, root = path.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{root}"
