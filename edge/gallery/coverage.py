"""What the gallery lacks of its animals: a flank, pictures by infrared light."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from edge.record.store_identity import ExemplarLabel
from edge.text import counted

_MIN_OF_A_FLANK = 2  # exemplars
_LOOKED_AT = 12  # pictures of an animal that are opened to see whether they are infrared
_MEND = "Mend: edge-gallery enroll FOLDER with some"


def gaps(
    names: dict[str, str], labels: Sequence[ExemplarLabel], is_infrared: Callable[[str], bool]
) -> Iterator[str]:
    """A line each; `names` by individual_id, `is_infrared` of a crop.

    Flanks are missing only where all of an animal's pictures tell theirs, infrared only where the
    gallery has both kinds.
    """
    own: dict[str, list[ExemplarLabel]] = {one: [] for one in names}
    for label in labels:
        own[label.individual_id].append(label)
    for individual_id in sorted(own, key=lambda one: names[one]):
        exemplars = own[individual_id]
        flanks = [one.flank for one in exemplars]
        for side in ("left", "right"):
            if "unknown" not in flanks and flanks.count(side) < _MIN_OF_A_FLANK:
                pictures = counted(flanks.count(side), "picture")
                yield f"gap: {pictures} of the {side} flank of {names[individual_id]}. {_MEND}"
    yield from _nights(names, own, is_infrared)


def _nights(
    names: dict[str, str],
    own: dict[str, list[ExemplarLabel]],
    is_infrared: Callable[[str], bool],
) -> Iterator[str]:
    seen = {
        one: {is_infrared(label.crop) for label in exemplars[:_LOOKED_AT]}
        for one, exemplars in own.items()
    }
    if len(set().union(*seen.values())) < 2:
        return
    for individual_id in sorted(seen, key=lambda one: names[one]):
        kinds = seen[individual_id]
        for kind, words in ((True, "by infrared light"), (False, "by daylight")):
            if kind not in kinds:
                yield f"gap: no picture {words} of {names[individual_id]}. {_MEND}"
