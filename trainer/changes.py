"""Settings as a user sees them: listed with their meaning, changed by `--set group.name=value`."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from edge.errors import InputError
from trainer.clip.settings import IndivaidConfig
from trainer.settings import FanclConfig

Config = TypeVar("Config", FanclConfig, IndivaidConfig)
_WORDS = {"on": True, "off": False}
_FLAGS = {
    FanclConfig: {
        "schedule.epochs": "--epochs",
        "schedule.iterations": "--iterations",
        "schedule.learning_rate": "--learning-rate",
    },
    IndivaidConfig: {
        "schedule.epochs": "stage1.epochs and stage2.epochs",
        "prompt.noun": "--noun",
    },
}


@dataclass(frozen=True, kw_only=True)
class Documented:
    """One setting as a table shows it."""

    key: str  # group.name
    choices: str
    about: str
    source: str


def documented(of: type[FanclConfig] | type[IndivaidConfig] = FanclConfig) -> Iterator[Documented]:
    """Every setting in order, for help and docs."""
    for group, kind in _groups(of).items():
        hints = get_type_hints(kind)
        for field in dataclasses.fields(kind):
            key = f"{group}.{field.name}"
            yield Documented(
                key=key,
                choices=_FLAGS[of].get(key, _choices(hints[field.name], key)),
                about=field.metadata["about"],
                source=field.metadata["source"],
            )


def with_changes(config: Config, assignments: list[str]) -> Config:
    """The configuration with `group.name=value` applied one after another.

    Raises InputError for an unknown name or a value of the wrong kind.
    """
    groups, flags = _groups(type(config)), _FLAGS[type(config)]
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        group, _, name = key.strip().partition(".")
        kind = groups.get(group)
        hints = get_type_hints(kind) if kind else {}
        if not equals or name not in hints:
            raise InputError(_unknown(assignment, group, groups))
        if key.strip() in flags:
            raise InputError(f"--set {assignment}: use {flags[key.strip()]} for it")
        value = _parse(text.strip(), hints[name], key.strip())
        changed = dataclasses.replace(getattr(config, group), **{name: value})
        config = dataclasses.replace(config, **{group: changed})
    return config


def _groups(of: type) -> dict[str, Any]:
    hints = get_type_hints(of)
    return {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}


def _unknown(assignment: str, group: str, groups: dict[str, Any]) -> str:
    kind = groups.get(group)
    if kind is None:
        known = ", ".join(groups)
        return f"--set {assignment}: write group.name=value; the groups are {known}"
    known = ", ".join(f"{group}.{field.name}" for field in dataclasses.fields(kind))
    return f"--set {assignment}: write group.name=value; there are {known}"


def _parse(text: str, hint: Any, key: str) -> Any:
    options = _options(hint)
    if type(None) in options and text == _absent(key):
        return None
    kind = options[0]
    if get_origin(kind) is Literal:
        if text in get_args(kind):
            return text
    elif kind is bool:
        if text in _WORDS:
            return _WORDS[text]
    else:
        try:
            return kind(text)
        except ValueError:
            pass  # said below, with the choices
    raise InputError(f"--set {key}={text}: the value must be {_choices(hint, key)}")


def _options(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) in (types.UnionType, typing.Union):
        return get_args(hint)
    return (hint,)


def _absent(key: str) -> str:
    """What stands for no value of one's own."""
    return "auto" if key == "clustering.eps" else "none"


def _choices(hint: Any, key: str) -> str:
    names = {int: "a whole number", float: "a number", str: "a name", type(None): _absent(key)}
    parts = []
    for kind in _options(hint):
        if get_origin(kind) is Literal:
            parts += list(get_args(kind))
        else:
            parts.append("on or off" if kind is bool else names[kind])
    return f"{', '.join(parts[:-1])} or {parts[-1]}" if len(parts) > 1 else parts[0]
