"""Every error this project raises on purpose.

    FanclError
    ├── InputError        what the user gave cannot be worked with: a folder, a table, a flag
    ├── ConfigError       a settings file with a key or value we do not know
    ├── MediaError        one picture cannot be used (with a machine-readable reason: a row)
    ├── ModelError        a model file is absent, broken, of another format, or fails its own check
    ├── WeightsError      backbone weights are absent or do not fit
    ├── GalleryError      the gallery cannot serve this: another encoder, unknown animal
    ├── StateError        the state folder is in use, unreadable or damaged
    └── InstallError      the installed packages contradict each other

A message says what is wrong, where, and what to do next. Commands print it and exit with 1.
"""

from __future__ import annotations

from typing import Literal

MediaReason = Literal[
    "empty",  # zero bytes
    "type",  # not a JPEG or PNG by content
    "too-large",  # more bytes or pixels than allowed
    "truncated",  # the end is missing
    "undecodable",  # complete by its markers, yet no decoder gives pixels
    "not-a-file",  # a link, a pipe, a device, a folder with a picture's name
    "unreadable",  # the file system refuses to read it
    "crashed",  # reading it ended the program several times
    "timeout",  # reading it took longer than allowed
    "memory",  # reading it took more memory than allowed
]
StateKind = Literal[
    "full",  # no space or no more files allowed
    "read-only",  # mounted so, or this user may not write
    "io",  # the disk failed: after a failed fsync nothing unsynced may be believed
    "damaged",  # the database is broken
    "in-use",  # another program holds it
    "other",
]


class FanclError(Exception):
    """Base of all errors raised on purpose; its text is a sentence for the user."""


class InputError(FanclError):
    pass


class ConfigError(FanclError):
    pass


class ModelError(FanclError):
    pass


class WeightsError(FanclError):
    pass


class GalleryError(FanclError):
    pass


class StateError(FanclError):
    """The state folder does not work; `kind` says whether waiting may help."""

    def __init__(self, kind: StateKind, message: str) -> None:
        super().__init__(message)
        self.kind: StateKind = kind


class InstallError(FanclError):
    pass


class MediaError(FanclError):
    """One picture that cannot be used; `reason` goes into the record."""

    def __init__(self, reason: MediaReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: MediaReason = reason
        self.detail = detail
