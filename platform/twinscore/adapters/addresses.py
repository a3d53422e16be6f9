"""Addresses of databases and catalogs, as they may be shown: without passwords; knows no driver."""

from __future__ import annotations

import contextlib
import re
from urllib.parse import unquote, urlsplit

__all__ = ["masked", "without_secrets"]

_SECRET_PARAMETER = re.compile(r"((?:password|sslpassword|token|credential|secret)[^=&\s]*=)[^&\s]+", re.IGNORECASE)
_USER_PART = re.compile(r"(://[^:/@\s]*):.*@", re.DOTALL)


def masked(uri: str) -> str:
    """Return the address with `***` where it holds a secret.

    >>> masked("postgresql://scorer:s3cret@db.example/scores?sslpassword=x")
    'postgresql://scorer:***@db.example/scores?sslpassword=***'
    """
    return _SECRET_PARAMETER.sub(r"\1***", _USER_PART.sub(r"\1:***@", uri))


def without_secrets(text: str, uri: str) -> str:
    """Return what a driver said about `uri`, with its address and its secrets masked."""
    text = text.replace(uri, masked(uri))
    for secret in _secrets(uri):
        text = text.replace(secret, "***")
    return text


def _secrets(uri: str) -> set[str]:
    found = {match.group(0).split("=", 1)[1] for match in _SECRET_PARAMETER.finditer(uri)}
    user = re.search(r"://[^:/@\s]*:(.*)@", uri, re.DOTALL)
    if user is not None:
        found.add(user.group(1))
    with contextlib.suppress(ValueError):  # no address at all; what stands between `:` and `@` was found above
        found.add(urlsplit(uri).password or "")
    found |= {unquote(secret) for secret in found}
    return {secret for secret in found if secret}
