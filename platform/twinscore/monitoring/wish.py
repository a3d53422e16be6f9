"""What a rule may ask for under `do`, and the options of each action; read strictly, pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from twinscore.errors import SettingsInvalid, near
from twinscore.monitoring.order import ACTIONS, Action
from twinscore.monitoring.quantity import seconds_of, show_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OPTIONS", "Option", "Wish", "read_wish"]


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an action."""

    kind: Literal["time", "count", "truth", "text", "texts", "choice"]
    default: Any
    says: str
    choices: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """What its value must be, for people."""
        return {
            "time": "a time such as 7d", "count": "a whole number from 1", "truth": "true or false",
            "text": "text", "texts": "a list of names", "choice": f"one of {', '.join(self.choices)}",
        }[self.kind]  # fmt: skip


_TO = Option("texts", (), "names of receivers; none means all that are set up")
OPTIONS: dict[Action, dict[str, Option]] = {
    "ticket": {"to": _TO, "labels": Option("texts", (), "labels of the ticket, where the tracker has them")},
    "hold": {
        "expires": Option("time", 7 * 86_400.0, "after which automated rollouts go on whatever happened"),
        "release": Option(
            "choice", "by_person", "who ends the hold when the incident is over", ("by_person", "on_recovery")
        ),
    },
    "scale": {},
    "degrade": {},
    "audit": {
        "cases": Option("count", 50, "answered rows that are drawn from the groups in question"),
        "blind": Option("truth", default=True, says="whether people see what the model said only after their own say"),
    },
    "retrain": {"spec": Option("text", "", "spec of the training job; empty means that of monitor.retrain")},
    "page": {"to": _TO},
}
"""The options of each action by name; each action has `after` beside them."""
_AFTER = Option("time", 0.0, "how long the incident must have gone on first")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One action that a rule asks for."""

    action: Action
    after_s: float = 0.0
    """How long the incident must have gone on before it is done; 0 is at once."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """JSON values by the option's name, defaults included; times are in seconds, under the name with `_s`."""

    def to_document(self) -> str | dict[str, Any]:
        """Return it as it is written in a file, without defaults."""
        said: dict[str, Any] = {"after": show_seconds(self.after_s)} if self.after_s else {}
        for name, option in OPTIONS[self.action].items():
            default = list(option.default) if option.kind == "texts" else option.default
            value = self.options.get(_kept_as(name, option), default)
            if value != default:
                said[name] = show_seconds(value) if option.kind == "time" else value
        return {self.action: said} if said else self.action


def read_wish(document: object, key: str) -> Wish:
    """Return what one entry of `do` asks for: the name of an action, or `{hold: {expires: 7d}}`.

    Raises:
        SettingsInvalid: the action or an option is unknown, or a value is of the wrong kind; `key` names where.
    """
    said: object = {}
    if isinstance(document, dict) and len(document) == 1:
        ((document, said),) = document.items()
    if document not in ACTIONS:
        hint = near(document, ACTIONS) if isinstance(document, str) else f"Known: {', '.join(ACTIONS)}."
        _refuse(key, "name an action, such as ticket or {hold: {expires: 7d}}", document, hint)
    action: Action = document
    said = {} if said is None else said
    if not isinstance(said, dict):
        _refuse(f"{key}.{action}", "have its options as a mapping", said)
    known = {"after": _AFTER, **OPTIONS[action]}
    for name in said:
        if name not in known:
            _refuse(f"{key}.{action}", f"have options that {action} knows", name, near(str(name), known))
    options = {
        _kept_as(name, option): _read(option, said.get(name, option.default), f"{key}.{action}.{name}", name in said)
        for name, option in known.items()
    }
    return Wish(action=action, after_s=options.pop("after_s"), options=options)


def _kept_as(name: str, option: Option) -> str:
    return f"{name}_s" if option.kind == "time" else name


def _read(option: Option, value: Any, key: str, given: bool) -> Any:
    if not given:
        return list(value) if option.kind == "texts" else value
    if option.kind == "time":
        seconds = seconds_of(value, key)
        if not seconds and key.endswith(".expires"):
            _refuse(key, "be longer than nothing", value)
        return seconds
    if option.kind == "texts":
        items = list(value) if isinstance(value, list | tuple) else [value]
        if not all(isinstance(one, str) and one.strip() for one in items):
            _refuse(key, f"be {option.expected}", value)
        return items
    fits = {
        "count": isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1_000_000,
        "truth": isinstance(value, bool),
        "text": isinstance(value, str),
        "choice": isinstance(value, str) and value in option.choices,
    }[option.kind]
    if not fits:
        _refuse(key, f"be {option.expected}", value, near(str(value), option.choices) if option.choices else "")
    return value


def _refuse(key: str, expected: str, got: object, hint: str = "") -> NoReturn:
    message = f"An action of a rule must {expected}, got {str(got)[:80]!r}. {hint}".rstrip()
    raise SettingsInvalid(message, key=key)
