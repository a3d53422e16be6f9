"""A home with keys and issuers, and tokens as an identity provider would sign them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from twinscore.access.gate import RECHECK_S, Access
from twinscore.access.grant import Caller
from twinscore.access.keys import NewKey, create_key
from twinscore.errors import Unauthenticated

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW_S = NOW.timestamp()
LATER_S = NOW_S + RECHECK_S
ISSUER = "https://login.example.com/"
AUDIENCE = "twinscore"


@dataclass(frozen=True)
class Provider:
    """Two key pairs of one issuer, `ed` and `ec`, and a third that nobody was told of."""

    private: dict[str, Any]

    def public(self, kid: str) -> bytes:
        """Return a public key as PEM."""
        pem: bytes = self.private[kid].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    def token(
        self, kid: str = "ed", *, alg: str | None = None, key: Any = None, header: Any = (), **claims: Any
    ) -> bytes:
        """Return a token that is good on `loans` for five minutes, but for the claims given; None drops a claim."""
        whole = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": "billing", "exp": NOW_S + 300, "models": ["loans"],
            "verbs": ["predict"], **claims,
        }  # fmt: skip
        kept = {name: value for name, value in whole.items() if value is not None}
        alg = alg or ("EdDSA" if kid != "ec" else "ES256")
        headers = {"kid": kid, **dict(header)}
        return jwt.encode(kept, self.private[kid] if key is None else key, algorithm=alg, headers=headers).encode()


@pytest.fixture(scope="session")
def provider() -> Provider:
    """An identity provider of the test's own."""
    ec = generate_private_key(SECP256R1())
    return Provider({"ed": Ed25519PrivateKey.generate(), "ec": ec, "stranger": Ed25519PrivateKey.generate()})


@pytest.fixture
def write_issuers(home: Path, provider: Provider) -> Callable[..., Path]:
    """Write the file of issuers and the two public keys; values given replace the issuer's own."""

    def write(**values: Any) -> Path:
        folder = home / "access" / "issuers"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for kid in ("ed", "ec"):
            (folder / f"{kid}.pem").write_bytes(provider.public(kid))
        issuer = {"issuer": ISSUER, "audience": AUDIENCE, "keys": ["ed", "ec"], **values}
        path = home / "access" / "issuers.yaml"
        path.write_text(yaml.safe_dump({"issuers": [issuer]}))
        return path

    return write


@pytest.fixture
def made(home: Path) -> NewKey:
    """A key for predictions of `loans`, good for a day."""
    return create_key(home, label="billing", models=["loans"], verbs=["predict"], days=1, now=NOW)


def ask(
    access: Access,
    key: NewKey | bytes | None,
    *,
    now_s: float = NOW_S,
    model: str = "loans",
    verb: str | None = "predict",
) -> Caller:
    header = key.text.encode() if isinstance(key, NewKey) else key
    return access.admit(None if header is None else b"Bearer " + header, None, model=model, verb=verb, now_s=now_s)


def refused(access: Access, key: NewKey | bytes | None, *, now_s: float = NOW_S) -> str:
    with pytest.raises(Unauthenticated) as caught:
        ask(access, key, now_s=now_s)
    return str(caught.value.fields["reason"])
