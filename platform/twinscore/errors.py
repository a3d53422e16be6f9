"""Every error twinscore raises on purpose; knows nothing of where it is shown.

    TwinscoreError
    |- SettingsInvalid            a setting is unknown, missing or out of range
    |- ContractError
    |  |- ContractInvalid         a contract cannot be loaded or compiled
    |  `- ContractBroken          rows or a run broke the contract
    |- BundleError
    |  |- BundleInvalid           a file of a bundle is missing, changed or not allowed
    |  `- ExpressionInvalid       a derived feature is not in the expression language
    |- InputError
    |  |- FileUnreadable          a file is missing, empty, corrupt or not Parquet
    |  |- SchemaMismatch          a column is missing or has another type
    |  |- InputEmpty              there is nothing to score or train on
    |  `- RunRefused              too many rows were refused, or a run-level rule failed
    |- ScoringError
    |  |- ModelNotFound           no such model, version or alias
    |  |- ModelNotReady           the model is known but not served or not loaded
    |  `- PredictFailed           the booster or an endpoint failed to answer
    |- StoreError
    |  |- StoreUnavailable        a registry, database or file system does not answer
    |  |  `- AuditUnavailable     the audit log cannot be written, so nothing may be answered
    |  |- StoreConflict           somebody else wrote first
    |  `- AuditDamaged            a part of the audit log is not what was written
    |- StackError
    |  |- PortTaken               another process holds a port we need
    |  `- StackBroken             an earlier stack is half up
    |- AccessDenied
    |  |- Unauthenticated         no key and no token, or one that is not accepted
    |  `- Forbidden               the key or token does not cover this model or verb
    `- RequestError
       |- RequestMalformed        the body is not the JSON we accept
       |- RequestTooLarge         too many bytes, rows, characters or levels
       `- MediaTypeUnsupported    the content type is not one we read

A message comes first and is the whole first argument, so every error survives
pickling on its way through Ray; facts for programs are keyword fields.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AccessDenied",
    "AuditDamaged",
    "AuditUnavailable",
    "BundleError",
    "BundleInvalid",
    "ContractBroken",
    "ContractError",
    "ContractInvalid",
    "ExpressionInvalid",
    "FileUnreadable",
    "Forbidden",
    "InputEmpty",
    "InputError",
    "MediaTypeUnsupported",
    "ModelNotFound",
    "ModelNotReady",
    "PortTaken",
    "PredictFailed",
    "RequestError",
    "RequestMalformed",
    "RequestTooLarge",
    "RunRefused",
    "SchemaMismatch",
    "ScoringError",
    "SettingsInvalid",
    "StackBroken",
    "StackError",
    "StoreConflict",
    "StoreError",
    "StoreUnavailable",
    "TwinscoreError",
    "Unauthenticated",
    "near",
]


class TwinscoreError(Exception):
    """Base of every error raised on purpose.

    Args:
        message: one sentence that names the thing, what was expected and what to do.
        fields: facts for programs, kept in `fields` and picklable.
    """

    code: ClassVar[str] = "twinscore_error"

    def __init__(self, message: str, /, **fields: Any) -> None:
        super().__init__(message)
        self.fields = fields

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0])


class SettingsInvalid(TwinscoreError):
    """A setting is unknown, missing or out of range."""

    code = "settings_invalid"


class ContractError(TwinscoreError):
    """Something is wrong with a contract, or with data held against it."""

    code = "contract_error"


class ContractInvalid(ContractError):
    """A contract cannot be loaded or compiled."""

    code = "contract_invalid"


class ContractBroken(ContractError):
    """Rows or a run broke the contract."""

    code = "contract_broken"


class BundleError(TwinscoreError):
    """Something is wrong with a bundle."""

    code = "bundle_error"


class BundleInvalid(BundleError):
    """A file of a bundle is missing, changed or not allowed."""

    code = "bundle_invalid"


class ExpressionInvalid(BundleError):
    """A derived feature is not in the expression language."""

    code = "expression_invalid"


class InputError(TwinscoreError):
    """Something is wrong with the data handed in."""

    code = "input_error"


class FileUnreadable(InputError):
    """A file is missing, empty, corrupt or not Parquet."""

    code = "file_unreadable"


class SchemaMismatch(InputError):
    """A column is missing or has another type than the contract says."""

    code = "schema_mismatch"


class InputEmpty(InputError):
    """There is nothing to score or to train on."""

    code = "input_empty"


class RunRefused(InputError):
    """A batch run broke its limits before anything became visible."""

    code = "run_refused"


class ScoringError(TwinscoreError):
    """A model cannot be found, loaded or asked."""

    code = "scoring_error"


class ModelNotFound(ScoringError):
    """There is no such model, version or alias."""

    code = "model_not_found"


class ModelNotReady(ScoringError):
    """The model is known but not served or not loaded."""

    code = "model_not_ready"


class PredictFailed(ScoringError):
    """The booster or an endpoint failed to answer."""

    code = "predict_failed"


class StoreError(TwinscoreError):
    """A store we depend on failed."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """A registry, database or file system does not answer."""

    code = "store_unavailable"


class AuditUnavailable(StoreUnavailable):
    """The audit log cannot be written, so nothing may be answered."""

    code = "audit_unavailable"


class StoreConflict(StoreError):
    """Somebody else wrote first."""

    code = "store_conflict"


class AuditDamaged(StoreError):
    """A part of the audit log is not what was written."""

    code = "audit_damaged"


class StackError(TwinscoreError):
    """The local stack cannot be started, found or stopped."""

    code = "stack_error"


class PortTaken(StackError):
    """Another process holds a port we need."""

    code = "port_taken"


class StackBroken(StackError):
    """An earlier stack is half up."""

    code = "stack_broken"


class AccessDenied(TwinscoreError):
    """The caller may not have what was asked for."""

    code = "access_denied"


class Unauthenticated(AccessDenied):
    """There is no key and no token, or one that is not accepted."""

    code = "unauthenticated"


class Forbidden(AccessDenied):
    """The key or token does not cover this model or verb."""

    code = "forbidden"


class RequestError(TwinscoreError):
    """A request cannot be read."""

    code = "request_error"


class RequestMalformed(RequestError):
    """The body is not the JSON we accept."""

    code = "bad_json"


class RequestTooLarge(RequestError):
    """Too many bytes, rows, characters or levels."""

    code = "too_large"


class MediaTypeUnsupported(RequestError):
    """The content type is not one we read."""

    code = "unsupported_media_type"


def near(name: str, known: Iterable[str]) -> str:
    """Return a sentence that offers the known names closest to `name`.

    >>> near("incom", ["income", "debt"])
    "Did you mean 'income'?"
    >>> near("x", ["income", "debt"])
    'Known: debt, income.'
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=3)
    if close:
        return f"Did you mean {' or '.join(repr(item) for item in close)}?"
    if not names:
        return "None is known."
    shown = ", ".join(names[:10])
    return f"Known: {shown}{', ...' if len(names) > 10 else ''}."
