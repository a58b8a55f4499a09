"""The report page: read by a ranger, fed with names and folders that anybody may have chosen."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from html.parser import HTMLParser

import pytest

from edge.report.page import EventCard, PairCard, Picture, Summary, render_page

DAWN = datetime(2026, 5, 1, 6, 30, 12)
JPEG = b"\xff\xd8 not really a picture \xff\xd9"
SUMMARY = Summary(
    num_media=12,
    num_events=4,
    num_quarantined=0,
    individuals=(("F02", 2), ("K05", 1)),
    model_name="leopards",
    encoder_id="3fa2" * 16,
    thresholds_sentence="Expect 1 wrong name in 50 events.",
    generated_at=datetime(2026, 5, 2, 8, 0),
)
KNOWN = EventCard(
    event_id="01HX-1",
    deployment="river-bend",
    start=DAWN,
    end=DAWN + timedelta(seconds=8),
    num_frames=3,
    decision="match",
    individual_id="id-f02",
    who="F02",
    provisional=False,
    times_seen=1,
    said_by=None,
    rejected=None,
    name="F02",
    similarity=0.8712,
    runner_up_name="K11",
    runner_up_similarity=0.41,
    crops=(Picture(jpeg=JPEG, caption="this one"),),
    who_exemplars=(),
    best_exemplars=(Picture(jpeg=JPEG, caption="F02 in March"),),
    runner_up_exemplars=(Picture(jpeg=JPEG, caption="K11 in April"),),
)
HOSTILE = "<script>alert(1)</script>\"'><img src=https://evil.example/x onerror=a()>$title${style}&"


class _Page(HTMLParser):
    """Every tag with its attributes, the text outside style, and the ids."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, attribute: str) -> list[str | None]:
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


def _render(*events: EventCard, summary: Summary = SUMMARY, title: str = "Sightings") -> _Page:
    return _Page(render_page(title, summary, events))


def test_a_hostile_name_is_shown_as_text_and_adds_no_tag_wherever_it_stands() -> None:
    picture = Picture(jpeg=JPEG, caption=HOSTILE)
    event = replace(
        KNOWN,
        event_id=HOSTILE,
        deployment=HOSTILE,
        individual_id=HOSTILE,
        who=HOSTILE,
        said_by=HOSTILE,
        rejected=HOSTILE,
        name=HOSTILE,
        runner_up_name=HOSTILE,
        crops=(picture,),
        best_exemplars=(picture,),
        runner_up_exemplars=(picture,),
    )
    summary = replace(
        SUMMARY,
        individuals=((HOSTILE, 2), ("K05", 1)),
        model_name=HOSTILE,
        encoder_id=HOSTILE,
        thresholds_sentence=HOSTILE,
    )
    events = [event, replace(event, decision="review"), replace(event, decision="human")]
    said = replace(KNOWN, said_by="anna", rejected="K05")
    harmless = [said, replace(said, decision="review"), replace(said, decision="human")]
    pair = PairCard(one="new-1", other="F02", similarity=0.6, one_pictures=(), other_pictures=())
    hostile_page = render_page(
        HOSTILE, summary, events, [replace(pair, one=HOSTILE, other=HOSTILE)]
    )
    page = _Page(hostile_page)
    expected = _Page(render_page("Sightings", SUMMARY, harmless, [pair]))

    assert HOSTILE not in hostile_page
    assert page.text.count(HOSTILE) >= 12  # unharmed for the reader
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in expected.tags]
    assert {name for _, attributes in page.tags for name in attributes} <= {
        *("lang", "charset", "http-equiv", "content", "name", "id", "class", "href", "src", "alt")
    }


def test_a_name_that_is_not_utf8_or_turns_the_text_around_still_gives_a_page() -> None:
    event = replace(KNOWN, deployment="cam\udcff", name="F02\u202eevil\x00")
    page = render_page("Sightings", SUMMARY, [event])
    assert "cam\\xff" in page.encode("utf-8").decode("utf-8")
    assert "F02\\u202eevil\\x00" in page
    assert "\u202e" not in page
    assert "\x00" not in page


def test_the_page_loads_nothing_from_anywhere() -> None:
    markup = render_page("Sightings", SUMMARY, [KNOWN])
    page = _Page(markup)
    policy = next(
        attributes["content"]
        for tag, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object"})
    sources = page.values("src")
    assert len(sources) == 3
    assert all(str(source).startswith("data:image/jpeg;base64,") for source in sources)
    assert all(str(target).startswith("#") for target in page.values("href"))
    assert not re.search(r"https?:|//[a-z]|@import|url\(", markup)


def test_every_jump_leads_somewhere_and_no_two_places_share_a_name() -> None:
    events = [
        replace(KNOWN, event_id=f"e{number}", decision=decision, start=DAWN + timedelta(number))
        for number, decision in enumerate(("match", "match", "new", "review", "blank", "match"))
    ]
    page = _render(*events)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {str(target)[1:] for target in page.values("href")} <= set(ids)


def test_every_event_is_on_the_page_and_those_to_look_at_come_first() -> None:
    decisions = ("match", "new", "unidentifiable", "blank", "human", "vehicle", "unclassified")
    events = [
        replace(KNOWN, event_id=f"event-id-{decision}", decision=decision) for decision in decisions
    ]
    look = replace(KNOWN, event_id="event-id-review", decision="review", start=DAWN - timedelta(9))
    text = _render(*events, look).text
    places = {event.event_id: text.find(f"Event {event.event_id}") for event in [*events, look]}
    assert min(places.values()) >= 0
    assert min(places, key=lambda event_id: places[event_id]) == "event-id-review"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"decision": "match"}, "Known: F02"),
        ({"decision": "match", "said_by": "anna"}, "Known: F02 (said by anna)"),
        ({"decision": "match", "who": "new-7", "provisional": True}, "Seen again: new-7"),
        ({"decision": "new", "who": None}, "New animal, seen in 3 frames"),
        (
            {"decision": "new", "who": "new-7", "num_frames": 1, "times_seen": 3},
            "New animal new-7, seen in 1 frame; 3 sightings of it in all",
        ),
        (
            {"decision": "review", "who": None, "said_by": "anna", "rejected": "K05"},
            "Please look: not K05 (said by anna)",
        ),
        ({"decision": "review"}, "Please look: F02 or K11?"),
        ({"decision": "review", "runner_up_name": None}, "Please look: is this F02?"),
        ({"decision": "review", "name": None, "runner_up_name": None}, "Please look: who is this?"),
        ({"decision": "unidentifiable"}, "An animal, too unclear to name"),
        ({"decision": "blank"}, "No animal found"),
        ({"decision": "human"}, "A person (no picture kept)"),
        ({"decision": "vehicle"}, "A vehicle"),
        ({"decision": "unclassified"}, "Something that is no known kind"),
    ],
)
def test_a_decision_is_said_in_words(changes: dict[str, object], sentence: str) -> None:
    event = replace(KNOWN, **changes)  # type: ignore[arg-type]
    lines = [line.strip() for line in re.split(r"\n|(?<=\?)", _render(event).text)]
    assert any(sentence in line for line in lines)


def test_a_picture_of_a_person_is_not_shown_even_if_one_is_handed_over() -> None:
    page = _render(replace(KNOWN, decision="human"))
    assert page.values("src") == []


def test_similarities_have_two_decimals_and_are_explained_as_no_probability() -> None:
    text = _render(KNOWN).text
    assert "similarity 0.87" in text
    assert "similarity 0.41" in text
    assert "0.8712" not in text
    assert text.count("not a probability") == 1


def test_time_and_camera_of_an_event_are_given() -> None:
    assert "1 May 2026, 06:30:12 to 06:30:20, camera river-bend" in _render(KNOWN).text
    instant = replace(KNOWN, end=DAWN)
    assert "1 May 2026, 06:30:12, camera river-bend" in _render(instant).text
    overnight = replace(KNOWN, end=DAWN + timedelta(days=1))
    assert "1 May 2026, 06:30:12 to 2 May 2026, 06:30:12" in _render(overnight).text


def test_the_top_counts_sightings_and_what_a_person_has_to_look_at() -> None:
    events = (KNOWN, replace(KNOWN, decision="review"), replace(KNOWN, decision="blank"))
    text = _render(*events, summary=replace(SUMMARY, num_quarantined=2)).text
    assert "2sightings" in text
    assert "1please look" in text
    assert "F02 2 sightings" in text
    assert "K05 1 sighting" in text
    assert "2 files could not be read as a picture" in text


def test_a_known_animal_leads_from_its_sighting_to_the_one_before() -> None:
    # newest first: F02 today (event-1), K05 (event-2), F02 yesterday (event-3)
    today = replace(
        KNOWN, event_id="today", start=DAWN + timedelta(days=1), end=DAWN + timedelta(days=1)
    )
    other = replace(
        KNOWN, individual_id="id-k05", who="K05", name="K05", start=DAWN + timedelta(hours=1)
    )
    markup = render_page("Sightings", SUMMARY, [KNOWN, today, other])
    assert markup.count("Sighting before") == 1
    assert 'Event today. <a href="#event-3">' in markup
    assert '<a href="#event-1"><bdi>F02</bdi></a>' in markup


def test_without_events_the_page_says_what_to_do() -> None:
    empty = replace(SUMMARY, num_media=0, num_events=0, individuals=(), thresholds_sentence=None)
    text = _render(summary=empty).text
    assert "Nothing has been seen yet" in text
    assert "0please look" in text


def test_two_animals_that_may_be_one_are_shown_with_the_command_that_merges_them() -> None:
    pair = PairCard(one="new-7", other="F02", similarity=0.61, one_pictures=(), other_pictures=())
    page = _Page(render_page("Sightings", SUMMARY, [KNOWN], [pair]))
    assert "Is new-7 the same animal as F02?" in page.text
    assert "edge-gallery merge 'new-7' 'F02'" in page.text
