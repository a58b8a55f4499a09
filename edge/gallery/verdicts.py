"""What a person says about a sighting: it is the proposed animal, it is not, it is another.

Each is one entry of the gallery's log, and a row of `review`; the sighting's usable pictures become
exemplars of the animal. Runs inside `store_log.editing`.
"""

from __future__ import annotations

from edge.errors import GalleryError
from edge.gallery import lookup
from edge.gallery.gallery_state import GalleryState
from edge.pictures import Flank
from edge.record import store_gallery, store_observations
from edge.record.store import new_id
from edge.record.store_gallery import NewEmbedding
from edge.record.store_log import Editor
from edge.record.store_observations import Observation, ObservedCrop
from edge.text import counted, printable


def confirm(editor: Editor, reference: str, flank: Flank | None) -> str:
    """The machine's proposal is right."""
    observation = lookup.find_observation(editor.store, reference)
    if observation.proposed_id is None:
        raise GalleryError(
            "nobody was proposed for this sighting; say who it is with `edge-gallery assign`"
        )
    one = editor.state.current(observation.proposed_id)
    return _say(editor, "confirm", observation, one.individual_id, {}, flank)


def assign(editor: Editor, reference: str, animal: str, new: bool, flank: Flank | None) -> str:
    """The sighting shows this animal; with `new`, one nobody knew yet, of this name."""
    observation = lookup.find_observation(editor.store, reference)
    if new:
        named: dict[str, object] = {"name": lookup.checked_name(animal), "provisional": False}
        return _say(editor, "assign", observation, new_id(), named, flank)
    try:
        one = lookup.find(editor.state, animal)
    except GalleryError as error:
        raise GalleryError(f"{error}. If it is an animal nobody knew yet, add --new") from error
    return _say(editor, "assign", observation, one.individual_id, {}, flank)


def reject(editor: Editor, reference: str, animal: str | None) -> str:
    """The sighting does not show the proposed animal, or the one named."""
    observation = lookup.find_observation(editor.store, reference)
    if animal is not None:
        one = lookup.find(editor.state, animal)
    elif observation.proposed_id is not None:
        one = editor.state.current(observation.proposed_id)
    else:
        raise GalleryError("nobody was proposed for this sighting, so there is nobody to reject")
    details = {"observation_id": observation.observation_id}
    editor.record("reject", one.individual_id, details)
    return f"the sighting {observation.observation_id} is not {printable(one.name)}"


def _say(
    editor: Editor,
    action: str,
    observation: Observation,
    individual_id: str,
    named: dict[str, object],
    flank: Flank | None,
) -> str:
    crops = store_observations.crops(editor.store, observation.observation_id)
    described = [_as_exemplar(editor.state, one, observation, flank) for one in crops]
    details = {"observation_id": observation.observation_id, "exemplars": described, **named}
    editor.record(action, individual_id, details)
    store_gallery.add_embeddings(
        editor.store,
        [
            NewEmbedding(
                exemplar_id=str(one["exemplar_id"]),
                encoder_id=crop.encoder_id,
                embedding=crop.embedding,
            )
            for one, crop in zip(described, crops, strict=True)
        ],
    )
    name = printable(editor.state.individuals[individual_id].name)
    return (
        f"the sighting {observation.observation_id} is {name}, who now has "
        f"{counted(len(editor.state.exemplars_of(individual_id)), 'picture')}"
    )


def _as_exemplar(
    state: GalleryState, one: ObservedCrop, observation: Observation, flank: Flank | None
) -> dict[str, object]:
    """As in the log; a crop that is an exemplar already keeps its id, and moves."""
    same = next(
        (
            known.exemplar_id
            for known in state.exemplars.values()
            if known.observation_id == observation.observation_id
            and (known.sha256, known.box) == (one.sha256, one.box)
        ),
        one.detection_id,
    )
    return {
        "exemplar_id": same,
        "sha256": one.sha256,
        "display": one.display,
        "box": list(one.box),
        "flank": flank or one.flank,
        "encounter": observation.event_id,
        "captured_at": one.captured_at,
        "crop": one.crop,
        "observation_id": observation.observation_id,
    }
