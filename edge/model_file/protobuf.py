"""A reader of protobuf's wire format, enough to walk an ONNX file without the onnx package.

Stricter than protobuf: no groups, no field number 0, no field larger than what holds it. Does not
know what the fields of a message mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from edge.errors import ModelError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED_SIZE = {FIXED64: 8, FIXED32: 4}
_NOT_ONNX = "this is not an ONNX file; give the .onnx that fancl-export wrote"
_CUT = "this is not a whole ONNX file; copy it again"


class Field(NamedTuple):
    """One field of a message. A tuple, as a large model has a hundred thousand of them."""

    number: int
    wire_type: int
    value: int  # of a varint, else 0
    payload: memoryview  # of the other kinds, else empty
    stored: memoryview  # tag and all


@dataclass(kw_only=True)
class Budget:
    """How many fields a walk may still meet: a hostile file holds a billion empty ones."""

    fields_left: int = 1_000_000


def fields(message: bytes | memoryview, budget: Budget) -> Iterator[Field]:
    """The fields of a message in stored order; raises ModelError where it is no message."""
    view = memoryview(message)
    position = 0
    try:
        while position < len(view):
            budget.fields_left -= 1
            if budget.fields_left < 0:
                raise ModelError("the model consists of far too many pieces; export it again")
            field, position = _read(view, position)
            yield field
    except IndexError as error:
        raise ModelError(_CUT) from error


def text(payload: memoryview) -> str:
    return bytes(payload).decode("utf-8", "replace")


def _read(view: memoryview, start: int) -> tuple[Field, int]:
    tag, position = _varint(view, start)
    number, wire_type = tag >> 3, tag & 7
    if number == 0 or tag >= 1 << 32:
        raise ModelError(_NOT_ONNX)
    value, size = 0, 0
    if wire_type == VARINT:
        value, position = _varint(view, position)
    elif wire_type == BYTES:
        size, position = _varint(view, position)
    elif wire_type in _FIXED_SIZE:
        size = _FIXED_SIZE[wire_type]
    else:
        raise ModelError(_NOT_ONNX)
    end = position + size
    if end > len(view):
        raise IndexError
    return Field(number, wire_type, value, view[position:end], view[start:end]), end


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ModelError(_NOT_ONNX)
