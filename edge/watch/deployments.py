"""The deployments table: where each camera hangs, in which time zone, how wrong its clock is.

A CSV with the columns of Camtrap DP's deployments.csv, and two of ours: `time_zone` (a name such as
Africa/Nairobi, or +03:00) and `clock_shift_seconds` (added to what the camera's clock said).
"""

from __future__ import annotations

import csv
import io
import math
import re
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path

from edge.errors import ConfigError
from edge.text import printable

_FIXED = re.compile(r"([+-])(\d\d):?(\d\d)")
_LONGEST_SHIFT = 100 * 366 * 86400.0  # seconds; a clock that fell back to 1970 is 56 years slow
_MISSING = frozenset({"", "NA", "NaN", "nan"})


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One camera at one place; None where the table does not say."""

    deployment_id: str  # the name of the camera's folder in the inbox
    location_id: str | None
    location_name: str | None
    latitude: float | None  # degrees, WGS 84
    longitude: float | None
    start: datetime | None
    end: datetime | None
    zone: tzinfo | None
    clock_shift_seconds: float

    def offset_minutes(self, local: datetime) -> int | None:
        """East of Greenwich, at this local time without a zone."""
        offset = None if self.zone is None else self.zone.utcoffset(local)
        return None if offset is None else round(offset / timedelta(minutes=1))

    def covers(self, local: datetime, offset_minutes: int | None) -> bool:
        """Whether the camera was out at that time; its table's own offset counts where none is."""
        return not any(
            bound is not None and sign * (_plain(bound, offset_minutes) - local).total_seconds() > 0
            for bound, sign in ((self.start, 1), (self.end, -1))
        )


def read_deployments(path: Path) -> dict[str, Deployment]:
    """By deploymentID; raises ConfigError naming line and column of what cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read the deployments {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a CSV in UTF-8; save it as one") from error
    reader = csv.DictReader(io.StringIO(text))
    if "deploymentID" not in (reader.fieldnames or ()):
        raise ConfigError(
            f"{path} has no column deploymentID (it has {', '.join(reader.fieldnames or ())}): "
            "give a Camtrap DP deployments.csv, whose deploymentIDs are the names of the cameras' "
            "folders in the inbox"
        )
    found: dict[str, Deployment] = {}
    for row in reader:
        cells = _Row(row, f"{path}, line {reader.line_num}")
        one = cells.deployment()
        if one.deployment_id in found:
            raise ConfigError(
                f"{cells.where}: deploymentID {printable(one.deployment_id)} is there twice"
            )
        found[one.deployment_id] = one
    return found


class _Row:
    def __init__(self, row: Mapping[str, str | None], where: str) -> None:
        self._row = row
        self.where = where

    def deployment(self) -> Deployment:
        deployment_id = self._text("deploymentID")
        if deployment_id is None:
            raise ConfigError(f"{self.where}: deploymentID is empty")
        shift = self._number("clock_shift_seconds", _LONGEST_SHIFT)
        return Deployment(
            deployment_id=deployment_id,
            location_id=self._text("locationID"),
            location_name=self._text("locationName"),
            latitude=self._number("latitude", 90.0),
            longitude=self._number("longitude", 180.0),
            start=self._moment("deploymentStart"),
            end=self._moment("deploymentEnd"),
            zone=self._zone("time_zone"),
            clock_shift_seconds=0.0 if shift is None else shift,
        )

    def _text(self, column: str) -> str | None:
        value = (self._row.get(column) or "").strip()
        return None if value in _MISSING else value

    def _number(self, column: str, most: float) -> float | None:
        text = self._text(column)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not -most <= value <= most:  # NaN is not
            raise self._wrong(column, text, f"a number from {-most:g} to {most:g}")
        return value

    def _moment(self, column: str) -> datetime | None:
        text = self._text(column)
        if text is None:
            return None
        try:
            return datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError as error:
            raise self._wrong(column, text, "a time such as 2026-05-01T06:30:00+03:00") from error

    def _zone(self, column: str) -> tzinfo | None:
        text = self._text(column)
        if text is None:
            return None
        fixed = _FIXED.fullmatch(text)
        if fixed is not None and int(fixed[2]) < 24 and int(fixed[3]) < 60:
            offset = timedelta(hours=int(fixed[2]), minutes=int(fixed[3]))
            return timezone(-offset if fixed[1] == "-" else offset)
        try:
            return zoneinfo.ZoneInfo(text)
        except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError) as error:
            wanted = "a time zone this system knows, such as Africa/Nairobi, or +03:00"
            raise self._wrong(column, text, wanted) from error

    def _wrong(self, column: str, text: str, wanted: str) -> ConfigError:
        return ConfigError(f"{self.where}: {column} is {printable(text)!r}, it must be {wanted}")


def _plain(bound: datetime, offset_minutes: int | None) -> datetime:
    """In the local time of that offset, without a zone."""
    if bound.tzinfo is not None and offset_minutes is not None:
        bound = bound.astimezone(timezone(timedelta(minutes=offset_minutes)))
    return bound.replace(tzinfo=None)
