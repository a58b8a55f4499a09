"""Taking another device's gallery in: by permanent ids, so that doing it twice adds nothing twice.

Animals and pictures that are here already stay as they are here; what differs there is told. It is
one entry of the log, and undone like any other.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from edge.errors import GalleryError
from edge.gallery.gallery_file import Embeddings, GalleryFile
from edge.gallery.gallery_state import Exemplar, GalleryState, Individual
from edge.record import store_gallery
from edge.record.store import Store
from edge.record.store_gallery import NewEmbedding
from edge.record.store_log import Editor
from edge.text import printable


@dataclass(frozen=True, kw_only=True)
class Plan:
    individuals: list[Individual]  # new here, under the names they get
    exemplars: list[Exemplar]  # new here
    remarks: list[str]  # what differs, as sentences

    @property
    def is_empty(self) -> bool:
        return not self.individuals and not self.exemplars


def plan(known: GalleryState, file: GalleryFile, rename: bool) -> Plan:
    """What is new in the file; raises GalleryError where names or ids contradict."""
    remarks = _differences(known, file)
    renamed: list[Individual] = []
    taken = {one.name for one in known.individuals.values() if one.status == "living"}
    conflicts: list[str] = []
    for one in file.individuals.values():
        if one.individual_id in known.individuals:
            continue
        _require_target(known, file, one)
        new = one
        if one.status == "living" and one.name in taken:
            conflicts.append(one.name)
            new = dataclasses.replace(one, name=_free_name(one.name, taken))
            remarks.append(
                f"{printable(one.name)} of the file is called {printable(new.name)} here; if the "
                f"two are one animal: `edge-gallery merge '{printable(new.name)}' "
                f"'{printable(one.name)}'`"
            )
        if new.status == "living":
            taken.add(new.name)
        renamed.append(new)
    if conflicts and not rename:
        names = ", ".join(printable(one) for one in conflicts)
        raise GalleryError(
            f"other animals have these names here: {names}. Import with --rename, which adds a "
            "number to the names of the file's; then merge those that are one animal with "
            "`edge-gallery merge`"
        )
    return Plan(individuals=renamed, exemplars=_new_pictures(known, file), remarks=remarks)


def _require_target(known: GalleryState, file: GalleryFile, one: Individual) -> None:
    """What it was merged into is there, and following it comes to an end."""
    seen = {one.individual_id}
    target = one.merged_into
    while target is not None and target not in known.individuals:
        if target in seen or target not in file.individuals:
            raise GalleryError(
                f"{file.name}: {printable(one.name)} was merged into an animal that is not there; "
                "export the gallery again"
            )
        seen.add(target)
        target = file.individuals[target].merged_into


def _free_name(name: str, taken: set[str]) -> str:
    return next(new for number in range(2, 10**6) if (new := f"{name} ({number})") not in taken)


def _differences(known: GalleryState, file: GalleryFile) -> list[str]:
    remarks = []
    for one in file.individuals.values():
        here = known.individuals.get(one.individual_id)
        if here is None:
            continue
        if here.name != one.name:
            remarks.append(f"{printable(here.name)} is called {printable(one.name)} in the file")
        if here.status != one.status:
            remarks.append(f"{printable(here.name)} is {here.status} here, {one.status} there")
    return remarks


def _new_pictures(known: GalleryState, file: GalleryFile) -> list[Exemplar]:
    """Those of an animal that is merged here go to the one it went into."""
    pictures = []
    for one in file.exemplars.values():
        if one.exemplar_id in known.exemplars:
            continue
        owner = one.individual_id
        if owner in known.individuals:
            owner = known.current(owner).individual_id
            if known.individuals[owner].status == "undone":
                continue
        elif owner not in file.individuals or file.individuals[owner].status == "merged":
            raise GalleryError(
                f"{file.name}: the picture {one.display} belongs to no animal of the file; export "
                "the gallery again"
            )
        pictures.append(dataclasses.replace(one, individual_id=owner))
    return pictures


def require_comparable(store: Store, file: GalleryFile, pictures: list[Exemplar]) -> None:
    """Raises GalleryError unless one encoder has embedded all of both galleries."""
    own = store_gallery.encoder_ids(store)
    here = {one for one in own if not store_gallery.lacking(store, one)}
    there = _common_encoders(file.embeddings, pictures)
    if not pictures or here & there or (not own and there):
        _require_same_length(store, file.embeddings)
        return
    raise GalleryError(
        f"the file's pictures were embedded by {_short(there)}, this gallery by {_short(set(own))}:"
        " they cannot be compared. Run `edge-gallery reembed --model FILE` on one of the two "
        "devices with the other's model, and export again"
    )


def _common_encoders(embeddings: Embeddings, pictures: list[Exemplar]) -> set[str]:
    sets = [set(embeddings.get(one.exemplar_id, {})) for one in pictures]
    return set.intersection(*sets) if sets else set()


def _short(encoder_ids: set[str]) -> str:
    return ", ".join(f"the encoder {one[:12]}" for one in sorted(encoder_ids)) or "no one encoder"


def _require_same_length(store: Store, embeddings: Embeddings) -> None:
    lengths = store_gallery.embedding_bytes(store)
    for of_picture in embeddings.values():
        for encoder_id, embedding in of_picture.items():
            if lengths.setdefault(encoder_id, embedding.nbytes) != embedding.nbytes:
                raise GalleryError(
                    f"the file's embeddings of the encoder {encoder_id[:12]} are not all of one "
                    "length; export the gallery again"
                )


def record(editor: Editor, file: GalleryFile, found: Plan, digest: str) -> None:
    """Writes the plan as one entry, with its embeddings; the crops must be on the disk."""
    editor.record(
        "import",
        None,
        {
            "individuals": [dataclasses.asdict(one) for one in found.individuals],
            "exemplars": [dataclasses.asdict(one) for one in found.exemplars],
            "file": file.name,
            "sha256": digest,
            "history": file.log,
        },
    )
    store_gallery.add_embeddings(
        editor.store,
        (
            NewEmbedding(exemplar_id=one.exemplar_id, encoder_id=encoder_id, embedding=embedding)
            for one in found.exemplars
            for encoder_id, embedding in file.embeddings.get(one.exemplar_id, {}).items()
        ),
    )
