"""The optimised graph that is kept for the next start, and when it is not believed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from edge.compute import runtime
from edge.compute.opening import Place, open_here
from edge.errors import ModelError

from .conftest import Device, coat, draw, save, write_model

IMAGES = np.stack([coat(animal) for animal in "ABC"])


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What onnxruntime was given, in order: `bytes`, or the name of a file."""
    real, seen = onnxruntime.InferenceSession, []

    def open_session(source: bytes | str, *rest: object, **more: object) -> object:
        seen.append("bytes" if isinstance(source, bytes) else Path(source).name)
        return real(source, *rest, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    return seen


def embed(model: Path, cache: Path, told: list[str] | None = None) -> NDArray[np.float32]:
    tell = print if told is None else told.append
    place = Place(provider="cpu", num_threads=1, cache=cache, tell=tell)
    return open_here(model, place).embed(IMAGES)


def entries(cache: Path) -> list[Path]:
    return sorted(one for one in cache.iterdir() if one.is_dir())


def test_the_second_start_opens_the_kept_graph_and_computes_the_same(tiny_model, cache, opened):
    first = embed(tiny_model, cache)
    assert opened == ["bytes", "graph.onnx"]
    second = embed(tiny_model, cache)
    assert opened[2:] == ["graph.onnx"]
    plain = open_here(tiny_model, Place(provider="cpu", num_threads=1)).embed(IMAGES)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, plain, atol=1e-6)


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: _flip(entry / "graph.onnx"),
        lambda entry: _flip(entry / "weights.bin"),
        lambda entry: _flip(entry / "record.json"),
        lambda entry: (entry / "record.json").write_bytes(b""),
        lambda entry: (entry / "weights.bin").unlink(),
        lambda entry: os.truncate(entry / "graph.onnx", 100),
        lambda entry: entry.chmod(0o777),
    ],
)
def test_a_damaged_entry_is_made_anew(
    tiny_model: Path, cache: Path, opened: list[str], damage: Callable[[Path], None]
) -> None:
    expected = embed(tiny_model, cache)
    (entry,) = entries(cache)
    whole = {one.name: one.read_bytes() for one in entry.iterdir()}
    damage(entry)
    np.testing.assert_array_equal(embed(tiny_model, cache), expected)
    assert opened[2:] == ["bytes", "graph.onnx"]
    assert {one.name: one.read_bytes() for one in entry.iterdir()} == whole
    assert entry.stat().st_mode & 0o077 == 0


def test_a_kept_graph_does_not_hide_that_the_model_is_damaged(tmp_path, tiny_model, cache):
    model = shutil.copy(tiny_model, tmp_path / "m.onnx")
    embed(model, cache)
    _flip(model)
    with pytest.raises(ModelError, match="damaged or was changed"):
        embed(model, cache)


@pytest.mark.parametrize("what", ["machine", "runtime"])
def test_another_machine_or_runtime_makes_its_own_and_removes_the_old(
    tiny_model: Path, cache: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    embed(tiny_model, cache)
    old = entries(cache)
    monkeypatch.setattr(runtime, what, lambda: "another")
    embed(tiny_model, cache)
    assert opened[2:] == ["bytes", "graph.onnx"]
    assert len(entries(cache)) == 1
    assert entries(cache) != old


def test_a_graph_with_a_right_record_that_computes_something_else_is_not_used(
    tmp_path: Path, tiny_model: Path, cache: Path
) -> None:
    expected = embed(tiny_model, cache)
    (entry,) = entries(cache)
    other = tmp_path / "other"
    embed(write_model(tmp_path / "o.onnx", seed=1), other)
    files = {"graph.onnx": "", "weights.bin": ""}
    for name in files:
        shutil.copy(entries(other)[0] / name, entry / name)
        files[name] = hashlib.sha256((entry / name).read_bytes()).hexdigest()
    record = json.loads((entry / "record.json").read_bytes().partition(b"\n")[2])
    text = json.dumps(record | {"files": files}).encode()
    (entry / "record.json").write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
    np.testing.assert_array_equal(embed(tiny_model, cache), expected)


def test_what_others_could_have_written_is_neither_believed_nor_used(tiny_model, cache, opened):
    embed(tiny_model, cache)
    cache.chmod(0o777)
    told: list[str] = []
    embed(tiny_model, cache, told)
    assert opened[2:] == ["bytes"]
    assert "is not this user's alone; delete it" in told[0]


def test_a_link_in_place_of_the_cache_is_not_followed(tmp_path, tiny_model, cache, opened):
    embed(tiny_model, tmp_path / "elsewhere")
    cache.symlink_to(tmp_path / "elsewhere")
    embed(tiny_model, cache, [])
    assert opened[2:] == ["bytes"]


def test_where_nothing_can_be_kept_the_model_works_and_says_so(tmp_path, tiny_model, cache):
    cache.write_text("a file in the way")
    told: list[str] = []
    assert embed(tiny_model, cache, told).shape == (3, 64)
    assert told[0].startswith("the optimised graph is not kept, so starts take longer: ")


def test_a_disk_that_became_read_only_still_serves_the_kept_graph(
    tiny_model: Path, cache: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(tiny_model, cache)

    def refuse(*given: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    embed(tiny_model, cache)
    assert opened[2:] == ["graph.onnx"]


def test_without_room_for_it_nothing_is_kept(tiny_model, cache, monkeypatch):
    none_free = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: none_free)
    told: list[str] = []
    embed(tiny_model, cache, told)
    assert "too little free space" in told[0]
    assert entries(cache) == []


def test_the_model_in_use_and_the_one_before_it_stay(tmp_path, cache, opened):
    models = [write_model(tmp_path / f"{seed}.onnx", seed=seed) for seed in (1, 2, 3)]
    for second, model in enumerate(models):
        known = entries(cache) if cache.exists() else []
        embed(model, cache)
        for entry in set(entries(cache)) - set(known):
            os.utime(entry, (second, second))
    assert len(entries(cache)) == 2
    del opened[:]
    for model in models[1:]:
        embed(model, cache)
    assert opened == ["graph.onnx", "graph.onnx"]


def test_what_a_killed_start_left_half_made_goes_after_a_while(tiny_model, cache):
    for name, mtime in (("old.1.tmp", 1), ("young.2.tmp", None)):
        (cache / name).mkdir(parents=True, mode=0o700)
        if mtime is not None:
            os.utime(cache / name, (mtime, mtime))
    cache.chmod(0o700)
    embed(tiny_model, cache)
    assert [one.name for one in entries(cache) if one.suffix == ".tmp"] == ["young.2.tmp"]


def test_a_watch_keeps_it_in_the_state_folder_where_it_may_be_deleted(known: Device, opened):
    save(known.inbox / "river" / "1.jpg", draw("A", shot=5), "2026-05-01 06:30:00")
    ran = known.watch()
    assert ran.code == 0, ran.err
    assert len(entries(known.state / "cache")) == 1
    del opened[:]
    assert known.watch().code == 0
    assert opened == ["graph.onnx"]
    shutil.rmtree(known.state / "cache")
    assert known.watch().code == 0
    assert len(entries(known.state / "cache")) == 1
    assert [row["name"] for row in known.rows("event")] == ["A"]
