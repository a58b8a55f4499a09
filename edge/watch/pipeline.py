"""What every batch goes through, and a medium on its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge.config import After
from edge.detect import People
from edge.detection.boxes_file import BoxesFile
from edge.encoder import Encoder
from edge.identity.sightings import Judge
from edge.intake.inbox import FoundFile, Inbox
from edge.operation.clock import Clock
from edge.operation.health import Health
from edge.record.state import StateFolder
from edge.record.store import Store
from edge.watch.embedding import EmbeddingDecoders
from edge.watch.finder import Finder
from edge.watch.taken import Times


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    inbox: Inbox
    state: StateFolder
    store: Store
    encoder: Encoder
    decoders: EmbeddingDecoders
    judge: Judge
    boxes: BoxesFile | None
    finder: Finder | None  # None, as the boxes: the whole frame is one animal
    people: People
    times: Times
    after: After
    clock: Clock
    health: Health
    beat: Callable[[], None]  # called whenever something has moved on


@dataclass(frozen=True, kw_only=True)
class Medium:
    """Bytes, known by their sha256."""

    sha256: str
    data: bytes
    files: list[FoundFile]  # the names it has in this batch
