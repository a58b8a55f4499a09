"""JSON into frozen dataclasses: every field by name and type, none missing, none unknown."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from edge.errors import ModelError
from edge.text import printable

_T = TypeVar("_T")
_LONGEST_SHOWN = 60  # characters of a wrong value in a message


def parse(text: str) -> Any:
    """The JSON value; raises ModelError for what JSON does not know, and for a key given twice."""
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"the model's manifest is not JSON ({error}); copy the file again"
        ) from error


def build(kind: type[_T], content: Any, where: str) -> _T:
    """A dataclass from parsed JSON; raises ModelError naming the key that does not fit."""
    if not isinstance(content, Mapping):
        raise ModelError(f"{where} must be a JSON object, not {type(content).__name__}")
    hints = typing.get_type_hints(kind)
    missing = sorted(hints.keys() - content.keys())
    unknown = sorted(content.keys() - hints.keys())
    if missing or unknown:
        faults = [f"lacks {_keys(missing)}"] if missing else []
        faults += [f"has {_keys(unknown)} that this program does not know"] if unknown else []
        raise ModelError(
            f"the model's {where} {' and '.join(faults)}; export it again with the release of "
            "fancl on this device"
        )
    return kind(**{name: _value(hints[name], content[name], f"{where}.{name}") for name in hints})


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key is there twice")
    return content


def _keys(names: list[str]) -> str:
    shown = ", ".join(printable(one) for one in names)
    return f"the {'key' if len(names) == 1 else 'keys'} {shown}"


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _one_of(typing.get_args(hint), value, where)
    if origin is Literal:
        return _checked(value, value in typing.get_args(hint), hint, where)
    if origin is dict:
        _checked(value, isinstance(value, dict), hint, where)
        inner = typing.get_args(hint)[1]
        return {key: _value(inner, one, f"{where}.{key}") for key, one in value.items()}
    if origin is list:
        _checked(value, isinstance(value, list), hint, where)
        return [_value(typing.get_args(hint)[0], one, where) for one in value]
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    if hint is float:
        return float(_checked(value, _is_number(value), hint, where))
    if hint is type(None):
        return _checked(value, value is None, hint, where)
    return _checked(value, type(value) is hint, hint, where)


def _one_of(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in hints:
        return None
    return _value(next(hint for hint in hints if hint is not type(None)), value, where)


def _is_number(value: Any) -> bool:
    """A finite number that a float can hold."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**53
    return isinstance(value, float) and math.isfinite(value)


def _checked(value: Any, fits: bool, hint: Any, where: str) -> Any:
    if not fits:
        shown = printable(repr(value))
        if len(shown) > _LONGEST_SHOWN:
            shown = f"{shown[:_LONGEST_SHOWN]}..."
        expected = hint.__name__ if isinstance(hint, type) else hint
        raise ModelError(
            f"the model's {printable(where)} is {shown}, which is not {expected}; export it again"
        )
    return value
