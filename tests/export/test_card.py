"""The model card: all of the manifest that matters, nothing else, and nobody's markup."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edge import model
from edge.model import Decision, Evaluation, Fidelity, Golden, Manifest, Training
from edge.model_file import describe
from edge.preprocess import InputSpec
from export.card import render_card

FULL = Manifest(
    format_version=1,
    name="Leopards of the ridge",
    method="fancl",
    backbone="resnet50",
    species="Panthera pardus",
    encoder_id="e" * 64,
    input=InputSpec(height=192, width=160, resize="letterbox", pad_value=117),
    embedding_dim=2048,
    precision="int8",
    training=Training(
        data_digest="d" * 64,
        counts={"crops": 4321, "clusters": 50},
        config={"schedule": {"epochs": 77}, "weights": None},
        commit="c0ffee",
    ),
    evaluation=Evaluation(
        source="labels", protocol="time-aware", queries=611, gallery=1907, rank1=0.713, mAP=0.456
    ),
    fidelity=Fidelity(
        num_crops=333,
        mean_cosine=0.9876,
        low_cosine=0.9765,
        rank1_fp32=0.724,
        mAP_fp32=0.468,
        tolerated_mAP_loss=0.02,
        forced=False,
    ),
    decision=Decision(
        source="labels",
        match_threshold=0.612,
        new_threshold=0.431,
        wrong_name_rate=0.098,
        false_new_rate=0.047,
    ),
    calibration=None,
    golden=Golden(shape=[4, 192, 160, 3], inputs="QUJD", embeddings="WFla", min_cosine=0.99),
    licence="CC-BY-NC-4.0",
)
BARE = dataclasses.replace(
    FULL,
    species=None,
    precision="fp32",
    training=Training(data_digest="d" * 64, counts={"clusters": 50}, config={}, commit=None),
    evaluation=None,
    fidelity=None,
    decision=Decision(
        source=None,
        match_threshold=None,
        new_threshold=None,
        wrong_name_rate=None,
        false_new_rate=None,
    ),
    licence=None,
)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def words_of(manifest: Manifest) -> str:
    return " ".join(" ".join(read(render_card(manifest)).words).split())


@pytest.mark.parametrize(
    "shown",
    [
        "Leopards of the ridge", "Panthera pardus", "fancl", "resnet50", "e" * 64, "d" * 64,
        "160 x 192 pixels", "grey 117", "2048 numbers", "8-bit whole numbers", "4321",
        "schedule.epochs 77", "weights none", "c0ffee", "time-aware", "611", "1907", "71.3 %",
        "45.6 %", "333 crops", "0.9876", "0.9765", "72.4 %", "46.8 %", "1.20 points of mAP lost",
        "a loss of 2.00 was tolerated", "0.612", "0.431", "9.8 %", "4.7 %",
        "Of 100 visits of strangers expect about 10", "expect about 5 to be called new",
        "4 test pictures", "0.99", "CC-BY-NC-4.0", "edge-admin model install FILE",
        "A similarity is not a probability", "not for recognising people",
    ],
)  # fmt: skip
def test_every_field_that_matters_is_on_the_card(shown: str) -> None:
    assert shown in words_of(FULL)


@pytest.mark.parametrize(
    "shown",
    [
        "How well it tells animals apart was not measured",
        "a blind guess, which among the 50 groups of its training is right in 2.0 %",
        "No thresholds travel with it",
        "Without thresholds there are no error rates",
        "nothing was rounded",
        "The licence of the weights is not stated",
        "commit of fancl not stated",
        "unknown rank-1",
    ],
)
def test_what_is_not_known_is_said_in_words(shown: str) -> None:
    assert shown in words_of(BARE)


def test_no_null_reaches_the_page() -> None:
    for manifest in (FULL, BARE):
        assert not re.search(r"\b(None|null|nan)\b", words_of(manifest))


def test_figures_from_pseudo_labels_are_called_optimistic() -> None:
    assert describe.OPTIMISTIC not in words_of(FULL)
    assert FULL.evaluation is not None
    for guessed in (
        dataclasses.replace(
            FULL, evaluation=dataclasses.replace(FULL.evaluation, source="pseudo-labels")
        ),
        dataclasses.replace(
            FULL, decision=dataclasses.replace(FULL.decision, source="pseudo-labels")
        ),
    ):
        assert describe.OPTIMISTIC in words_of(guessed)


def test_a_forced_low_precision_is_told_on_top() -> None:
    assert FULL.fidelity is not None
    forced = dataclasses.replace(FULL, fidelity=dataclasses.replace(FULL.fidelity, forced=True))
    told = "It lost more by its low precision than was tolerated"
    assert told in words_of(forced)
    assert told not in words_of(FULL)


HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(1)>\"'&$title\x1b[2J\u202e\ud800"


def test_hostile_names_stay_text() -> None:
    plain = read(render_card(FULL))
    hostile = dataclasses.replace(
        FULL,
        name=HOSTILE,
        method=HOSTILE,
        backbone=HOSTILE,
        species=HOSTILE,
        licence=HOSTILE,
        encoder_id=HOSTILE,
        training=Training(
            data_digest=HOSTILE,
            counts={HOSTILE: 1, "crops": 2},
            config={HOSTILE: {HOSTILE: HOSTILE}, "list": [HOSTILE]},
            commit=HOSTILE,
        ),
        evaluation=dataclasses.replace(FULL.evaluation, protocol=HOSTILE),  # type: ignore[type-var]
    )
    page = render_card(hostile)
    page.encode()
    reader = read(page)
    assert set(reader.tags) == set(plain.tags)
    assert set(reader.attributes) == set(plain.attributes)
    assert "\x1b" not in page and "\u202e" not in page
    assert page.count(r"$title\x1b[2J\u202e") >= 10


def test_the_card_needs_nothing_from_outside_and_runs_nothing() -> None:
    page = render_card(FULL)
    reader = read(page)
    assert not {"script", "link", "img", "iframe", "object"} & set(reader.tags)
    assert not {"src", "href", "onclick"} & {key for key, _ in reader.attributes}
    assert not re.search(r"https?:|url\(|@import", page)


def test_the_card_lies_beside_the_model_and_says_what_its_manifest_says(model_file: Path) -> None:
    manifest = model.read_manifest(model_file.read_bytes())
    card = model_file.with_name("model-card.html")
    assert card.read_text(encoding="utf-8") == render_card(manifest)
    assert manifest.encoder_id in card.read_text(encoding="utf-8")
