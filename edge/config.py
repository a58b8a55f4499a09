"""The settings of edge-watch: one TOML file and a few flags become one frozen object."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from edge.detect import People
from edge.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_FILE = Path("/etc/edge-watch/config.toml")

_HIGHEST = {
    "settle_seconds": 3600,
    "rescan_seconds": 86400,
    "event_gap_seconds": 86400,
    "min_confidence": 1,
    "max_wait_seconds": 30 * 86400,
    "num_threads": 1024,
    "num_decoders": 64,
    "archive_days": 36500,
    "archive_min_free_mb": 10**9,
}
_WHOLE = frozenset({"num_threads", "num_decoders", "archive_days", "archive_min_free_mb"})


class After(str, Enum):
    """What happens to a picture's file once it is recorded for good."""

    keep = "keep"
    move = "move"
    delete = "delete"


class LogFormat(str, Enum):
    text = "text"
    json = "json"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The keys of the TOML file are these fields."""

    model: Path | None = None  # None: STATE/model.onnx
    boxes: Path | None = None  # boxes from elsewhere, as JSON or CSV
    detector: Path | None = None  # ONNX, or MOTION; neither: the whole frame is the animal
    people: People = People.drop
    deployments: Path | None = None  # places, time zones and clock shifts by camera, as CSV
    time_from_name: str = ""  # a pattern of dates in file names; "": they are never read
    after: After = After.keep
    settle_seconds: float = 2.0  # a file unchanged for so long is taken for whole
    max_wait_seconds: float = 86400.0  # a file that stays incomplete is given up after so long
    rescan_seconds: float = 60.0  # the inbox is searched at least so often
    event_gap_seconds: float = 60.0  # a longer pause at one camera begins a new event
    min_confidence: float = 0.2  # boxes the detector is less sure of are left out
    provider: str = "auto"  # what computes the model: auto, cpu, cuda or what onnxruntime lists
    num_threads: int = 0  # crops embedded at the same time; 0: as many as there are cores
    num_decoders: int = 0  # processes that decode; 0: as many as there are cores
    archive_days: int = 0  # moved pictures are deleted after so many days; 0: never
    archive_min_free_mb: int = 0  # the oldest of them go while less is free; 0: never
    log: LogFormat = LogFormat.text
    listen: str = ""  # health and metrics: "127.0.0.1:PORT" or "unix:PATH"; "": nowhere


MOTION = Path("motion")  # as a detector: what moves, without any file
_FILES = frozenset({"model", "boxes", "detector", "deployments"})
_CHOICES: dict[str, type[Enum]] = {"after": After, "log": LogFormat, "people": People}
_TEXTS = {
    "provider": 'the word "auto", "cpu", "cuda" or another provider of onnxruntime',
    "listen": 'an address, as "127.0.0.1:9464",',
    "time_from_name": 'a pattern, as "%Y%m%d%H%M%S",',
}


def read_settings(file: Path | None) -> Settings:
    """The settings of a TOML file; of the default file or none, where no file is given."""
    if file is None:
        if not DEFAULT_FILE.is_file():
            return Settings()
        file = DEFAULT_FILE
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read the settings {file}: {error.strerror}; give another with --config FILE"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{file} is not a TOML file: {error}") from error
    return _settings(content, file)


def override(settings: Settings, **flags: Any) -> Settings:
    """The settings with every flag that was given (is not None) in its place."""
    given = {name: value for name, value in flags.items() if value is not None}
    return dataclasses.replace(settings, **given)


def _settings(content: dict[str, Any], file: Path) -> Settings:
    fields = {field.name: field.default for field in dataclasses.fields(Settings)}
    unknown = sorted(content.keys() - fields.keys())
    if unknown:
        raise ConfigError(
            f"{file} has the unknown key {', '.join(unknown)}; the keys are "
            f"{', '.join(sorted(fields))}"
        )
    return Settings(**{key: _value(key, value, file) for key, value in content.items()})


def _value(key: str, value: Any, file: Path) -> Any:
    if key in _FILES:
        if not isinstance(value, str):
            raise _wrong(key, value, "a file's name in quotes", file)
        if key == "detector" and value == str(MOTION):
            return MOTION
        return file.parent / value  # relative to the settings, not to where one happens to stand
    if key in _CHOICES:
        words = [one.value for one in _CHOICES[key]]
        if value not in words:
            raise _wrong(key, value, "one of " + ", ".join(f'"{one}"' for one in words), file)
        return _CHOICES[key](value)
    if key in _TEXTS:
        if not isinstance(value, str):
            raise _wrong(key, value, f"{_TEXTS[key]} in quotes", file)
        return value
    whole, highest = key in _WHOLE, _HIGHEST[key]
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not fits or not 0 <= value <= highest:  # NaN is neither
        kind = "whole number" if whole else "number"
        raise _wrong(key, value, f"a {kind} from 0 to {highest}", file)
    return value if whole else float(value)


def _wrong(key: str, value: Any, wanted: str, file: Path) -> ConfigError:
    return ConfigError(f"{file}: {key} = {value!r} must be {wanted}")
