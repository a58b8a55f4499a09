"""A device after seasons of work: how soon it is ready, and how soon it is after damage."""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path

import pytest

from edge.record import backup, restore
from edge.record.state import StateFolder, locked
from edge.record.store import open_store
from edge.record.store_copy import check_thoroughly

from . import harness, many
from .harness import FULL, make_place

NUM_MEDIA = 1_000_000
NUM_OPEN = 10_000
READY_SECONDS = 5.0
RESTORED_SECONDS = 60.0
RESTORED_MEDIA = 137_000 if FULL else 17_000  # 411 MB, 51 MB


@pytest.mark.fault
@pytest.mark.timeout(600)
def test_a_device_with_a_million_pictures_is_ready_soon(tmp_path: Path) -> None:
    place = make_place(tmp_path, "move")
    many.fill(place.database, NUM_MEDIA, num_open=NUM_OPEN, with_sightings=False)
    print(f"{place.database.stat().st_size / 2**20:.0f} MB")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        began = time.monotonic()
        process = harness.start(place, environment={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        try:
            while b"READY=1" not in listener.recv(4096):
                continue
            seconds = time.monotonic() - began
        finally:
            harness.kill(process)
    print(f"ready after {seconds:.1f} s")
    assert seconds <= READY_SECONDS


@pytest.mark.fault
@pytest.mark.timeout(900)
def test_a_large_database_is_restored_within_a_minute(tmp_path: Path) -> None:
    rng = random.Random(harness.seed_of("large database"))
    state = StateFolder(root=tmp_path / "state")
    many.fill(state.database, RESTORED_MEDIA, with_sightings=True)
    backup.make_numbered_backup(state)
    size = state.database.stat().st_size
    with state.database.open("r+b") as file:
        for _ in range(5):
            file.seek(rng.randrange(size) // 512 * 512)
            file.write(rng.randbytes(512))
    with locked(state):
        began = time.monotonic()
        restored = restore.restore_newest(state)
        seconds = time.monotonic() - began
    print(f"{size / 2**20:.0f} MB restored in {seconds:.1f} s, broken: {restored.broken_tables}")
    assert seconds <= RESTORED_SECONDS
    store = open_store(state.database)
    assert check_thoroughly(store) == []
    assert store.execute("SELECT count(*) FROM media") == [(RESTORED_MEDIA,)]
    store.close()
