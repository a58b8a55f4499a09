"""Which provider computes the model: named, measured, remembered, and given up for the CPU.

What onnxruntime lists and opens is pretended; what the CPU computes is real.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from edge.compute import choice, providers, runtime
from edge.compute.opening import Place, open_here
from edge.compute.providers import Choice
from edge.compute.session import CPU
from edge.errors import ConfigError

from .conftest import Device, coat, draw, save, write_model

NIMBLE = "NimbleExecutionProvider"
IMAGES = np.stack([coat(animal) for animal in "ABC"])
Computes = Callable[[list[NDArray[np.float32]]], list[NDArray[np.float32]]]


def rightly(outputs: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    return outputs


def wrongly(outputs: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    return [np.roll(one, 1, axis=1) for one in outputs]


def nothing(outputs: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    return [np.full_like(one, np.nan) for one in outputs]


def never(outputs: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    raise RuntimeError("the device was lost")


def after(num_calls: int, then: Computes) -> Computes:
    """Right for so many calls, then not."""
    calls = itertools.count()
    return lambda outputs: outputs if next(calls) < num_calls else then(outputs)


class Accelerated:
    """A session that says it runs on another provider."""

    def __init__(self, real: Any, provider: str, computes: Computes) -> None:
        self._real, self._provider, self._computes = real, provider, computes

    def get_providers(self) -> list[str]:
        return [self._provider, CPU]

    def disable_fallback(self) -> None: ...

    def run(self, *given: Any) -> list[NDArray[np.float32]]:
        return self._computes(self._real.run(*given))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Pretends that onnxruntime has these providers; None: listed, but does not start.

    Gives the list of what is opened from then on.
    """
    real, opened = onnxruntime.InferenceSession, []

    def pretend(**computes: Computes | None) -> list[str]:
        by_name = {f"{name}ExecutionProvider": how for name, how in computes.items()}

        def open_session(source: Any, *rest: Any, providers: list[str], **more: Any) -> Any:
            opened.append(providers[0])
            session = real(source, *rest, providers=[CPU], **more)
            how = by_name.get(providers[0])
            return session if how is None else Accelerated(session, providers[0], how)

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*by_name, CPU])
        monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
        return opened

    return pretend


def test_a_provider_that_is_not_here_is_refused_with_those_that_are(device: Device, here) -> None:
    here(Nimble=rightly, Azure=rightly)
    ran = device.watch("--provider", "cuda")
    assert ran.code == 1
    assert "there is no provider 'cuda' here" in ran.err
    assert "offers nimble, cpu; name one of these, or auto" in ran.err
    assert not device.state.exists()


@pytest.mark.parametrize("name", ["nimble", "NIMBLE", NIMBLE])
def test_a_provider_may_be_named_in_its_long_or_short_form(tiny_model, here, name):
    opened = here(Nimble=rightly)
    encoder = open_here(tiny_model, Place(provider=name))
    assert opened == [NIMBLE]
    assert encoder.choice == Choice(provider=NIMBLE, why="as asked for")


def test_what_computes_elsewhere_is_no_provider(here):
    here(Azure=rightly)
    assert providers.candidates() == [CPU]
    with pytest.raises(ConfigError, match="offers cpu;"):
        providers.named("azure")


def test_cuda_is_not_tried_without_a_driver_and_tensorrt_only_by_name(here, monkeypatch):
    here(Tensorrt=rightly, CUDA=rightly, Nimble=rightly)
    monkeypatch.setattr(runtime, "has_nvidia_driver", lambda: False)
    assert providers.candidates() == [NIMBLE, CPU]
    monkeypatch.setattr(runtime, "has_nvidia_driver", lambda: True)
    assert providers.candidates() == ["CUDAExecutionProvider", NIMBLE, CPU]
    assert providers.named("tensorrt") == "TensorrtExecutionProvider"


def test_with_the_cpu_alone_nothing_is_measured(tiny_model, here):
    opened = here()
    encoder = open_here(tiny_model, Place())
    assert opened == [CPU]
    assert str(encoder.choice) == "on cpu, there is no other here"


@pytest.mark.parametrize(
    ("computes", "reason"),
    [
        (None, "cannot start NimbleExecutionProvider here"),
        (wrongly, "gives other embeddings here than where it was exported"),
        (nothing, "numbers that are not finite"),
        (never, "the device was lost"),
    ],
)
def test_a_named_provider_that_does_not_do_gives_way_to_the_cpu_loudly(
    known: Device, here: Any, computes: Computes | None, reason: str
) -> None:
    here(Nimble=computes)
    save(known.inbox / "river" / "1.jpg", draw("A", shot=5), "2026-05-01 06:30:00")
    ran = known.watch("--provider", "nimble")
    assert ran.code == 0, ran.err
    assert "nimble does not work here" in ran.err
    assert reason in ran.err
    assert "the CPU goes on in its place" in ran.err
    assert [row["name"] for row in known.rows("event")] == ["A"]
    health = json.loads((known.state / "health.json").read_text())
    (told,) = [one for one in _snapshot(health)["reasons"] if one["kind"] == "provider"]
    assert told["severity"] == "degraded"
    assert reason in told["message"]
    assert _snapshot(health)["gauges"]["provider"] == "cpu"


def _snapshot(health: dict[str, Any]) -> dict[str, Any]:
    (found,) = [one for one in health.values() if isinstance(one, dict) and "reasons" in one]
    return found


@pytest.mark.parametrize("then", [never, nothing])
def test_one_that_fails_in_the_middle_gives_way_without_losing_a_picture(
    known: Device, here: Any, then: Computes
) -> None:
    here(Nimble=after(3, then))  # two are the golden check's, in threads of one crop each
    for shot in range(4, 8):
        save(known.inbox / "river" / f"{shot}.jpg", draw("B", shot=shot), "2026-05-01 06:30:00")
    ran = known.watch("--provider", "nimble")
    assert ran.code == 0, ran.err
    assert "nimble failed while embedding" in ran.err
    assert [(row["name"], row["num_frames"]) for row in known.rows("event")] == [("B", "4")]
    health = json.loads((known.state / "health.json").read_text())
    assert [one["kind"] for one in _snapshot(health)["reasons"]] == ["provider"]


def test_auto_leaves_out_what_computes_wrongly_and_says_so(tiny_model, here):
    here(Nimble=wrongly, Broken=None)
    chosen = open_here(tiny_model, Place()).choice
    assert chosen.provider == CPU
    assert "the fastest here at" in chosen.why
    assert "nimble is left out: the model gives other embeddings" in chosen.why
    assert "broken is left out: onnxruntime cannot start" in chosen.why


def test_auto_measures_once_for_a_model_and_remembers(tmp_path, tiny_model, here):
    opened = here(Nimble=rightly)
    place = Place(cache=tmp_path / "cache")
    first = open_here(tiny_model, place).choice
    assert opened[:2] == [NIMBLE, CPU]
    del opened[:]
    second = open_here(tiny_model, place).choice
    assert second.provider == first.provider
    assert second.why == f"{first.why}; measured earlier"
    assert set(opened) == {first.provider}
    other = write_model(tmp_path / "other.onnx", seed=1)
    del opened[:]
    open_here(other, place)
    assert opened[:2] == [NIMBLE, CPU]


def test_auto_starts_from_the_kept_graph_where_the_cpu_was_fastest(tmp_path, tiny_model, here):
    opened = here(Nimble=rightly)
    cache = tmp_path / "cache"
    remembered(cache, tiny_model, CPU)
    for _ in ("the graph is made", "the graph is there"):
        del opened[:]
        chosen = open_here(tiny_model, Place(cache=cache)).choice
        assert chosen.provider == CPU
        assert chosen.why.endswith("; measured earlier")
    assert opened == [CPU]


def remembered(cache: Path, model: Path, provider: str) -> None:
    """As if this one had been the fastest."""
    place = Place(cache=cache)
    open_here(model, place)
    file = cache / "providers.json"
    content = json.loads(file.read_text())
    for one in content.values():
        one["provider"] = provider
    file.write_text(json.dumps(content))


def test_auto_measures_again_when_what_it_remembered_fails(tmp_path, tiny_model, here):
    here(Nimble=rightly)
    cache = tmp_path / "cache"
    remembered(cache, tiny_model, NIMBLE)
    assert open_here(tiny_model, Place(cache=cache)).choice.provider == NIMBLE
    here(Nimble=wrongly)
    failed = open_here(tiny_model, Place(cache=cache)).choice
    assert failed.provider == CPU
    assert failed.trouble is not None
    again = open_here(tiny_model, Place(cache=cache)).choice
    assert again.trouble is None
    assert "nimble is left out" in again.why


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"a": 1}', b'{"a": {"provider": 1}}', b"\xff"])
def test_a_damaged_memory_means_measuring_again(tmp_path, tiny_model, here, damage):
    opened = here(Nimble=rightly)
    place = Place(cache=tmp_path / "cache")
    open_here(tiny_model, place)
    (tmp_path / "cache" / "providers.json").write_bytes(damage)
    del opened[:]
    assert open_here(tiny_model, place).choice.trouble is None
    assert opened[:2] == [NIMBLE, CPU]


class Sleeper:
    """Takes its next number of seconds for each call."""

    def __init__(self, now: list[float], seconds: list[float]) -> None:
        self._now, self._seconds = now, iter(seconds)

    def embed(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._now[0] += next(self._seconds)
        return np.zeros((len(images_NHWC), 1), np.float32)


@pytest.mark.parametrize(
    ("slow", "quick", "told"),
    [
        # One bad round does not decide: the medians are 0.2 and 0.1 s for 3 crops.
        ([0.2] * 5, [0.1, 0.1, 0.9, 0.1, 0.1], "at 30 crops a second (cpu 15); x is left out: no"),
        # The first round of a slow pair is enough.
        ([4.0], [3.0], "at 1 crops a second (cpu 0.75); x is left out: no"),
    ],
)
def test_the_fastest_is_that_of_the_median_round(slow, quick, told):
    now = [0.0]
    contestants = {CPU: Sleeper(now, slow), NIMBLE: Sleeper(now, quick)}
    chosen = choice.fastest(contestants, {"XExecutionProvider": "no"}, IMAGES, clock=lambda: now[0])
    assert chosen.provider == NIMBLE
    assert chosen.why == f"the fastest here {told}"


def test_the_settings_file_names_a_provider_and_the_flag_beats_it(device, here, tmp_path):
    here(Nimble=rightly)
    (tmp_path / "edge.toml").write_text('provider = "cuda"\n')
    config = ("--config", str(tmp_path / "edge.toml"))
    assert "no provider 'cuda'" in device.watch(*config).err
    ran = device.watch(*config, "--provider", "nimble")
    assert ", on nimble, as asked for" in ran.out


def test_enrolling_and_verifying_take_a_provider_too(device: Device, here, tmp_path) -> None:
    opened = here(Nimble=rightly)
    save(tmp_path / "known" / "A" / "1.jpg", draw("A", shot=1))
    assert device.enroll(tmp_path / "known", "--provider", "nimble").code == 0
    ran = device.run("admin", "model", "verify", str(device.model), "--provider", "nimble")
    assert "runs on nimble, as asked for (onnxruntime" in ran.out
    assert set(opened) == {NIMBLE}
    assert "no provider 'x'" in device.enroll(tmp_path / "known", "--provider", "x").err


@pytest.fixture(autouse=True)
def _same_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(runtime, "machine", lambda: "this one")
    yield
