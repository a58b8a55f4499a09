"""Settings: what the paper says, what `--set` takes, what contradicts itself."""

import dataclasses
from pathlib import Path

import pytest

from edge.errors import InputError
from trainer import recipes
from trainer.changes import documented, with_changes
from trainer.clip.settings import IndivaidConfig, clip_config
from trainer.settings import FanclConfig, check

PAPER = recipes.paper("fancl", seed=1, num_crops=1967)


def test_the_paper_recipe_says_what_the_paper_says() -> None:
    assert PAPER.schedule.epochs == 60
    assert PAPER.schedule.iterations == 123  # four passes over the red pandas' 1,967 pictures
    assert (PAPER.schedule.learning_rate, PAPER.schedule.decay_epochs) == (3.5e-4, 20)
    assert (PAPER.batch.size, PAPER.memory.keep, PAPER.loss.temperature) == (64, 0.1, 0.05)
    assert (PAPER.clustering.k1, PAPER.clustering.k2, PAPER.clustering.eps) == (30, 6, 0.6)
    assert (PAPER.augment.kind, PAPER.augment.flip, PAPER.augment.erasing) == ("weak", True, False)
    assert PAPER.clustering.unit == "pictures"
    assert PAPER.warm_up.steps == 0


def test_cluster_contrasts_own_program_has_larger_batches_and_erasing() -> None:
    own = recipes.paper("cluster-contrast", seed=1, num_crops=12936)
    assert (own.batch.size, own.schedule.epochs, own.schedule.iterations) == (256, 50, 203)
    assert own.augment.erasing
    assert not own.loss.needs_noised_branch


def test_both_methods_differ_by_their_losses_and_noise_alone() -> None:
    for recipe in (recipes.from_pictures, recipes.from_bursts, recipes.from_scratch):
        fancl, base = recipe("fancl", 1, 500), recipe("cluster-contrast", 1, 500)
        same = dataclasses.replace(fancl, method=base.method, loss=base.loss, fana=base.fana)
        assert same == base


def test_nothing_of_random_weights_is_kept() -> None:
    pretrained = recipes.choose("auto", "fancl", 1, 500, bursts=False, random_start=False)
    random = recipes.choose("auto", "fancl", 1, 500, bursts=False, random_start=True)
    assert pretrained.kept.start_share == 0.5
    kept = dataclasses.replace(pretrained.kept, start_share=0.0)
    assert random == dataclasses.replace(pretrained, kept=kept)


def test_changes_reach_any_setting() -> None:
    changes = [
        "clustering.eps=auto",
        "clustering.k1=12",
        "fana.layer=layer1.0.bn1",
        "loss.fused=off",
        "schedule.decay_epochs=none",
        "memory.update=hard",
        "fana.area=0.05",
    ]
    changed = with_changes(PAPER, changes)
    assert changed.clustering.eps is None
    assert changed.clustering.k1 == 12
    assert changed.fana.layer == "layer1.0.bn1"
    assert changed.fana.area == 0.05
    assert changed.loss.fused is False
    assert changed.schedule.decay_epochs is None
    assert changed.memory.update == "hard"
    assert changed.batch == PAPER.batch


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("clustering.eps", r"group.name=value; there are clustering.k1"),
        ("eps=0.5", "the groups are schedule, batch"),
        ("fana.colour=red", "there are fana.area, fana.layer"),
        ("clustering.k1=many", "must be a whole number"),
        ("clustering.eps=much", "must be a number or auto"),
        ("memory.update=soft", "must be instance, hard or batch-mean"),
        ("loss.fused=true", "must be on or off"),
        ("clustering.eps=none", "must be a number or auto"),
        ("schedule.epochs=3", "use --epochs"),
    ],
)
def test_a_change_that_cannot_be_is_refused(assignment: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        with_changes(PAPER, [assignment])


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("batch.clusters=1", "batch.clusters must be 2"),
        ("fana.area=1.5", "fana.area must lie in 0 to 1"),
        ("clustering.eps=0.99", "below 0.95|between 0 and 0.95"),
        ("memory.keep=1", "memory.keep must be"),
        ("loss.temperature=0", "above 0"),
    ],
)
def test_values_that_cannot_work_are_refused(assignment: str, sentence: str) -> None:
    check(PAPER)
    with pytest.raises(InputError, match=sentence):
        check(with_changes(PAPER, [assignment]))


def test_cluster_contrast_has_no_noised_branch() -> None:
    with pytest.raises(InputError, match="no noised branch"):
        check(dataclasses.replace(PAPER, method="cluster-contrast"))


def test_every_setting_says_what_it_is_and_where_it_comes_from() -> None:
    listed = list(documented())
    assert len({one.key for one in listed}) == len(listed) > 30
    assert all(one.about and one.source and one.choices for one in listed)


def shown(key: str, config: FanclConfig | IndivaidConfig) -> str:
    """A recipe's value as docs/fancl.md writes it."""
    group, name = key.split(".")
    value = getattr(getattr(config, group), name)
    if value is None:
        return "auto" if name == "eps" else "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_table_of_settings_in_the_docs_is_true() -> None:
    guide = Path(__file__).parents[2].joinpath("docs", "fancl.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in guide.splitlines()
        if line.startswith("| `")
    ]
    configs = (
        recipes.paper("fancl", 1, 2000),
        recipes.paper("cluster-contrast", 1, 2000),
        recipes.from_pictures("fancl", 1, 2000),
        recipes.from_bursts("fancl", 1, 2000),
        recipes.from_scratch("fancl", 1, 2000),
    )
    assert [row[0] for row in rows] == [f"`{one.key}`" for one in documented()]
    for row, one in zip(rows, documented(), strict=True):
        assert row[6:] == [one.about, one.source]
        if "pass" not in row[1] + row[5]:  # these depend on the number of crops
            assert row[1:6] == [shown(one.key, config) for config in configs], one.key


def test_the_table_of_clip_settings_in_the_docs_is_true() -> None:
    guide = Path(__file__).parents[2].joinpath("docs", "indivaid.md").read_text(encoding="utf-8")
    lines = [line for line in guide.splitlines() if line.startswith("| `") and "." in line[:20]]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    configs = [
        clip_config(method, "clip-reid", "NOUN", 1)
        for method in ("indivaid", "clip-reid", "clip-finetune")
    ]
    listed = list(documented(IndivaidConfig))
    assert [row[0] for row in rows] == [f"`{one.key}`" for one in listed]
    for row, one in zip(rows, listed, strict=True):
        assert row[1:] == [*(shown(one.key, config) for config in configs), one.about, one.source]
