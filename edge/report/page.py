"""One self-contained HTML page of what was seen: no script, no link to anywhere outside.

Pure: it is given the events and their pictures and returns text. Does not cover choosing events
or reading the state. Every text it is given may be hostile (folder and individual names come from
whoever filled the inbox) and goes through `edge.report.words.text`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from string import Template

from edge.report.card import (
    DecisionWord,
    EventCard,
    PairCard,
    Picture,
    render_card,
    render_pair,
    sentence,
)
from edge.report.words import day, name, period, text
from edge.text import counted

__all__ = ["EventCard", "PairCard", "Picture", "Summary", "render_page"]


@dataclass(frozen=True, kw_only=True)
class Summary:
    num_media: int
    num_events: int
    num_quarantined: int
    individuals: tuple[tuple[str, int], ...]  # name, sightings
    model_name: str
    encoder_id: str
    thresholds_sentence: str | None
    generated_at: datetime


@dataclass(frozen=True, kw_only=True)
class _Section:
    anchor: str
    heading: str
    tile: str  # under the number on top
    css_class: str
    decisions: frozenset[DecisionWord]
    intro: str


# In the order of the page: what a person has to do comes first.
_SECTIONS = (
    _Section(
        anchor="look",
        heading="Please look",
        tile="please look",
        css_class="review",
        decisions=frozenset({"review"}),
        intro="The pictures do not settle which animal this is. Compare them, then say who it is: "
        "<code>edge-gallery confirm EVENT</code> where the first name is right, else "
        "<code>edge-gallery assign EVENT NAME</code>.",
    ),
    _Section(
        anchor="new",
        heading="New animals",
        tile="new",
        css_class="new",
        decisions=frozenset({"new"}),
        intro="No known animal is similar enough; the nearest are shown beside. Each has a name "
        "for now and is known again by it. A real name: "
        "<code>edge-gallery rename NAME-FOR-NOW NAME</code>.",
    ),
    _Section(
        anchor="known",
        heading="Known animals",
        tile="known",
        css_class="match",
        decisions=frozenset({"match"}),
        intro="",
    ),
    _Section(
        anchor="unclear",
        heading="Animals too unclear to name",
        tile="too unclear",
        css_class="unidentifiable",
        decisions=frozenset({"unidentifiable"}),
        intro="Too small, too blurred or damaged in every picture.",
    ),
)
_ANIMAL_DECISIONS = frozenset().union(*(section.decisions for section in _SECTIONS))
_EXPLANATION = """\
<p>A <b>sighting</b> is all pictures one camera took of an animal within a short time. It is
judged as a whole.</p>
<p>The <b>similarity</b> after a name says how alike two animals look to the program: 1.00 is the
same picture, values near 0 have nothing in common. It is not a probability: 0.87 does not mean
that the name is right in 87 of 100 cases. Compare the two numbers of a sighting with each other:
the closer they are, the less sure the name.</p>
<p>Names are proposals of a program. A recognised picture never becomes a reference picture by
itself. What a person said about a sighting stands before what the program made of it.</p>"""


def render_page(
    title: str, summary: Summary, events: Sequence[EventCard], pairs: Sequence[PairCard] = ()
) -> str:
    """The whole page as text; newest events first within each section."""
    newest_first = sorted(events, key=lambda event: event.start, reverse=True)
    anchors = {id(event): f"event-{number}" for number, event in enumerate(newest_first, start=1)}
    template = Template(_resource("page.html"))
    return template.substitute(
        title=text(title),
        style=_resource("page.css"),
        covered=_covered(summary, newest_first),
        tiles=_tiles(newest_first),
        notices=_notices(summary, newest_first),
        animals=_animals(summary, newest_first, anchors),
        pairs=_pairs(pairs),
        sections="\n".join(_sections(newest_first, anchors)),
        explanation=_EXPLANATION,
        provenance=_provenance(summary),
    )


def _resource(file_name: str) -> str:
    return resources.files("edge.report").joinpath(file_name).read_text(encoding="utf-8")


def _covered(summary: Summary, newest_first: list[EventCard]) -> str:
    made = f"made {day(summary.generated_at)}, {summary.generated_at:%H:%M}"
    seen = f"{counted(summary.num_media, 'picture')}, {counted(summary.num_events, 'event')}"
    if not newest_first:
        return f"{seen}; {made}"
    first, last = day(newest_first[-1].start), day(newest_first[0].start)
    return f"{first if first == last else f'{first} to {last}'}; {seen}; {made}"


def _tiles(events: list[EventCard]) -> str:
    animals = [event for event in events if event.decision in _ANIMAL_DECISIONS]
    tiles = [_tile("sightings", "sightings", "", len(animals))]
    for section in _SECTIONS:
        number = sum(event.decision in section.decisions for event in events)
        if number or section.anchor == "look":
            tiles.append(_tile(section.anchor, section.tile, section.css_class, number))
    return "\n".join(tiles)


def _tile(anchor: str, words: str, css_class: str, number: int) -> str:
    target = f' href="#{anchor}"' if number else ""
    return f'<li class="{css_class}"><a{target}><b class="number">{number}</b>{words}</a></li>'


def _notices(summary: Summary, events: list[EventCard]) -> str:
    notices = []
    if summary.num_quarantined:
        files = counted(summary.num_quarantined, "file")
        notices.append(f"{files} could not be read as a picture and were set aside.")
    if not events:
        notices.append(
            "Nothing has been seen yet. Put pictures into the inbox, let edge-watch read them, "
            "then make this page again."
        )
    return "\n".join(f'<p class="notice">{notice}</p>' for notice in notices)


def _animals(summary: Summary, newest_first: list[EventCard], anchors: dict[int, str]) -> str:
    """Who was seen how often, each name leading to its latest sighting."""
    if not summary.individuals:
        return ""
    latest: dict[str, str] = {}
    for event in newest_first:
        if event.decision in {"match", "new"} and event.who is not None:
            latest.setdefault(event.who, anchors[id(event)])
    rows = []
    for individual, sightings in summary.individuals:
        shown = name(individual)
        if individual in latest:
            shown = f'<a href="#{latest[individual]}">{shown}</a>'
        rows.append(f'<li>{shown} <span class="number">{counted(sightings, "sighting")}</span>')
    return '<h2>Who was seen</h2>\n<ul class="animals">\n' + "\n".join(rows) + "\n</ul>"


def _pairs(pairs: Sequence[PairCard]) -> str:
    if not pairs:
        return ""
    intro = "Compare the pictures; merging can be undone with <code>edge-gallery undo</code>."
    cards = "\n".join(render_pair(pair) for pair in pairs)
    heading = f"Perhaps one animal ({len(pairs)})"
    return f'<h2 id="pairs">{heading}</h2><p class="quiet">{intro}</p>\n{cards}'


def _sections(newest_first: list[EventCard], anchors: dict[int, str]) -> list[str]:
    earlier = _earlier_sightings(newest_first, anchors)
    parts = []
    for section in _SECTIONS:
        members = [event for event in newest_first if event.decision in section.decisions]
        if not members:
            continue
        intro = f'<p class="quiet">{section.intro}</p>' if section.intro else ""
        parts.append(f'<h2 id="{section.anchor}">{section.heading} ({len(members)})</h2>{intro}')
        parts += [
            render_card(event, section.css_class, anchors[id(event)], earlier.get(id(event)))
            for event in members
        ]
    others = [event for event in newest_first if event.decision not in _ANIMAL_DECISIONS]
    if others:
        parts.append(_others(others, anchors))
    return parts


def _earlier_sightings(newest_first: list[EventCard], anchors: dict[int, str]) -> dict[int, str]:
    """The anchor of the sighting before, for each named animal's event that has one."""
    earlier: dict[int, str] = {}
    later_of: dict[str, EventCard] = {}
    for event in newest_first:
        if event.decision not in {"match", "new"} or event.individual_id is None:
            continue
        if event.individual_id in later_of:
            earlier[id(later_of[event.individual_id])] = anchors[id(event)]
        later_of[event.individual_id] = event
    return earlier


def _others(events: list[EventCard], anchors: dict[int, str]) -> str:
    """People, vehicles and blanks in a list without pictures."""
    rows = "\n".join(
        f'<tr id="{anchors[id(event)]}"><td>{period(event.start, event.end)}</td>'
        f"<td>{name(event.deployment)}</td>"
        f"<td>{sentence(event)}</td><td>{counted(event.num_frames, 'frame')}</td>"
        f'<td class="quiet">Event {text(event.event_id)}</td></tr>'
        for event in events
    )
    return (
        f'<h2 id="others">Without an animal ({len(events)})</h2>\n<table><thead><tr><th>Time</th>'
        "<th>Camera</th><th>What</th><th>Frames</th><th></th></tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody></table>"
    )


def _provenance(summary: Summary) -> str:
    sentences = []
    if summary.thresholds_sentence:
        sentences.append(f"Decisions: {text(summary.thresholds_sentence.rstrip('.'))}.")
    sentences.append(f"Model {name(summary.model_name)}, encoder {text(summary.encoder_id[:12])}.")
    return " ".join(sentences)
