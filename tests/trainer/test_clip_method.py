"""IndivAID's parts: prompts, losses, merging, schedules, batches, against slow obvious versions."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from open_clip import SimpleTokenizer
from torch import Tensor, nn

from edge.errors import InputError
from trainer.changes import with_changes
from trainer.clip.losses import (
    description_loss,
    description_metrics,
    euclidean_distances,
    smoothed_cross_entropy,
)
from trainer.clip.merging import Attention, Bank, mean_texts, static_texts
from trainer.clip.networks import Heads, stage2_loss
from trainer.clip.prompts import Generator, prompt_of
from trainer.clip.sampler import epoch_batches
from trainer.clip.schedule import stage1_rate, stage2_rate
from trainer.clip.settings import PRESETS, check, clip_config
from trainer.clip.towers import ImageFeatures
from trainer.encoder import unit
from trainer.triplet import batch_hard

TEMPLATE = "A photo of a {tokens} {noun}."


def generator(conditioned: bool = True, width: int = 32, feature_width: int = 48) -> Generator:
    torch.manual_seed(0)
    prompt = prompt_of(SimpleTokenizer(), TEMPLATE, "tiger", 4, 77)
    return Generator(nn.Embedding(49408, width), prompt, 4, 5, feature_width, conditioned)


def test_the_sentence_has_room_for_four_words_after_five_tokens() -> None:
    prompt = prompt_of(SimpleTokenizer(), TEMPLATE, "tiger", 4, 77)
    assert (prompt.first, prompt.end, prompt.ids_L.shape) == (5, 11, (77,))
    assert int(prompt.ids_L.argmax()) == prompt.end  # the end token has the highest id
    made = generator()
    assert made.before_1PW.shape[1] == 5
    assert made.after_1SW.shape[1] == 68
    sentences = made(torch.tensor([0, 3, 3]), torch.randn(3, 48))
    assert sentences.shape == (3, 77, 32)
    assert made.words_IMW.std().item() == pytest.approx(0.02, rel=0.2)


def test_a_noun_of_several_tokens_moves_the_end() -> None:
    prompt = prompt_of(SimpleTokenizer(), TEMPLATE, "long-eared owl", 4, 77)
    assert int(prompt.ids_L.argmax()) == prompt.end > 11


@pytest.mark.parametrize(
    ("template", "noun", "sentence"),
    [
        (TEMPLATE, " ", "--noun tiger"),
        ("A photo of a {tokens}.", "tiger", "must hold"),
        ("A photo of a {noun}.", "tiger", "must hold"),
        (TEMPLATE, "tiger " * 80, "has room for 77"),
    ],
)
def test_a_sentence_that_cannot_be_is_refused(template: str, noun: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        prompt_of(SimpleTokenizer(), template, noun, 4, 77)


def test_without_its_shift_the_generator_is_clip_reids() -> None:
    shifted, plain = generator(conditioned=True), generator(conditioned=False)
    plain.words_IMW.data.copy_(shifted.words_IMW)
    label, features = torch.tensor([1, 4]), torch.randn(2, 48)
    plain.before_1PW, plain.after_1SW = shifted.before_1PW, shifted.after_1SW
    assert not torch.equal(shifted(label, features), plain(label, features))
    assert shifted.meta is not None
    for parameter in shifted.meta[2].parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(shifted(label, features), plain(label, features))


def test_the_shift_is_the_same_for_all_words_and_differs_by_picture() -> None:
    made = generator()
    words = made(torch.tensor([2, 2]), torch.randn(2, 48))[:, 5:9]
    difference = words[0] - words[1]
    assert difference.abs().max() > 0
    torch.testing.assert_close(difference, difference[:1].expand(4, -1))


def slow_contrast(rows: Tensor, columns: Tensor, label: list[int], temperature: float) -> float:
    total = 0.0
    for i in range(len(rows)):
        scores = [math.exp(float(rows[i] @ column) / temperature) for column in columns]
        fellows = [j for j in range(len(label)) if label[j] == label[i]]
        total -= sum(math.log(scores[j] / sum(scores)) for j in fellows) / len(fellows)
    return total / len(rows)


def test_stage_1_losses_equal_slow_ones() -> None:
    torch.manual_seed(1)
    v, t = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    label = [0, 1, 0, 2, 1, 0]
    slow = slow_contrast(v, t, label, 2.0) + slow_contrast(t, v, label, 2.0)
    found = description_loss("supcon", v, t, torch.tensor(label), 2.0)
    assert found.item() == pytest.approx(slow, abs=1e-9)
    cosines = [float(v[i] @ t[i] / v[i].norm() / t[i].norm()) for i in range(6)]
    align = description_loss("align", v, t, torch.tensor(label), 1.0)
    assert align.item() == pytest.approx(sum(2 * (1 - one) for one in cosines) / 6, abs=1e-9)


def test_the_released_loss_drives_descriptions_away() -> None:
    """Batch 1: exp(cos) in both directions, as the program returns it; it falls with cos."""
    torch.manual_seed(2)
    v, t = torch.randn(1, 5), torch.randn(1, 5, requires_grad=True)
    label = torch.tensor([0])
    cosine = float(unit(v)[0] @ unit(t.detach())[0])
    loss = description_loss("released", v, t, label, 1.0)
    assert loss.item() == pytest.approx(math.exp(cosine) + math.exp(cosine), abs=1e-5)
    loss.backward()
    assert t.grad is not None
    moved = t.detach() - 0.1 * t.grad
    assert float(unit(v)[0] @ unit(moved)[0]) < cosine


def test_metrics_of_descriptions_that_fit_are_one() -> None:
    torch.manual_seed(3)
    text = torch.randn(3, 8)
    label = torch.tensor([0, 1, 2, 1])
    assert description_metrics(text[label], text[label], label, text) == pytest.approx((1.0, 1.0))
    wrong = description_metrics(text[label], text[label], (label + 1) % 3, text)
    assert wrong[1] == 0.0


def bank(num: int = 40, identities: int = 4, width: int = 6) -> Bank:
    torch.manual_seed(4)
    return Bank(
        text_ND=torch.randn(num, width, dtype=torch.float64),
        label_N=torch.randint(0, identities, (num,)),
        num_identities=identities,
    )


def slow_attention(v: Tensor, bank: Bank, temperature: float) -> Tensor:
    rows = []
    for picture in v:
        row = []
        for identity in range(bank.num_identities):
            texts = bank.text_ND[bank.label_N == identity]
            cosines = torch.stack([picture @ one / picture.norm() / one.norm() for one in texts])
            weights = torch.softmax(cosines / temperature, dim=0)
            row.append(picture @ sum(w * one for w, one in zip(weights, texts, strict=True)))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def test_attention_equals_a_slow_loop() -> None:
    texts, v = bank(), torch.randn(5, 6, dtype=torch.float64)
    found = Attention(6, 0.1).double()(v, texts)
    torch.testing.assert_close(found.detach(), slow_attention(v, texts, 0.1))


def test_attention_at_an_infinite_temperature_is_the_mean() -> None:
    texts, v = bank(), torch.randn(5, 6, dtype=torch.float64)
    expected = v @ mean_texts(texts).T
    torch.testing.assert_close(Attention(6, math.inf).double()(v, texts).detach(), expected)
    pictures = torch.randn(40, 6, dtype=torch.float64)
    torch.testing.assert_close(static_texts(texts, pictures, math.inf), mean_texts(texts))


def test_static_attention_asks_the_identitys_mean_picture() -> None:
    texts, pictures = bank(), torch.randn(40, 6, dtype=torch.float64)
    found = static_texts(texts, pictures, 0.1)
    for identity in range(4):
        own = texts.label_N == identity
        mean = pictures[own].mean(dim=0)
        cosines = unit(texts.text_ND[own]) @ (mean / mean.norm())
        expected = torch.softmax(cosines / 0.1, dim=0) @ texts.text_ND[own]
        torch.testing.assert_close(found[identity], expected)


def test_attention_finds_the_one_description_in_ten_that_tells() -> None:
    """Planted: of ten descriptions of an identity one points to it, nine are anyone's."""
    torch.manual_seed(5)
    identities, width = 30, 64
    signal = unit(torch.randn(identities, width))
    label = torch.arange(identities).repeat_interleave(10)
    text = 1.5 * unit(torch.randn(10 * identities, width))
    text[::10] = signal
    texts = Bank(text_ND=text, label_N=label, num_identities=identities)
    truth = torch.arange(identities).repeat(10)
    v = unit(signal[truth] + 0.8 * unit(torch.randn(len(truth), width)))
    by_mean = float(((v @ mean_texts(texts).T).argmax(dim=1) == truth).float().mean())
    attended = Attention(width, 0.1)(v, texts)
    by_attention = float((attended.argmax(dim=1) == truth).float().mean())
    assert by_attention > by_mean + 0.3


def test_stage_2_adds_its_parts_with_their_weights() -> None:
    torch.manual_seed(6)
    settings = clip_config("indivaid", "clip-reid", "cow", 1).stage2
    features = ImageFeatures(
        early_ND=torch.randn(8, 5), pooled_ND=torch.randn(8, 6), projected_ND=torch.randn(8, 4)
    )
    heads, label = Heads(6, 4, 3), torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
    text_logits = torch.randn(8, 3)
    found = stage2_loss(features, heads, text_logits, label, settings)
    by_hand = 0.25 * found.identity + 1.0 * found.triplet + 1.0 * found.text
    assert found.total.item() == pytest.approx(by_hand.item(), abs=1e-5)
    pooled, projected = heads(features)
    expected = nn.functional.cross_entropy(pooled, label, label_smoothing=0.1)
    expected = expected + nn.functional.cross_entropy(projected, label, label_smoothing=0.1)
    assert found.identity.item() == pytest.approx(expected.item(), abs=1e-5)
    alone = stage2_loss(features, heads, None, label, settings)
    assert alone.text == 0.0


def test_with_one_identity_the_text_loss_is_nothing() -> None:
    assert smoothed_cross_entropy(torch.randn(4, 1), torch.zeros(4, dtype=torch.int64), 0.1) == 0.0


def test_smoothed_uniform_logits_cost_the_logarithm_of_their_number() -> None:
    loss = smoothed_cross_entropy(torch.zeros(3, 7), torch.tensor([0, 1, 6]), 0.1)
    assert loss.item() == pytest.approx(math.log(7))


def test_triplets_of_raw_features_use_euclidean_distance() -> None:
    torch.manual_seed(7)
    values = 10 * torch.randn(6, 4)
    expected = torch.cdist(values, values)
    found = euclidean_distances(values)
    off = ~torch.eye(6, dtype=torch.bool)
    torch.testing.assert_close(found[off], expected[off], rtol=1e-3, atol=1e-3)
    apart = torch.tensor([[0.0, 0.0], [0.0, 0.0], [5.0, 0.0], [5.0, 0.0]], requires_grad=True)
    loss = batch_hard(euclidean_distances(apart), torch.tensor([0, 0, 1, 1]), 0.3)
    assert loss.item() == 0.0
    loss.backward()
    assert apart.grad is not None
    assert torch.isfinite(apart.grad).all()


def test_rates_of_stage_1() -> None:
    settings = dataclasses.replace(
        clip_config("indivaid", "ipanda50", "panda", 1).stage1, epochs=40
    )
    rates = [stage1_rate(settings, epoch) for epoch in (1, 4, 5, 40)]
    assert rates == pytest.approx([1.18e-4, 4.42e-4, 5.29e-4, 1e-6], rel=5e-3)


def test_rates_of_stage_2() -> None:
    settings = clip_config("indivaid", "clip-reid", "cow", 1).stage2
    rates = [stage2_rate(settings, epoch) for epoch in (1, 9, 10, 29, 30, 49, 50, 60)]
    assert rates == pytest.approx([9.5e-7, 4.55e-6, 5e-6, 5e-6, 5e-7, 5e-7, 5e-8, 5e-8])


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_run(preset: str) -> None:
    for method in ("indivaid", "clip-reid", "clip-finetune"):
        config = clip_config(method, preset, "cow", 1)  # type: ignore[arg-type]
        check(config)
        assert config.schedule.epochs == config.stage1.epochs + config.stage2.epochs


def test_presets_say_what_the_released_program_says() -> None:
    nyala = clip_config("indivaid", "nyala", "nyala", 1)
    assert (nyala.stage1.learning_rate, nyala.stage1.epochs) == (5.5e-4, 40)
    assert (nyala.stage2.learning_rate, nyala.stage2.epochs) == (8e-6, 80)
    assert nyala.stage2.identities * nyala.stage2.images == 64
    resnet = clip_config("clip-reid", "clip-reid-rn50", "nyala", 1)
    assert (resnet.stage1.epochs, resnet.stage2.epochs) == (60, 120)
    assert resnet.stage2.identity_weight == 1.0
    with pytest.raises(InputError, match="there are clip-reid, clip-reid-rn50, atrw"):
        clip_config("indivaid", "okapi", "okapi", 1)


@pytest.mark.parametrize(
    ("method", "changes", "sentence"),
    [
        ("indivaid", ["stage1.batch=1"], "supcon contrasts"),
        ("indivaid", ["stage1.loss=released"], "needs stage1.batch=1"),
        ("clip-finetune", ["stage1.epochs=5"], "has no descriptions"),
        ("clip-finetune", ["stage2.text_weight=1"], "has no descriptions"),
        ("indivaid", ["merge.temperature=0"], "above 0"),
        ("indivaid", ["stage2.identities=1"], "2 or more"),
    ],
)
def test_values_that_contradict_are_refused(method, changes: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        check(with_changes(clip_config(method, "clip-reid", "cow", 1), changes))


def test_batches_take_each_picture_about_once() -> None:
    label = np.repeat(np.arange(10), [3, 4, 5, 8, 9, 4, 4, 12, 1, 7])
    batches = epoch_batches(label, 2, 4, np.random.default_rng(0))
    groups = [1, 1, 1, 2, 2, 1, 1, 3, 1, 1]
    assert 10 <= 2 * len(batches) <= sum(groups)
    counts = np.zeros(len(label), int)
    for batch in batches:
        assert len(batch) == 8
        drawn = label[batch].reshape(2, 4)
        assert (drawn == drawn[:, :1]).all()
        assert drawn[0, 0] != drawn[1, 0]
        np.add.at(counts, batch, 1)
    assert (counts[np.isin(label, [3, 4, 7, 9])] <= 1).all()  # these have pictures enough


def test_the_released_program_derived_by_hand() -> None:
    """Both stages as the released program has them: exp(cos), mean texts, raw dot products."""
    torch.manual_seed(8)
    v, t = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    label = torch.tensor([0, 0, 1, 1, 2, 2])
    for i in range(6):
        by_hand = 2 * math.exp(float(v[i] @ t[i]) / float(v[i].norm() * t[i].norm()))
        found = description_loss("released", v[i : i + 1], t[i : i + 1], label[i : i + 1], 1.0)
        assert found.item() == pytest.approx(by_hand, abs=1e-5)
    texts = mean_texts(Bank(text_ND=t, label_N=label, num_identities=3))
    early, pooled = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    heads = Heads(5, 4, 3).double()
    settings = clip_config("indivaid", "nyala", "nyala", 1).stage2
    features = ImageFeatures(early_ND=early, pooled_ND=pooled, projected_ND=v)
    found_2 = stage2_loss(features, heads, v @ texts.T, label, settings)
    by_hand = 0.25 * (
        slow_smoothed(slow_head(pooled, heads.pooled_neck, heads.pooled_classifier), label)
        + slow_smoothed(slow_head(v, heads.projected_neck, heads.projected_classifier), label)
    )
    by_hand += sum(slow_triplet(values, label) for values in (early, pooled, v))
    own = [t[:2].sum(0) / 2, t[2:4].sum(0) / 2, t[4:].sum(0) / 2]
    by_hand += slow_smoothed([[float(row @ one) for one in own] for row in v], label)
    assert found_2.total.item() == pytest.approx(by_hand, abs=1e-5)


def slow_head(values: Tensor, neck: nn.BatchNorm1d, classifier: nn.Linear) -> list[list[float]]:
    """BN over the batch, then the classifier; gain 1 and bias 0."""
    mean, variance = values.mean(dim=0), values.var(dim=0, unbiased=False)
    normal = (values - mean) / (variance + neck.eps).sqrt()
    return [[float(row @ one) for one in classifier.weight.detach()] for row in normal]


def slow_smoothed(logits: list[list[float]], label: Tensor) -> float:
    total = 0.0
    for row, own in zip(logits, label.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(one) for one in row))
        for index, one in enumerate(row):
            total -= (0.1 / len(row) + 0.9 * (index == own)) * (one - log_sum)
    return total / len(logits)


def slow_triplet(values: Tensor, label: Tensor) -> float:
    total = 0.0
    for i in range(len(values)):
        distances = [float((values[i] - other).norm()) for other in values]
        same = [distances[j] for j in range(len(values)) if label[j] == label[i]]
        others = [distances[j] for j in range(len(values)) if label[j] != label[i]]
        total += max(0.0, 0.3 + max(same) - min(others))
    return total / len(values)
