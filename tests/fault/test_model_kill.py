"""A model command killed at each of its steps: the device still has one whole, working model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from edge.encoder import open_encoder
from edge.model_file import installed
from edge.record.state import StateFolder, locked

from ..edge.conftest import write_model
from . import harness

KILLED = -9
MAX_STEPS = 60
CALLS = ("write", "fsync", "/^rename", "/^unlink")  # strace counts each by itself
# Kills itself before the n-th call that changes a file, or when it has just been opened and is
# empty; runs in a fresh interpreter.
KILLER = """
import os, signal, sys
left = int(sys.argv[1])

def step(emptied=None):
    global left
    left -= 1
    if left == 0:
        if emptied:
            os.close(os.open(emptied, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        os.kill(os.getpid(), signal.SIGKILL)

def audit(event, words):
    if event == "open" and isinstance(words[2], int) and words[2] & (os.O_WRONLY | os.O_RDWR):
        step()
        step(emptied=words[0])
    elif event in ("os.rename", "os.remove", "os.link", "os.truncate", "os.mkdir"):
        step()

really_sync = os.fsync

def fsync(descriptor):
    step()
    really_sync(descriptor)

from pathlib import Path
from edge.model_file import installed
from edge.record.state import StateFolder, locked

os.fsync = fsync
sys.addaudithook(audit)
folder = StateFolder(root=Path(sys.argv[2]))
with locked(folder):
    new = installed.previous(folder) if sys.argv[3] == "-" else Path(sys.argv[3]).read_bytes()
    installed.put_in_place(folder, new)
print("installed", flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Three models, and a state folder for each trial."""

    root: Path
    models: dict[str, Path]

    def fresh(self, *names: str) -> StateFolder:
        """A state in which these models were installed one after the other."""
        folder = StateFolder(root=self.root / "state")
        shutil.rmtree(folder.root, ignore_errors=True)
        with locked(folder):
            for name in names:
                installed.put_in_place(folder, self.data(name))
        return folder

    def data(self, name: str) -> bytes:
        return self.models[name].read_bytes()

    def name_of(self, path: Path) -> str | None:
        """Which model lies there: whole, and giving the right embeddings."""
        if not path.exists():
            return None
        open_encoder(path)
        (name,) = (one for one in self.models if self.data(one) == path.read_bytes())
        return name


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    models = {
        name: write_model(tmp_path / f"{name}.onnx", seed=seed, name=name)
        for seed, name in enumerate(("first", "second", "third"))
    }
    return Bench(root=tmp_path, models=models)


def half_done(bench: Bench) -> StateFolder:
    """First and second were installed; a kill left the switch to third without its last step."""
    folder = bench.fresh("first", "second")
    folder.outgoing_model.write_bytes(bench.data("second"))
    folder.model.write_bytes(bench.data("third"))
    return folder


def not_begun(bench: Bench) -> StateFolder:
    """A kill came just before the switch."""
    folder = bench.fresh("first", "second")
    folder.outgoing_model.write_bytes(bench.data("second"))
    folder.model.with_name("model.onnx.tmp").write_bytes(bench.data("third")[:1000])
    return folder


Start = Callable[[Bench], StateFolder]
# Every third goes through the default suite, all through strace.
# What is there, the command (a model to install, or - to roll back), the model in use before it,
# and the two that are in use and kept after it.
SCENARIOS: list[tuple[Start, str, str | None, str, str | None]] = [
    (lambda bench: bench.fresh(), "first", None, "first", None),
    (lambda bench: bench.fresh("first", "second"), "third", "second", "third", "second"),
    (lambda bench: bench.fresh("first", "second"), "second", "second", "second", "first"),
    (lambda bench: bench.fresh("first"), "second", "first", "second", "first"),
    (lambda bench: bench.fresh("first", "second"), "-", "second", "first", "second"),
    (half_done, "first", "third", "first", "third"),
    (not_begun, "third", "second", "third", "second"),
    (half_done, "-", "third", "second", "third"),
    (not_begun, "-", "second", "first", "second"),
]


def check(bench: Bench, folder: StateFolder, before: str | None, after: str, said: bool) -> None:
    """One of the two models is in use and works, the new one once that was said; and there is
    still another one to go back to."""
    in_use = bench.name_of(folder.model)
    assert in_use in ((after,) if said else (before, after))
    bench.name_of(folder.previous_model)  # where there is one, it is whole
    copy = StateFolder(root=bench.root / "copy")
    shutil.copytree(folder.root, copy.root)
    with locked(copy):
        installed.finish(copy)
    previous = bench.name_of(copy.previous_model)
    shutil.rmtree(copy.root)
    assert previous is None or previous != in_use
    assert previous is not None or in_use in (None, "first")
    last = next(name for name in bench.models if name != in_use)
    with locked(folder):
        installed.put_in_place(folder, bench.data(last))
    assert (bench.name_of(folder.model), bench.name_of(folder.previous_model)) == (last, in_use)
    kept = {"crops", "lock", "model.onnx"} | ({"model.previous.onnx"} if in_use else set())
    assert {path.name for path in folder.root.iterdir()} - {"cache"} == kept


def every_kill(
    bench: Bench,
    start: Start,
    command: Callable[[int, Path], list[str]],
    before: str | None,
    after: str,
    kept: str | None,
) -> int:
    """Kills the command at its 1st, 2nd, ... step until it comes through; gives how many."""
    for step in range(1, MAX_STEPS):
        folder = start(bench)
        ran = subprocess.run(
            command(step, folder.root),
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert ran.returncode in (0, KILLED), ran.stderr
        if ran.returncode == 0:
            assert bench.name_of(folder.model) == after
            assert bench.name_of(folder.previous_model) == kept
            assert not folder.outgoing_model.exists()
        said = any(word in ran.stdout for word in ("installed ", "installed\n", "rolled back"))
        check(bench, folder, before, after, said)
        if ran.returncode == 0:
            return step - 1
    raise AssertionError(f"more than {MAX_STEPS} steps")


@pytest.mark.parametrize(("start", "what", "before", "after", "kept"), SCENARIOS[1::3])
def test_killed_at_any_call_a_device_has_one_working_model(
    bench: Bench, start: Start, what: str, before: str | None, after: str, kept: str | None
) -> None:
    new = what if what == "-" else str(bench.models[what])

    def command(step: int, root: Path) -> list[str]:
        return [sys.executable, "-c", KILLER, str(step), str(root), new]

    steps = every_kill(bench, start, command, before, after, kept)
    assert steps >= (2 if what == before else 5)


@pytest.mark.fault
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("start", "what", "before", "after", "kept"), SCENARIOS)
def test_killed_at_any_system_call_the_command_leaves_one_working_model(
    bench: Bench, start: Start, what: str, before: str | None, after: str, kept: str | None
) -> None:
    """The whole command in its own process, killed by strace at each call that writes."""
    strace = harness.strace()
    if strace is None:
        pytest.skip("strace is not installed or may not trace")
    words = ["rollback"] if what == "-" else ["install", str(bench.models[what])]

    def command(call: str, step: int, root: Path) -> list[str]:
        return [
            strace, "-o", os.devnull, "-e", f"inject={call}:signal=SIGKILL:when={step}",
            sys.executable, "-c", "from edge import cli; cli.admin()", "model", *words,
            "--state", str(root),
        ]  # fmt: skip

    steps = sum(
        every_kill(bench, start, partial(command, call), before, after, kept) for call in CALLS
    )
    print(f"\n{what}: killed at each of {steps} calls")
    assert steps >= (2 if what == before else 5)
