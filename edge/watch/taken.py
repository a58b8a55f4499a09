"""When a medium was taken: what its camera wrote, put right by what is known of that camera."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from edge.decoding.decoder import Decoded
from edge.errors import ConfigError
from edge.intake.inbox import FoundFile
from edge.record.store_media import TimeSource
from edge.watch.deployments import Deployment

_PARTS = {"Y": r"\d{4}", "y": r"\d\d", "m": r"\d\d", "d": r"\d\d", "H": r"\d\d", "M": r"\d\d",
          "S": r"\d\d"}  # fmt: skip
_NEEDED = ("m", "d", "H", "M")


@dataclass(frozen=True, kw_only=True)
class Taken:
    captured_at: datetime  # local, without a zone; the clock's shift put right
    camera_time: datetime | None  # as it was written; None: only the file's time is known
    time_source: TimeSource
    utc_offset_minutes: int | None  # of captured_at
    in_deployment: bool  # not outside of the time that the table gives


class NamePattern:
    """Dates in file names, such as `%Y%m%d%H%M%S`, anywhere in the name."""

    def __init__(self, pattern: str) -> None:
        """Raises ConfigError where the pattern does not give a time."""
        self._format = pattern
        parts = re.split(r"%(.)", pattern)
        kinds = parts[1::2]
        unknown = [one for one in kinds if one not in _PARTS]
        years = sum(one in "Yy" for one in kinds)
        if unknown or len(kinds) != len(set(kinds)) or years != 1 or not {*_NEEDED} <= {*kinds}:
            raise ConfigError(
                f"time_from_name = {pattern!r} must have each of %Y (or %y), %m, %d, %H and %M "
                "once, %S if the names have seconds, and nothing else after a %"
            )
        pieces = [
            re.escape(one) if number % 2 == 0 else _PARTS[one] for number, one in enumerate(parts)
        ]
        self._search = re.compile("".join(pieces), re.ASCII).search

    def read(self, name: str) -> datetime | None:
        found = self._search(name)
        if found is None:
            return None
        try:
            return datetime.strptime(found[0], self._format)
        except ValueError:  # month 13
            return None


@dataclass(frozen=True, kw_only=True)
class Times:
    """What is known beforehand about the cameras' clocks."""

    deployments: Mapping[str, Deployment]
    name_pattern: NamePattern | None  # None: dates in names are not read

    def taken(self, decoded: Decoded, file: FoundFile) -> Taken:
        """The camera's own time comes first, then the file's name where it is read, then its time.

        The time zone of the table counts where the camera wrote none.
        """
        camera_time, source = self._camera_time(decoded, file)
        deployment = self.deployments.get(file.deployment_id)
        captured_at = camera_time or datetime.fromtimestamp(file.mtime_ns / 1e9)
        if deployment is not None and camera_time is not None:
            captured_at = _shifted(camera_time, deployment.clock_shift_seconds)
        offset = decoded.facts.utc_offset_minutes
        if offset is None and deployment is not None and camera_time is not None:
            offset = deployment.offset_minutes(captured_at)
        is_doubted = camera_time is not None and deployment is not None
        return Taken(
            captured_at=captured_at,
            camera_time=camera_time,
            time_source=source,
            utc_offset_minutes=offset,
            in_deployment=not is_doubted
            or deployment is None
            or deployment.covers(captured_at, offset),
        )

    def _camera_time(self, decoded: Decoded, file: FoundFile) -> tuple[datetime | None, TimeSource]:
        if decoded.facts.captured_at is not None:
            return decoded.facts.captured_at, decoded.time_source or "mtime"
        if self.name_pattern is not None:
            named = self.name_pattern.read(file.relative.rpartition("/")[2])
            if named is not None:
                return named, "name"
        return None, "mtime"


def _shifted(moment: datetime, seconds: float) -> datetime:
    """Left as it is where no calendar has the shifted one."""
    try:
        shifted = moment + timedelta(seconds=seconds)
    except OverflowError:
        return moment
    return shifted if 1900 <= shifted.year < 9999 else moment
