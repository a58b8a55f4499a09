"""What a scan leaves to do: new files, those that a crash interrupted, those to put away."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from edge.errors import MediaError, MediaReason
from edge.intake.inbox import FoundFile, Scan
from edge.record import store_media
from edge.record.store_media import MAX_CLAIMS, KnownFile
from edge.watch.batch import dispose_files, put_aside
from edge.watch.pipeline import Pipeline


@dataclass(frozen=True, kw_only=True)
class Work:
    fresh: list[FoundFile]
    retry: list[FoundFile]  # the program ended while it had them in hand: one at a time

    def __len__(self) -> int:
        return len(self.fresh) + len(self.retry)


def sort_out(
    pipeline: Pipeline,
    scan: Scan,
    counts: Counter[str],
    tell: Callable[[str], None],
) -> Work:
    """Finishes what is known and what cannot be used; the rest is the work."""
    _forget_readable(pipeline, scan)
    work = Work(fresh=[], retry=[])
    disposable: list[tuple[FoundFile, str]] = []
    all_known = store_media.find_all_known(pipeline.store, scan.ready)
    for file in scan.ready:
        known = all_known.get(file.path)
        if known is None or known.reason == "unreadable":
            if file.problem is None:
                work.fresh.append(file)
            else:
                _leave_out(pipeline, file, file.problem, known, counts, tell)
                pipeline.inbox.finish(file)
            continue
        if known.state == "claimed" and known.attempts < MAX_CLAIMS:
            work.retry.append(file)
            continue
        if known.state == "claimed":
            _give_up(pipeline, file, known)
            counts["quarantined"] += 1
        if known.state == "done" and known.sha256:
            disposable.append((file, known.sha256))
        pipeline.inbox.finish(file)
    dispose_files(pipeline, disposable)
    return work


def _leave_out(
    pipeline: Pipeline,
    file: FoundFile,
    problem: tuple[MediaReason, str],
    known: KnownFile | None,
    counts: Counter[str],
    tell: Callable[[str], None],
) -> None:
    reason, detail = problem
    if known is None:
        put_aside(pipeline, file, MediaError(reason, detail))
        counts["quarantined"] += 1
    if reason == "unreadable":
        tell(f"the folder {file.display} is left out: {detail}")


def _forget_readable(pipeline: Pipeline, scan: Scan) -> None:
    """A folder that could not be read and now can is nothing to look after any more."""
    root = os.fsencode(pipeline.inbox.root) + b"/"
    readable = [
        path
        for path in store_media.unreadable_places(pipeline.store)
        if path.startswith(root) and path not in scan.unusable and os.path.isdir(path)  # noqa: PTH112
    ]
    if readable:
        with pipeline.store.transaction():
            for path in readable:
                store_media.drop_quarantine(pipeline.store, path)


def _give_up(pipeline: Pipeline, file: FoundFile, known: KnownFile) -> None:
    assert known.sha256 is not None
    with pipeline.store.transaction():
        store_media.quarantine(
            pipeline.store,
            known.sha256,
            [file],
            "crashed",
            store_media.crash_detail(known.attempts),
        )
