"""One line of a gallery file: JSON from outside into typed values, each checked."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edge.errors import GalleryError, InputError
from edge.gallery.gallery_state import Exemplar, Individual, Status
from edge.gallery.lookup import checked_name
from edge.pictures import Flank
from edge.text import printable

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_TEXT = 4096  # characters; an embedding has its own length
_MAX_EMBEDDING_TEXT = 64 * 1024
_STATUS: dict[str, Status] = {"living": "living", "retired": "retired", "merged": "merged"}
_FLANKS: dict[str, Flank] = {"left": "left", "right": "right", "unknown": "unknown"}


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The keys of one line; every method raises InputError naming the place."""

    content: dict[str, Any]
    where: str

    @classmethod
    def parse(cls, line: bytes, where: str) -> Fields:
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} is not JSON; export the gallery again") from error
        if not isinstance(content, dict):
            raise InputError(f"{where} is no JSON object; export the gallery again")
        return cls(content=content, where=where)

    def wrong(self, key: str, expected: str) -> InputError:
        shown = printable(repr(self.content.get(key)))[:60]
        return InputError(
            f"{self.where}: {key} is {shown}, not {expected}; export the gallery again"
        )

    def text(self, key: str) -> str:
        value = self.content.get(key)
        longest = _MAX_EMBEDDING_TEXT if key == "embedding" else _MAX_TEXT
        if not isinstance(value, str) or len(value) > longest:
            raise self.wrong(key, "a text")
        return value

    def optional_text(self, key: str) -> str | None:
        return None if self.content.get(key) is None else printable(self.text(key))

    def number(self, key: str) -> int:
        value = self.content.get(key)
        if type(value) is not int or not 0 <= value < 2**53:
            raise self.wrong(key, "a whole number")
        return value

    def flag(self, key: str) -> bool:
        value = self.content.get(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def id(self, key: str) -> str:
        return self._like(key, _ID, "an id")

    def optional_id(self, key: str) -> str | None:
        return None if self.content.get(key) is None else self.id(key)

    def digest(self, key: str) -> str:
        return self._like(key, _DIGEST, "a sha256")

    def moment(self, key: str) -> str:
        value = self.text(key)
        try:
            datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError as error:
            raise self.wrong(key, "a time") from error
        return value

    def box(self, key: str) -> tuple[float, float, float, float]:
        value = self.content.get(key)
        if not (
            isinstance(value, list)
            and len(value) == 4
            and all(type(one) in (int, float) and math.isfinite(one) for one in value)
        ):
            raise self.wrong(key, "four numbers")
        x, y, width, height = (float(one) for one in value)
        return (x, y, width, height)

    def _like(self, key: str, form: re.Pattern[str], expected: str) -> str:
        value = self.text(key)
        if not form.fullmatch(value):
            raise self.wrong(key, expected)
        return value


def individual_of(row: Fields) -> Individual:
    status = row.text("status")
    merged_into = row.optional_id("merged_into")
    if status not in _STATUS or (status == "merged") != (merged_into is not None):
        raise row.wrong("status", "living, retired or merged")
    try:
        name = checked_name(row.text("name"))
    except GalleryError as error:
        raise InputError(f"{row.where}: {error}") from error
    return Individual(
        individual_id=row.id("individual_id"),
        name=name,
        provisional=row.flag("provisional"),
        status=_STATUS[status],
        merged_into=merged_into,
        created_at=row.moment("created_at"),
    )


def picture_of(row: Fields) -> Exemplar:
    flank = row.text("flank")
    if flank not in _FLANKS:
        raise row.wrong("flank", "left, right or unknown")
    return Exemplar(
        exemplar_id=row.id("exemplar_id"),
        individual_id=row.id("individual_id"),
        sha256=row.digest("sha256"),
        display=printable(row.text("display")),
        box=row.box("box"),
        flank=_FLANKS[flank],
        encounter=row.optional_text("encounter"),
        captured_at=None if row.content.get("captured_at") is None else row.moment("captured_at"),
        crop=row.digest("crop"),
        observation_id=None,  # a sighting of another device
        created_at=row.moment("created_at"),
    )
