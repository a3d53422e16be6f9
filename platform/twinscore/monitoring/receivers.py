"""Who is told of an alert, and how a retraining is asked for: parts of the key `monitor`; values only.

Secrets are never in the file: a key that ends in `_env` names the environment variable of the control that has it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, Literal, NoReturn

from twinscore.errors import SettingsInvalid

__all__ = ["NotifySpec", "RetrainSpec", "TicketsSpec"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_ADDRESS = re.compile(r"[^@\s<>,]+@[^@\s<>,]+")
_NEEDS: dict[str, tuple[str, ...]] = {
    "github": ("repository", "token_env"),
    "jira": ("url", "project", "token_env"),
    "slack": ("url_env",),
    "email": ("host", "sender", "to"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketsSpec:
    """A place where tickets are opened."""

    kind: Literal["sql", "file", "github", "jira", "webhook"] = "sql"
    name: str = ""
    """By which rules name it; empty is its kind."""
    folder: str = "tickets"
    """Of `file`; a relative path lies in the home."""
    url: str | None = None
    """Of `jira` and `webhook`; of `github` another API than that of github.com."""
    url_env: str | None = None
    """Of `webhook`, instead of `url`, where the address itself is a secret."""
    repository: str | None = None
    """Of `github`: `owner/name`."""
    project: str | None = None
    """Of `jira`: its key."""
    issue_type: str = "Task"
    """Of `jira`."""
    done: str | None = None
    """Of `jira`: the transition that closes; without it the first that leads to a status of the category done."""
    search: Literal["cloud", "server"] = "cloud"
    """Of `jira`: which of the two ways to search it has."""
    labels: tuple[str, ...] = ("twinscore",)
    """Of `github` and `jira`."""
    token_env: str | None = None
    """Variable with the token; of Jira in the cloud `email:token`, of `webhook` what calls are signed with."""
    private: bool = False
    """Whether plain HTTP and addresses that are not public may be called."""

    @property
    def called(self) -> str:
        """By what it is named."""
        return self.name or self.kind

    def __post_init__(self) -> None:
        if self.kind == "webhook" and (self.url is None) == (self.url_env is None):
            _refuse("tickets.url", "given for a webhook, or url_env", self.url)
        if self.repository is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repository):
            _refuse("tickets.repository", "owner/name", self.repository)
        if self.project is not None and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", self.project):
            _refuse("tickets.project", "the key of a project, such as OPS", self.project)
        _needed(self, "tickets")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifySpec:
    """Somebody who is told by `page`."""

    kind: Literal["slack", "email", "webhook"]
    name: str = ""
    """By which rules name it; empty is its kind."""
    severity: Literal["info", "warning", "critical"] = "info"
    """Least severity that is told."""
    url_env: str | None = None
    """Of `slack` and `webhook`: variable with the address."""
    token_env: str | None = None
    """Of `webhook`: variable with the secret that calls are signed with."""
    private: bool = False
    """Whether plain HTTP and addresses that are not public may be called."""
    host: str | None = None
    """Of `email`: the mail server."""
    port: int | None = None
    """Without it 587, with `tls: implicit` 465, with `tls: none` 25."""
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    sender: str | None = None
    to: tuple[str, ...] = ()
    user_env: str | None = None
    """Of `email`: variables with name and password, where the server asks for them."""
    password_env: str | None = None

    @property
    def called(self) -> str:
        """By what it is named."""
        return self.name or self.kind

    def __post_init__(self) -> None:
        if self.kind == "webhook" and self.url_env is None:
            _refuse("notify.url_env", "given for a webhook", self.url_env)
        for address in (*self.to, *([] if self.sender is None else [self.sender])):
            if not _ADDRESS.fullmatch(address):
                _refuse("notify.to", "addresses such as ops@example.org", address)
        if (self.user_env is None) != (self.password_env is None):
            _refuse("notify.password_env", "given with user_env, or neither", self.password_env)
        if self.user_env is not None and self.tls == "none" and not self.private:
            _refuse("notify.tls", "starttls or implicit where there is a password", self.tls)
        _needed(self, "notify")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainSpec:
    """What `retrain` submits."""

    spec: str
    """Spec of `jobs/train_model.py`, relative to the folder of jobs."""
    set: tuple[str, ...] = ()
    """`key=value` changes of the spec."""
    alias: str = "candidate"
    """What the new version is called; never an alias that the control follows."""
    jobs: str = "jobs"
    """Folder that the job is submitted with; relative to where the control was started."""

    def __post_init__(self) -> None:
        if self.alias in ("champion", "challenger", "shadow", "serving") or not self.alias:
            _refuse("retrain.alias", "an alias that makes nothing live, such as candidate", self.alias)
        for change in self.set:
            if not re.match(r"[\w.]+=", change) or re.match(r"(?:alias|model)=", change):
                _refuse("retrain.set", "key=value, and neither alias nor model", change)


def _needed(spec: Any, key: str) -> None:
    """Refuse a receiver that lacks what its kind needs, or names a variable that cannot be one."""
    for name in _NEEDS.get(spec.kind, ()):
        if not getattr(spec, name):
            _refuse(f"{key}.{name}", f"given for {spec.kind}", getattr(spec, name))
    for one in fields(spec):
        value = getattr(spec, one.name)
        if not one.name.endswith("_env") or value is None:
            continue
        if not _VARIABLE.fullmatch(value) or value.startswith("TWINSCORE_"):
            # A name of ours that is no setting would stop every command.
            _refuse(f"{key}.{one.name}", "the name of a variable that does not begin with TWINSCORE_", value)


def _refuse(name: str, expected: str, got: object) -> NoReturn:
    message = f"The option monitor.{name} must be {expected}, got {got!r}."
    raise SettingsInvalid(message, setting=f"monitor.{name}", key=f"monitor.{name}")
