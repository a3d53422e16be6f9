"""Who may issue tokens: `issuers.yaml` and the public keys beside it; reads files, fetches nothing.

issuers:
  - issuer: https://login.example.com/      # the claim `iss`, letter by letter
    audience: twinscore                     # must be in the claim `aud`
    keys: [2026-a]                          # ids; each is issuers/<id>.pem, Ed25519 or P-256
    models_claim: models                    # list or words of the names of models, or "*"
    verbs_claim: verbs                      # list or words of predict, read, operate
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from twinscore.access.files import access_folder, read_guarded
from twinscore.errors import SettingsInvalid

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Issuer", "TrustedKey", "issuers_path", "key_path", "load_issuers"]

Algorithm = Literal["EdDSA", "ES256"]

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
# No separator and no leading dot: the id is part of a file name.
_KeyId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$")]


class Issuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One issuer of tokens."""

    issuer: _Text
    audience: _Text
    keys: Annotated[tuple[_KeyId, ...], msgspec.Meta(min_length=1)]
    models_claim: _Text = "models"
    verbs_claim: _Text = "verbs"


class _IssuersFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    issuers: tuple[Issuer, ...]


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key with the only algorithm that it verifies, and whose it is."""

    issuer: Issuer
    algorithm: Algorithm
    public: Any


def issuers_path(home: Path) -> Path:
    """Return the place of the file of issuers."""
    return access_folder(home) / "issuers.yaml"


def key_path(home: Path, kid: str) -> Path:
    """Return the place of a public key."""
    return access_folder(home) / "issuers" / f"{kid}.pem"


def load_issuers(home: Path) -> dict[str, TrustedKey] | None:
    """Read issuers and keys, by key id; None when there is no file of issuers.

    Raises:
        SettingsInvalid: a field is unknown, missing or wrong, a key is missing, private or of another kind, an id is
            given twice, or others may change a file.
    """
    import yaml

    path = issuers_path(home)
    try:
        document = yaml.safe_load(read_guarded(path))
        issuers = msgspec.convert(document, type=_IssuersFile).issuers
    except FileNotFoundError:
        return None
    except msgspec.ValidationError as error:
        message = f"{path} is not a file of issuers: {error}."
        raise SettingsInvalid(message, path=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        # Where, but not what: something may have been pasted there that is nobody's business.
        mark = getattr(error, "problem_mark", None)
        message = f"{path} is not YAML{'' if mark is None else f', see line {mark.line + 1}'}."
        raise SettingsInvalid(message, path=str(path)) from None
    trusted: dict[str, TrustedKey] = {}
    for issuer in issuers:
        for kid in issuer.keys:
            if kid in trusted:
                message = f"{path} names the key {kid} twice; a key id belongs to one issuer."
                raise SettingsInvalid(message, path=str(path), key=kid)
            trusted[kid] = _trusted(issuer, key_path(home, kid))
    return trusted


def _trusted(issuer: Issuer, path: Path) -> TrustedKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    expected = "It must be the PEM of an Ed25519 or P-256 public key."
    try:
        public = load_pem_public_key(read_guarded(path))
    except FileNotFoundError:
        message = f"The key {path} of the issuer {issuer.issuer} is missing. {expected}"
        raise SettingsInvalid(message, path=str(path)) from None
    except (ValueError, UnsupportedAlgorithm):
        # Not a word of what was read: a private key may have been put there.
        message = f"The key {path} of the issuer {issuer.issuer} cannot be read. {expected}"
        raise SettingsInvalid(message, path=str(path)) from None
    if isinstance(public, Ed25519PublicKey):
        return TrustedKey(issuer, "EdDSA", public)
    if isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1):
        return TrustedKey(issuer, "ES256", public)
    message = f"The key {path} of the issuer {issuer.issuer} is of another kind. {expected}"
    raise SettingsInvalid(message, path=str(path))
