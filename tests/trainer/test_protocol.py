"""Who is asked about and who is known, on tables of a few rows."""

from __future__ import annotations

import pytest

from edge.errors import InputError
from trainer.data import CropFact
from trainer.evaluation.protocol import Division, divide, rows_for

from ..labelled import fact, rules


def sides(facts: list[CropFact], division: Division) -> tuple[str, str]:
    """Names of the pictures on each side, one letter each."""
    names = [one.picture.name for one in facts]
    return (
        "".join(names[row] for row in division.query_Q),
        "".join(names[row] for row in division.gallery_G),
    )


def test_the_split_column_says_who_is_query_and_gallery() -> None:
    facts = [
        fact("A", "a", split="gallery"),
        fact("A", "b", split="query"),
        fact("B", "c", split="gallery"),
    ]
    division = divide(facts, rules())
    assert sides(facts, division) == ("b", "ac")
    assert division.protocol == "split column: gallery of 2"
    assert not division.excluded_QG.any()


def test_queries_are_read_before_the_gallery_and_train_rows_not_at_all() -> None:
    facts = [fact("A", name, split=split) for name, split in zip("abc", SPLITS, strict=True)]
    pictures = [one.picture for one in facts]
    assert [one.name for one in rows_for(pictures, "split")] == ["c", "a"]
    assert [one.name for one in rows_for(pictures, "time-aware")] == ["a", "c"]


SPLITS = ("gallery", "train", "query")


def test_train_rows_take_part_only_where_there_are_no_others_and_it_is_said() -> None:
    facts = [fact("A", "a", split="train"), fact("A", "b", split="train")]
    pictures = [one.picture for one in facts]
    assert len(rows_for(pictures, "split")) == 2
    assert "all of the train split" in divide(facts, rules()).protocol
    with pytest.raises(InputError, match="every row is of the train split"):
        rows_for(pictures, "encounter-disjoint")


def test_without_a_split_each_crop_is_asked_against_other_pictures_and_encounters() -> None:
    facts = [
        fact("A", "a", "one"),
        fact("A", "b", "one"),  # the encounter of a
        fact("A", "c", "two"),
        fact("B", "c", "two"),  # the picture of the row above, another animal
        fact("B", "d", "one"),  # another animal's encounter of the same name
    ]
    division = divide(facts, rules())
    assert division.excluded_QG.astype(int).tolist() == [
        [1, 1, 0, 0, 0],  # a: itself and b
        [1, 1, 0, 0, 0],  # b: itself and a
        [0, 0, 1, 1, 0],  # c of A: its picture, under both names
        [0, 0, 1, 1, 0],  # c of B
        [0, 0, 0, 0, 1],  # d
    ]
    assert (division.num_picture_pairs, division.num_encounter_pairs) == (7, 2)
    counted = divide(facts, rules(exclude_encounter=False))
    assert counted.num_encounter_pairs == 2
    assert counted.excluded_QG.sum() == 7


def test_an_encounter_on_both_sides_of_the_split_is_counted_and_left_out() -> None:
    facts = [
        fact("A", "a", "one", split="query"),
        fact("A", "b", "one", split="gallery"),
        fact("A", "c", "two", split="gallery"),
    ]
    division = divide(facts, rules())
    assert division.excluded_QG.tolist() == [[True, False]]
    assert division.num_encounter_pairs == 1


def test_rows_that_name_no_encounter_share_none() -> None:
    facts = [fact("A", "a"), fact("A", "b")]
    division = divide(facts, rules())
    assert not division.has_encounters
    assert division.num_encounter_pairs == 0


def test_later_encounters_are_asked_about_with_earlier_ones_known() -> None:
    facts = [
        fact("A", "a", "late", hour=20),
        fact("A", "b", "early", hour=6),
        fact("A", "c", "late"),  # no time of its own; its encounter has one
        fact("A", "d", "noon", hour=12),
        fact("A", "e", "undated"),
        fact("B", "f", "single", hour=7),
        fact("C", "g", "undated"),
    ]
    division = divide(facts, rules("time-aware"))
    assert sides(facts, division) == ("ac", "bdf")
    assert (division.num_undivided, division.num_undivided_identities) == (2, 1)  # e and g, C


def test_without_named_encounters_times_a_minute_apart_part_them() -> None:
    facts = [
        fact("A", "a", hour=6),
        fact("A", "b", hour=6),
        fact("A", "c", hour=9),
        fact("A", "d", hour=3),
    ]
    division = divide(facts, rules("time-aware", query_share=0.34))
    assert sides(facts, division) == ("c", "abd")
    division = divide(facts, rules("time-aware", query_share=0.7))
    assert sides(facts, division) == ("abc", "d")


def test_whole_encounters_go_to_one_side_in_the_order_of_the_table() -> None:
    facts = [
        fact("A", "a", "1"),
        fact("A", "b", "2"),
        fact("A", "c", "1"),
        fact("A", "d", "3"),
        fact("A", "e", "4"),
        fact("B", "f", "1"),
        fact("B", "g"),
    ]
    division = divide(facts, rules("encounter-disjoint"))
    assert sides(facts, division) == ("de", "abcf")
    assert (division.num_undivided, division.num_undivided_identities) == (1, 0)
    assert division.num_encounter_pairs == 0


@pytest.mark.parametrize(
    ("protocol", "advice"),
    [("time-aware", "`date` column"), ("encounter-disjoint", "`encounter` column")],
)
def test_data_that_cannot_be_divided_are_refused_with_what_they_lack(
    protocol: str, advice: str
) -> None:
    with pytest.raises(InputError, match=advice):
        divide([fact("A", "a"), fact("A", "b")], rules(protocol))  # type: ignore[arg-type]
