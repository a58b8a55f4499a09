"""A model file opened for work on this device: on which provider, and from which form of its graph.

On the CPU the optimised graph of an earlier start serves where there is one, and is kept where
there is none. Another provider gets the graph as it stands in the file. Whatever it is, it must
reproduce the model's golden embeddings before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge import model
from edge.compute import choice, optimised, providers
from edge.compute.engine import Engine
from edge.compute.optimised import Kept
from edge.compute.providers import AUTO, Choice, in_words
from edge.compute.session import CPU, Opening, open_session
from edge.encoder import Encoder, checked_manifest, read_model, require_golden
from edge.errors import ModelError
from edge.model import Manifest

_CROPS_A_THREAD = 4  # of a round of measuring


def _unheard(sentence: str) -> None:
    """For those to whom it does not matter why a start takes longer."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """How an encoder is to run here."""

    provider: str = AUTO  # or a name that `providers.named` knows
    num_threads: int | None = None  # crops at the same time; None: batches, as onnxruntime likes
    cache: Path | None = None  # where optimised graphs and choices are kept; None: nowhere
    tell: Callable[[str], None] = _unheard  # what is not as it should be, but no hindrance


@dataclass(frozen=True, kw_only=True)
class _Whole:
    """A model file whose bytes were found to be right."""

    model_bytes: bytes
    manifest: Manifest

    @property
    def seal(self) -> str:
        seal = model.claimed_seal(self.model_bytes[-model.SEAL_BYTES :])
        assert seal is not None
        return seal


def open_here(path: Path, place: Place) -> Encoder:
    """The encoder of a model file, which reproduces its golden embeddings here.

    Raises ModelError for the file, ConfigError for a provider that is not here.
    """
    if place.cache is None:
        return check_here(read_model(path), path, place)
    with ThreadPoolExecutor(1) as background:  # two files are read while onnxruntime loads
        recalled = background.submit(optimised.recall, place.cache, path)
        wanted = _wanted(place)
    kept = recalled.result()
    chosen = _cpu_choice(place, wanted, kept.seal) if kept else None
    warm = _open_kept(kept, place, chosen) if kept and chosen else None
    return warm or check_here(read_model(path), path, place)


def check_here(model_bytes: bytes, path: Path, place: Place) -> Encoder:
    """The same for the bytes that were read from `path`."""
    wanted = _wanted(place)
    try:
        whole = _Whole(model_bytes=model_bytes, manifest=checked_manifest(model_bytes))
        if wanted is None:
            return _open_fastest(whole, place)
        if wanted == CPU:
            return _open_cpu(whole, place, _only_cpu(place))
        return _open_other(whole, place, Choice(provider=wanted, why="as asked for"))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _wanted(place: Place) -> str | None:
    """onnxruntime's word for the provider; None where it has to be measured."""
    if place.provider.lower() != AUTO:
        return providers.named(place.provider)
    return CPU if providers.candidates() == [CPU] else None


def _cpu_choice(place: Place, wanted: str | None, seal: str) -> Choice | None:
    """Where it is known without measuring that it will be the CPU."""
    if wanted == CPU:
        return _only_cpu(place)
    if wanted is None and place.cache is not None:
        known = choice.recall(place.cache, seal, providers.candidates())
        return known if known and known.provider == CPU else None
    return None


def _only_cpu(place: Place) -> Choice:
    is_auto = place.provider.lower() == AUTO
    return Choice(provider=CPU, why="there is no other here" if is_auto else "as asked for")


def _open_kept(kept: Kept, place: Place, chosen: Choice) -> Encoder | None:
    """The encoder from its optimised graph; None where that is not right.

    One golden embedding is enough here: all were reproduced when the very same bytes were kept.
    """
    try:
        encoder = _open_graph(kept, place, chosen)
        if encoder.check_golden(1).passed:
            return encoder
    except ModelError as error:
        place.tell(f"the optimised graph does not open and is made anew: {error}")
    kept.forget()
    return None


def _open_cpu(whole: _Whole, place: Place, chosen: Choice) -> Encoder:
    """On the CPU, keeping the optimised graph where that is possible."""
    if place.cache is not None:
        try:
            kept = optimised.find(place.cache, whole.seal) or _keep(place.cache, whole)
            encoder = _open_graph(kept, place, chosen)
            require_golden(encoder)
            return encoder
        except ModelError as error:
            optimised.forget(place.cache, whole.seal)
            place.tell(f"the optimised graph is not kept, so starts take longer: {error}")
    encoder = _open_on(CPU, whole, place, chosen)
    require_golden(encoder)
    return encoder


def _open_other(whole: _Whole, place: Place, chosen: Choice) -> Encoder:
    """On the provider of the choice; where that does not work, on the CPU, with the reason."""
    try:
        encoder = _open_on(chosen.provider, whole, place, chosen)
        require_golden(encoder)
        if encoder.choice.provider == chosen.provider:
            return encoder
        reason = encoder.choice.trouble or ""
    except ModelError as error:
        reason = str(error)
    name = in_words(chosen.provider)
    trouble = f"{name} does not work here: {reason}; the CPU goes on in its place"
    return _open_cpu(whole, place, Choice(provider=CPU, why=f"{name} failed", trouble=trouble))


def _open_fastest(whole: _Whole, place: Place) -> Encoder:
    present = providers.candidates()
    known = choice.recall(place.cache, whole.seal, present) if place.cache else None
    if known is None:
        known = _measure(whole, place, present)
        if place.cache is not None:
            _remember(place, whole.seal, present, known)
    if known.provider == CPU:
        return _open_cpu(whole, place, known)
    encoder = _open_other(whole, place, known)
    if encoder.choice.trouble and place.cache is not None:
        choice.forget(place.cache, whole.seal, present)
    return encoder


def _measure(whole: _Whole, place: Place, present: list[str]) -> Choice:
    """Opens every candidate, and times those that compute rightly against one another."""
    contestants: dict[str, Encoder] = {}
    left_out: dict[str, str] = {}
    for provider in present:
        try:
            encoder = _open_on(provider, whole, place, Choice(provider=provider, why="tried"))
            require_golden(encoder)
        except ModelError as error:
            if provider == CPU:
                raise
            left_out[provider] = str(error)
            continue
        if encoder.choice.trouble:
            left_out[provider] = encoder.choice.trouble
        else:
            contestants[provider] = encoder
    images_NHWC, _ = model.unpack_golden(whole.manifest.golden)
    num_crops = _CROPS_A_THREAD * (place.num_threads or 1)
    return choice.fastest(
        contestants, left_out, np.resize(images_NHWC, (num_crops, *images_NHWC.shape[1:]))
    )


def _remember(place: Place, seal: str, present: list[str], found: Choice) -> None:
    assert place.cache is not None
    try:
        optimised.make_own(place.cache)
        choice.remember(place.cache, seal, present, found)
    except (OSError, ModelError) as error:
        place.tell(f"the choice of a provider is measured again at the next start: {error}")


def _threads(place: Place) -> int | None:
    return None if place.num_threads is None else 1


def _open_on(provider: str, whole: _Whole, place: Place, chosen: Choice) -> Encoder:
    def open_on(one: str) -> object:
        return open_session(whole.model_bytes, Opening(provider=one, num_threads=_threads(place)))

    return Encoder(whole.manifest, Engine(chosen, open_on), place.num_threads)


def _open_graph(kept: Kept, place: Place, chosen: Choice) -> Encoder:
    opening = Opening(num_threads=_threads(place), is_optimised=True)
    engine = Engine(chosen, lambda _: open_session(kept.graph, opening))
    return Encoder(kept.manifest, engine, place.num_threads)


def _keep(cache: Path, whole: _Whole) -> Kept:
    def save(path: Path) -> None:
        open_session(whole.model_bytes, Opening(num_threads=1, save_optimised=path))

    return optimised.keep(cache, whole.seal, whole.manifest, len(whole.model_bytes), save)
